// An input, its outputs, and what the model thought at each token.

import { post, stream } from "./api.js";
import { $, busy, copyText, element, named, onSubmit, percent, shown, weigh } from "./dom.js";
import { heatMap, highlight } from "./heatmap.js";

let model = () => undefined;
let answer = null; // the last one
let rule = ""; // how the tokens of its model make a text; another model may be chosen by now
let current = { place: 0, at: -1 }; // the output and the token that are looked at
let asking = null; // aborts the generation that another one follows
let touched = false; // whether a finger is only looking: a second tap on the same token forces
let looking = null; // aborts the alternatives that nobody waits for any more
let unseen = ""; // why an output has no attention
let resting = 0; // the timer of a token that the pointer is over, perhaps on its way to somewhere else

const REST = 120; // ms

export function begin(chosen) {
  model = chosen;
  onSubmit($("ask"), generate);
  $("sample").addEventListener("change", () => {
    $("temperature").disabled = $("seed").disabled = !$("sample").checked;
    $("beam").disabled = $("sample").checked;
  });
  $("prefix").addEventListener("input", () => ($("free").disabled = !$("prefix").value));
  $("free").addEventListener("click", () => force(""));
  $("copy").addEventListener("click", copy);
  $("input").addEventListener("keydown", (event) => {
    const composing = event.isComposing || event.keyCode === 229; // Enter takes a word of an input method (229: Safari)
    if (event.key === "Enter" && !event.shiftKey && !composing) {
      event.preventDefault();
      $("ask").requestSubmit();
    }
  });
  $("hypotheses").addEventListener("keydown", walk);
}

// What can be asked of a model: one that writes from right to left goes on from no beginning.
export function offer(card) {
  const backwards = card.target_tokens.startsWith("right-to-left");
  $("prefix").disabled = backwards;
  $("prefix").placeholder = backwards ? "this model writes it last" : "anything";
  if (backwards) $("prefix").value = "";
  $("free").disabled = !$("prefix").value;
}

// The text up to each output token, it included; null where a letter is cut into bytes (bpe, unigram), which a token
// then shows by one character each, and where the last token was written first.
export function beginnings(tokens, text, rule) {
  if (rule.startsWith("right-to-left")) return tokens.map(() => null);
  if (rule.startsWith("character")) return tokens.map((_, at) => tokens.slice(0, at + 1).join(""));
  if (!/^(bpe|unigram)/.test(rule)) return tokens.map((_, at) => tokens.slice(0, at + 1).join(" "));
  if (/ in NFK?D$/.test(rule)) text = text.normalize("NFD"); // as its tokens are; the server takes either
  let at = 0;
  let bytes = 0; // of the letter at `at`
  return tokens.map((token, index) => {
    const said = token.replaceAll("▁", " ");
    const here = index ? said : said.replace(/^ /, "");
    if (!bytes && text.startsWith(here, at)) {
      at += here.length;
      return text.slice(0, at);
    }
    bytes += [...token].length;
    while (bytes && at < text.length) {
      const letter = String.fromCodePoint(text.codePointAt(at));
      const size = new TextEncoder().encode(letter).length;
      if (size > bytes) break;
      bytes -= size;
      at += letter.length;
    }
    return bytes ? null : text.slice(0, at);
  });
}

function options() {
  const nbest = Number($("nbest").value);
  if ($("sample").checked) {
    return { sample: true, nbest, temperature: Number($("temperature").value), seed: Number($("seed").value) };
  }
  return { nbest, beam: Math.max(nbest, Number($("beam").value)) };
}

async function generate() {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const prefix = $("prefix").value;
  const card = model();
  const body = { model: card.name, inputs: [$("input").value], options: options(), attention: true };
  if (prefix) body.prefixes = [prefix];
  try {
    if (body.options.nbest === 1 && (body.options.sample || body.options.beam === 1)) await grow(body, prefix, signal);
    const found = await search(body, signal);
    const asked = { model: body.model, input: body.inputs[0], prefix, count: 1 };
    const begun = prefix ? await forced(asked, signal) : 0;
    answer = found;
    if (!found.outputs[0].source_tokens.length) unseen = "An empty input has no attention.";
    rule = card.target_tokens;
    show(begun);
  } finally {
    if (!signal.aborted) $("growing").hidden = true;
  }
}

