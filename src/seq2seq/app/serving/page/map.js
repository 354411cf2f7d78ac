// A map of sentence vectors: lines that the encoder takes for alike lie together.

import { post } from "./api.js";
import { $, element, onSubmit, percent } from "./dom.js";

const MARGIN = 46;
const LETTER = 7; // the width of one, about

export function begin(model) {
  onSubmit($("map-form"), async () => {
    const inputs = $("lines").value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (inputs.length < 3) throw new Error("Give three lines or more: two points are no map.");
    if (!model().embeds) throw new Error(`${model().name} has no encoder vectors.`);
    const plane = $("plane").value;
    const found = await post("/embed", { model: model().name, inputs, plane });
    const { vectors, points } = found;
    const told = plane === "pca" ? axes(vectors, points) : "near points are alike, distances mean nothing";
    draw(inputs, points, `by ${found.model}; ${told}`);
  });
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault(); // which would draw all of it again
  });
}

function draw(texts, points, told) {
  // As many units as pixels, so that letters are as large on a phone.
  const room = $("map").clientWidth || document.body.clientWidth - 32; // of a tab that is not open it has none
  const width = Math.min(Math.max(room, 320), 1200);
  const height = Math.max(Math.round(0.62 * width), 320);
  const across = scale(points.map((point) => point[0]), MARGIN, width - MARGIN);
  const up = scale(points.map((point) => point[1]), height - MARGIN, MARGIN);
  const labelled = [];
  const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Map of the lines" });
  texts.forEach((text, n) => {
    const [x, y] = [across(points[n][0]), up(points[n][1])];
    const group = svgElement("g", { tabindex: n ? -1 : 0, role: "img", "aria-label": text });
    const right = x > width * 0.7;
    const label = svgElement("text", { x: x + (right ? -9 : 9), y: y + 4, "text-anchor": right ? "end" : "start" });
    label.textContent = cut(text);
    group.classList.toggle("under", !hasRoom(labelled, right ? x - 9 - reach(text) : x + 9, y, reach(text)));
    group.append(svgElement("circle", { cx: x, cy: y, r: 5.5 }), label);
    group.dataset.text = text;
    for (const event of ["mouseenter", "focus", "click"]) group.addEventListener(event, () => ($("point").textContent = text));
    group.addEventListener("focus", () => {
      for (const other of svg.querySelectorAll("g")) other.setAttribute("tabindex", other === group ? 0 : -1);
    });
    svg.append(group);
  });
  svg.addEventListener("keydown", walk);
  $("map").replaceChildren(svg, element("p", { className: "hint" }, `${texts.length} lines ${told}.`));
  $("point").textContent = "Hover a point to read its line, or go from one to the next with the arrow keys.";
  search();
}

// One stop of Tab for the whole map; arrow keys go from point to point, from left to right.
function walk(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const here = event.target.closest("g");
  if (!step || !here) return;
  event.preventDefault();
  const place = (group) => Number(group.querySelector("circle").getAttribute("cx"));
  const groups = [...here.parentElement.querySelectorAll("g")].sort((one, other) => place(one) - place(other));
  const next = groups[groups.indexOf(here) + step];
  if (!next) return;
  next.focus();
}

const folded = (text) => text.normalize("NFC").toLowerCase();

function search() {
  const wanted = folded($("search").value.trim());
  let found = 0;
  for (const group of $("map").querySelectorAll("g")) {
    const here = Boolean(wanted) && folded(group.dataset.text).includes(wanted);
    group.classList.toggle("found", here);
    group.classList.toggle("dim", Boolean(wanted) && !here);
    found += here;
  }
  if (wanted) $("point").textContent = `${found} ${found === 1 ? "line has" : "lines have"} “${wanted}”.`;
}

function cut(text) {
  const letters = text.match(/\P{M}\p{M}*|\p{M}+/gu) ?? []; // with their marks
  return letters.length > 28 ? `${letters.slice(0, 27).join("")}…` : text;
}

const reach = (text) => LETTER * cut(text).length;

// Whether a label lies on none of those that are seen; it is one of them then. Others are seen when they are looked at.
function hasRoom(labelled, left, y, wide) {
  if (labelled.some((other) => Math.abs(other.y - y) < 12 && left < other.left + other.wide && other.left < left + wide)) return false;
  labelled.push({ left, y, wide });
  return true;
}

// How much of the variance of the vectors each axis shows.
function axes(vectors, points) {
  const total = spread(vectors).reduce((sum, value) => sum + value, 0) || 1;
  const [across, up] = spread(points).map((value) => percent(value / total));
  return `across ${across} of the variance, upwards ${up}`;
}

// The squared distances of each column from its mean, added up.
function spread(rows) {
  return rows[0].map((_, i) => {
    const mean = rows.reduce((sum, row) => sum + row[i], 0) / rows.length;
    return rows.reduce((sum, row) => sum + (row[i] - mean) ** 2, 0);
  });
}

// From values to pixels, the least at `first` and the largest at `last`.
function scale(values, first, last) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return (value) => first + ((value - low) / (high - low || 1)) * (last - first);
}

function svgElement(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
