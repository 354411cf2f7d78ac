// A map of sentence vectors: lines that the encoder takes for alike lie together.

import { post } from "./api.js";
import { $, element, onSubmit, percent } from "./dom.js";
import { pca } from "./pca.js";

const WIDTH = 900;
const HEIGHT = 560;
const MARGIN = 46;
const LABELS = 60; // with more points, only the one that is looked at has its text written

export function begin(model) {
  onSubmit($("map-form"), async () => {
    const inputs = $("lines").value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (inputs.length < 2) throw new Error("Give two lines or more: one point is no map.");
    if (!model().embeds) throw new Error(`${model().name} has no encoder vectors.`);
    const { vectors } = await post("/embed", { model: model().name, inputs });
    draw(inputs, pca(vectors));
  });
  $("search").addEventListener("input", search);
}

function draw(texts, { points, shares }) {
  const place = [0, 1].map((axis) => scale(points.map((point) => point[axis]), [WIDTH, HEIGHT][axis]));
  const svg = svgElement("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": "Map of the lines" });
  texts.forEach((text, n) => {
    const [x, y] = [place[0](points[n][0]), place[1](points[n][1])];
    const group = svgElement("g", { tabindex: 0, role: "img", "aria-label": text });
    const right = x > WIDTH * 0.8;
    const label = svgElement("text", { x: x + (right ? -9 : 9), y: y + 4, "text-anchor": right ? "end" : "start" });
    label.textContent = texts.length <= LABELS ? cut(text) : "";
    group.append(svgElement("circle", { cx: x, cy: y, r: 5.5 }), label);
    group.dataset.text = text;
    for (const event of ["mouseenter", "focus", "click"]) group.addEventListener(event, () => ($("point").textContent = text));
    svg.append(group);
  });
  const caption = `${texts.length} lines; across ${percent(shares[0])} of the variance, upwards ${percent(shares[1])}.`;
  $("map").replaceChildren(svg, element("p", { className: "hint" }, caption));
  $("point").textContent = "Hover or focus a point to read its line.";
  search();
}

function search() {
  const wanted = $("search").value.trim().toLowerCase();
  let found = 0;
  for (const group of $("map").querySelectorAll("g")) {
    const here = Boolean(wanted) && group.dataset.text.toLowerCase().includes(wanted);
    group.classList.toggle("found", here);
    group.classList.toggle("dim", Boolean(wanted) && !here);
    found += here;
  }
  if (wanted) $("point").textContent = `${found} ${found === 1 ? "line has" : "lines have"} “${wanted}”.`;
}

const cut = (text) => (text.length > 28 ? `${text.slice(0, 27)}…` : text);

// From values to pixels, the least at the margin; upwards is up.
function scale(values, size) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || 1;
  const along = (value) => MARGIN + ((value - low) / span) * (size - 2 * MARGIN);
  return size === HEIGHT ? (value) => HEIGHT - along(value) : along;
}

function svgElement(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
