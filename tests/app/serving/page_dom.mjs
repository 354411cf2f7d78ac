// The page without a browser: as much of a document as its scripts touch, and a server whose answers a test holds.

const VOID = new Set(["meta", "link", "input"]);

class Element {
  constructor(name) {
    Object.assign(this, { name, parent: null, nodes: [], attributes: {}, dataset: {}, heard: {} });
    Object.assign(this, { className: "", value: "", clientWidth: 400 });
    this.style = { setProperty() {} };
  }
  get children() { return this.nodes.filter((node) => node instanceof Element); }
  get firstChild() { return this.nodes[0] ?? null; }
  get textContent() { return this.nodes.map((node) => node.textContent ?? node).join(""); }
  set textContent(text) { this.nodes = [String(text)]; }
  get classList() {
    const has = (name) => this.className.split(" ").includes(name);
    const toggle = (name, on = !has(name)) => {
      const others = this.className.split(" ").filter((other) => other && other !== name);
      this.className = (on ? [...others, name] : others).join(" ");
    };
    return { contains: has, toggle };
  }
  append(...nodes) {
    for (const node of nodes) if (node instanceof Element) node.parent = this;
    this.nodes.push(...nodes);
  }
  replaceChildren(...nodes) { this.nodes = []; this.append(...nodes); }
  getAttribute(name) { return this.attributes[name] ?? null; }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  removeAttribute(name) { delete this.attributes[name]; }
  addEventListener(kind, listener) { (this.heard[kind] ??= []).push(listener); }
  // What listeners return is waited for, and what they throw is thrown: a browser would only tell its console.
  async hear(kind, more = {}) {
    const event = { type: kind, target: this, preventDefault() {}, ...more };
    for (const listener of this.heard[kind] ?? []) await listener(event);
  }
  focus() { return this.hear("focus"); }
  reportValidity() { return true; }
  select() { document.selected = this.value; }
  matches(selector) {
    const [, name, kind] = /^(\w+)(?:\.(\w+))?$/.exec(selector);
    return this.name === name && (!kind || this.classList.contains(kind));
  }
  all() { return this.children.flatMap((child) => [child, ...child.all()]); }
  querySelectorAll(selector) { return this.all().filter((one) => one.matches(selector.split(" ").at(-1))); }
  querySelector(selector) { return this.querySelectorAll(selector)[0] ?? null; }
}

// The tree of a tidy file: every element is closed, but for those that never are.
function parsed(html) {
  const root = new Element("document");
  let here = root;
  for (const [, close, name, said, text] of html.matchAll(/<(\/?)(\w+)([^>]*)>|([^<]+)/g)) {
    if (text !== undefined) here.append(text);
    else if (close) here = here.parent;
    else {
      const made = new Element(name);
      for (const [, key, value = ""] of said.matchAll(/([\w-]+)(?:="([^"]*)")?/g)) made.attributes[key] = value;
      const { class: kind = "", id, value = "" } = made.attributes;
      Object.assign(made, { className: kind, id, value, hidden: "hidden" in made.attributes });
      here.append(made);
      if (!VOID.has(name)) here = made;
    }
  }
  return root;
}

// Makes the globals that the page wants. `answers` has what each path answers: a value, or a function of the body that
// gives one, perhaps later; `asked` is filled with [path, body, signal].
export function stand(html, answers, asked, navigator = {}) {
  const root = parsed(html);
  globalThis.document = Object.assign(root, {
    body: root.querySelector("body"),
    createElement: (name) => new Element(name),
    createElementNS: (space, name) => new Element(name),
    getElementById: (id) => root.all().find((one) => one.id === id) ?? null,
    execCommand: () => true,
  });
  root.querySelectorAll = (selector) => (selector === "[role=tab]" ? [] : Element.prototype.querySelectorAll.call(root, selector));
  globalThis.getComputedStyle = () => ({ direction: "ltr" });
  globalThis.sessionStorage = { getItem: () => null, setItem() {} };
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
  globalThis.fetch = async (path, { body, signal }) => {
    asked.push([path, body && JSON.parse(body), signal]);
    const answer = answers[path];
    const value = typeof answer === "function" ? await answer(body && JSON.parse(body)) : answer;
    if (signal?.aborted) throw Object.assign(new Error("aborted"), { name: "AbortError" });
    return value === undefined ? { status: 401, ok: false } : { status: 200, ok: true, json: async () => value };
  };
  return (id) => document.getElementById(id);
}