// How many tokens of the outputs are those of the prefix; where that cannot be told, the outputs are shown all the same.
async function forced(asked, signal) {
  try {
    return (await post("/next", asked, signal)).prefix_tokens.length;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return 0;
  }
}

// The outputs; without attention where that would be more than an answer may hold.
async function search(body, signal) {
  try {
    unseen = "This model gives no attention.";
    return await post("/generate", body, signal);
  } catch (error) {
    if (error.where !== "/attention") throw error;
    unseen = "Outputs may be too long here for their attention to be told.";
    return await post("/generate", { ...body, attention: false }, signal);
  }
}

// One output that no beam looks at as a whole is shown while it grows, and until more is known of it.
async function grow({ model, inputs, options: { beam, nbest, ...options } }, prefix, signal) {
  $("result").hidden = true;
  $("growing").hidden = false;
  $("growing").textContent = "";
  for await (const part of stream("/stream", { model, input: inputs[0], prefix, options }, signal)) {
    $("growing").textContent = part.text;
  }
}

function show(forced) {
  looking?.abort(); // what comes of a token of the answer before is not of this one
  clearTimeout(resting);
  const output = answer.outputs[0];
  $("result").hidden = false;
  $("by").textContent = `of ${answer.model}`;
  $("source").replaceChildren(...output.source_tokens.map((token) => element("span", { className: "piece heat" }, shown(token))));
  $("hypotheses").replaceChildren(...output.hypotheses.map((one, place) => line(one, place, forced)));
  $("alternatives").replaceChildren(element("p", { className: "hint" }, "Here come the alternatives of a token."));
  $("json").replaceChildren();
  current = { place: 0, at: -1 };
  drawHeat(0);
}

function line(hypothesis, place, forced) {
  const tokens = hypothesis.tokens.map((token, at) => {
    const log = hypothesis.token_log_probabilities[at];
    const probability = log === null ? 0 : Math.exp(log);
    // One stop of Tab for all outputs, so that the next is an alternative; arrow keys go from token to token.
    const made = element("button", { type: "button", className: "piece", tabIndex: place || at ? -1 : 0 }, shown(token));
    made.classList.toggle("forced", at < forced);
    made.setAttribute("aria-label", `${named(token)}, ${percent(probability)}${at < forced ? ", forced" : ""}`);
    made.dataset.place = place;
    made.dataset.at = at;
    made.addEventListener("mouseenter", () => (resting = setTimeout(look, REST, place, at)));
    made.addEventListener("mouseleave", () => clearTimeout(resting));
    made.addEventListener("focus", () => {
      for (const button of $("hypotheses").querySelectorAll("button.piece")) button.tabIndex = button === made ? 0 : -1;
      return look(place, at);
    });
    made.addEventListener("pointerdown", ({ pointerType }) => (touched = pointerType === "touch" && !isLooked(place, at)));
    made.addEventListener("click", () => {
      const first = touched;
      touched = false; // of this click; the next may come from a key
      if (!first && before(place, at + 1) !== null) force(before(place, at + 1), answer.outputs[0].input);
    });
    return weigh(made, probability);
  });
  const log = hypothesis.log_probability;
  const measure = [
    element("strong", {}, log === null ? "impossible" : percent(Math.exp(log))),
    ...(log === null ? [] : [`log p ${log.toFixed(3)}`, `score ${hypothesis.score.toFixed(3)}`]),
    ...(hypothesis.finished ? [] : [element("span", { className: "cut" }, "cut off")]),
  ];
  const spans = measure.map((part) => (typeof part === "string" ? element("span", {}, part) : part));
  return element(
    "li",
    { "aria-label": `Output ${place + 1}: ${hypothesis.text}` },
    element("p", { className: "text", dir: "auto" }, hypothesis.text),
    element("div", { className: "tokens", role: "group", "aria-label": "Tokens", dir: "auto" }, ...tokens),
    element("p", { className: "measure" }, ...spans),
  );
}

// The text of the first `count` tokens of an output, without the end; null where a letter is cut.
function before(place, count) {
  const { tokens, text, finished } = answer.outputs[0].hypotheses[place];
  const kept = finished ? Math.min(count, tokens.length - 1) : count;
  return kept ? beginnings(tokens, text, rule)[kept - 1] : "";
}

