// The listening report: what the sources of pasted pairs are worth to the model.

import { post } from "./api.js";
import { $, element, onSubmit } from "./dom.js";

const WORDS = {
  listening_low_nats_per_token: ["nats/token", "What the true source is worth, against that of another pair: at least (95 % interval)."],
  listening_high_nats_per_token: ["nats/token", "The same: at most."],
  listening_items: ["", "Pairs in blocks of 10 or of 100, each to be told from the others."],
  recall_at_1_of_10_percent: ["%", "How often the true target is the likeliest of 10. By chance: 10 %."],
  recall_at_1_of_100_percent: ["%", "The same of 100. By chance: 1 %."],
  pmi_recall_at_1_of_10_percent: ["%", "The same of 10, by log p(target | source) - log p(target)."],
  pmi_recall_at_1_of_100_percent: ["%", "The same of 100, by log p(target | source) - log p(target)."],
  own_source_at_1_of_10_percent: ["%", "How often, of 10 sources, an output is likeliest after its own."],
  own_source_at_1_of_100_percent: ["%", "The same of 100 sources."],
  distinct_1: ["", "Different tokens among all tokens of the outputs."],
  distinct_2: ["", "Different pairs of neighbours, over the number of tokens."],
  unique_outputs_percent: ["%", "Different outputs among all."],
};

export function begin(model) {
  onSubmit($("listening-form"), async () => {
    const card = model();
    const [tabs, wanted] = card.format === "sigmorphon" ? [2, "lemma TAB features TAB form"] : [1, "source TAB target"];
    const pairs = $("pairs").value.split("\n").flatMap((line, index) => {
      if (!line.trim()) return [];
      const found = line.split("\t").length - 1;
      if (found !== tabs) throw new Error(`Line ${index + 1} has ${found} TABs; wanted ${wanted}.`);
      const last = line.lastIndexOf("\t");
      return [[line.slice(0, last), line.slice(last + 1)]];
    });
    const found = await post("/listening", { model: card.name, pairs });
    $("report").replaceChildren(table(found.report, found.model));
  });
}

function table(report, name) {
  const rows = Object.entries(report).map(([name, value]) => {
    const [unit, meaning] = WORDS[name] ?? ["", name];
    const number = value === null ? "?" : Number(value.toFixed(3)).toLocaleString("en");
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, meaning),
      element("td", { className: "number" }, number),
      element("td", {}, unit),
    );
  });
  return element("table", {}, element("caption", {}, `The listening report of ${name}`), element("tbody", {}, ...rows));
}
