// Small helpers: elements, the status line, and how numbers and tokens are written.

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role" || key === "scope") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

// A weight from 0 to 1 that the style sheet turns into a colour or a width.
export function weigh(made, weight) {
  made.style.setProperty("--w", Math.max(0, Math.min(1, weight)).toFixed(4));
  return made;
}

export function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

export function percent(probability) {
  const value = 100 * probability;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  return `${value.toFixed(value < 1 ? 2 : 1)} %`;
}

// A space, a control or a mark that stands alone would not be seen.
export function shown(token) {
  if (token === " ") return "␣";
  if (token && !/[^\s\p{Cc}\p{Cf}]/u.test(token)) return [...token].map(code).join(" ");
  return /^\p{M}/u.test(token) ? `◌${token}` : token;
}

// What is said of it where nothing is seen.
export const named = (token) => (token === " " ? "space" : shown(token));

const code = (letter) => `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// Copies a text, and says so. Browsers lend the clipboard to pages that come from this machine or by https; elsewhere the
// text stands selected in `place`, whence it is copied as it used to be, or by hand.
export async function copyText(text, place) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { value: text, readOnly: true, rows: 8, "aria-label": "As JSON" });
    place.replaceChildren(area);
    area.focus({ preventScroll: true });
    area.select();
    if (!document.execCommand("copy")) return "This browser does not let the page copy; copy what is selected.";
  }
  place.replaceChildren();
  return "Copied.";
}

// Runs a form's action, with its button disabled meanwhile and what goes wrong in the status line.
export function onSubmit(form, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await busy(form.querySelector("button.main"), action);
  });
}

// Runs an action; what it returns, if anything, is what is said at its end.
export async function busy(button, action) {
  const begun = performance.now();
  const held = document.activeElement === button;
  button.disabled = true;
  say("Working …");
  try {
    const said = await action();
    say(said ?? `Done in ${((performance.now() - begun) / 1000).toFixed(2)} s.`);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
    if (error.constructor.name === "Unauthorised") $("token-form").hidden = false;
  } finally {
    button.disabled = false;
    if (held && document.activeElement === document.body) button.focus(); // a disabled one loses it
  }
}
