// The page: its tabs, its models, and what each view does.

import { get, useToken } from "./api.js";
import { $, element, say } from "./dom.js";
import { begin as beginGenerate, offer } from "./generate.js";
import { begin as beginListening } from "./listening.js";
import { begin as beginMap } from "./map.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const models = new Map();

function open(tab) {
  for (const other of tabs) {
    const here = other === tab;
    other.setAttribute("aria-selected", String(here));
    other.tabIndex = here ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !here;
  }
}

tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    open(next);
    next.focus();
  });
});

function chosen() {
  const card = models.get($("model").value);
  if (!card) throw new Error("No model is known here yet: give the token above, or load the page again.");
  return card;
}

function describe() {
  const card = chosen();
  const count = (number) => number.toLocaleString("en");
  $("card").textContent =
    `${card.type}: ${count(card.source_vocabulary)} source tokens (${card.source_tokens}), ` +
    `${count(card.target_vocabulary)} target tokens (${card.target_tokens})`;
  offer(card);
}

async function load() {
  const found = await get("/models");
  models.clear();
  $("model").replaceChildren();
  for (const card of found.models) {
    models.set(card.name, card);
    $("model").append(element("option", { value: card.name }, card.name));
  }
  $("token-form").hidden = true;
  describe();
  say("");
}

async function tryToLoad() {
  try {
    await load();
  } catch (error) {
    say(error.message, true);
    if (error.constructor.name === "Unauthorised") $("token-form").hidden = false;
  }
}

$("model").addEventListener("change", describe);
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = $("token").value.trim();
  if (!/^[!-~]+$/.test(given)) return say("A token is one word of ASCII; this has other characters.", true);
  useToken(given);
  tryToLoad();
});
beginGenerate(chosen);
beginMap(chosen);
beginListening(chosen);
tryToLoad();