const isLooked = (place, at) => current.place === place && current.at === at;

async function look(place, at) {
  if (isLooked(place, at)) return;
  const elsewhere = current.place !== place;
  current = { place, at };
  for (const button of $("hypotheses").querySelectorAll("button.piece")) {
    const here = isLooked(Number(button.dataset.place), Number(button.dataset.at));
    if (here) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  if (elsewhere || !$("heat").firstChild) drawHeat(place);
  highlight($("heat"), at);
  const { hypotheses } = answer.outputs[0];
  attend(hypotheses[place].attention?.[at]);
  looking?.abort();
  looking = new AbortController();
  const prefix = before(place, at);
  if (prefix === null) {
    const why = rule.startsWith("right-to-left")
      ? "This model writes from right to left: there is no beginning to go on from."
      : "This token begins inside a letter.";
    $("alternatives").replaceChildren(element("p", { className: "hint" }, why));
    return;
  }
  const body = { model: answer.model, input: answer.outputs[0].input, prefix, count: 10 };
  try {
    showAlternatives(await post("/next", body, looking.signal), hypotheses[place].tokens[at], prefix);
  } catch (error) {
    if (error.name !== "AbortError") $("alternatives").replaceChildren(element("p", {}, error.message));
  }
}

function attend(row) {
  [...$("source").children].forEach((span, index) => {
    const weight = row?.[index] ?? 0;
    weigh(span, weight);
    span.title = row ? `attention ${percent(weight)}` : "";
  });
}

function showAlternatives(found, taken, prefix) {
  const rows = found.alternatives.map(({ token, text, probability, ends }) => {
    const label = ends ? element("span", { className: "end" }, "the end") : element("button", { type: "button" }, shown(token));
    label.setAttribute("aria-label", `${ends ? "the end" : named(token)}, ${percent(probability)}`);
    if (!ends && text === null) Object.assign(label, { disabled: true, title: "No output can begin so." });
    if (!ends && text !== null) label.addEventListener("click", () => force(text, answer.outputs[0].input));
    const bar = element("span", { className: "bar", "aria-hidden": "true" }, weigh(element("span"), probability));
    return element("li", { className: token === taken ? "taken" : "" }, label, bar, element("span", {}, percent(probability)));
  });
  const title = prefix ? ["After “", element("bdi", {}, prefix), "”"] : ["First token"];
  $("alternatives").replaceChildren(element("h3", {}, ...title), element("ul", {}, ...rows));
}

function drawHeat(place) {
  const { source_tokens: source, hypotheses } = answer.outputs[0];
  $("which").textContent = String(place + 1);
  $("heat").replaceChildren(heatMap(source, hypotheses[place], unseen));
  [...$("hypotheses").children].forEach((one, index) => one.classList.toggle("chosen", index === place));
}

// Generates what begins with a prefix, for the input that the token was said to, whatever stands there now.
async function force(prefix, input = $("input").value) {
  if ($("prefix").disabled) return; // the model that is chosen now has no beginnings
  $("input").value = input;
  $("prefix").value = prefix;
  $("free").disabled = !prefix;
  if (!$("ask").reportValidity()) return;
  const main = $("ask").querySelector("button.main");
  await busy(main, generate);
  const here = document.activeElement; // somebody may have gone on to something else meanwhile
  if (here && here !== document.body && here !== main) return;
  const first = $("hypotheses").querySelectorAll("button.piece");
  [...first].find((button) => !button.classList.contains("forced"))?.focus({ preventScroll: true });
}

function walk(event) {
  const here = event.target.closest("button.piece");
  const onward = here && getComputedStyle(here.parentElement).direction === "rtl" ? -1 : 1;
  const step = { ArrowRight: [0, onward], ArrowLeft: [0, -onward], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
  if (!here || !step) return;
  event.preventDefault();
  const row = $("hypotheses").children[Number(here.dataset.place) + step[0]];
  const buttons = row ? [...row.querySelectorAll("button.piece")] : [];
  const next = buttons[Math.min(Number(here.dataset.at) + step[1], buttons.length - 1)];
  next?.focus();
}

async function copy() {
  await busy($("copy"), () => copyText(JSON.stringify(answer, null, 2), $("json")));
}
