// Attention as a table: a row for each output token, a column for each input token; or why there is none.

import { element, percent, shown, weigh } from "./dom.js";

const MOST = 20_000; // cells that a browser draws in no time

export function heatMap(source, hypothesis, unseen) {
  const hint = (text) => element("p", { className: "hint" }, text);
  if (!hypothesis.attention) return hint(unseen);
  if (source.length * hypothesis.tokens.length > MOST) {
    return hint("Too large to draw; a token that is looked at shows its row in the input above, and Copy as JSON has all.");
  }
  const head = source.map((token) => element("th", { scope: "col" }, shown(token)));
  const rows = hypothesis.tokens.map((token, at) => {
    const cells = hypothesis.attention[at].map((weight, from) => {
      const cell = element("td", { className: "heat" }, weight < 0.005 ? "" : weight.toFixed(2).replace(/^0/, ""));
      cell.title = `${token} looks at ${source[from]}: ${percent(weight)}`;
      return weigh(cell, weight);
    });
    return element("tr", {}, element("th", { scope: "row" }, shown(token)), ...cells);
  });
  return element(
    "table",
    {},
    element("caption", {}, "Each row is an output token; its numbers, which sum to 1, say where in the input the model looked."),
    element("thead", {}, element("tr", {}, element("td"), ...head)),
    element("tbody", {}, ...rows),
  );
}

// Marks the row of an output token.
export function highlight(place, at) {
  place.querySelectorAll("tbody tr").forEach((row, index) => row.classList.toggle("current", index === at));
}
