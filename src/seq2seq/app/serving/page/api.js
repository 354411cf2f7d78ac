// The server's interface. Refusals become errors whose message is the server's own.

let token = null;
try {
  token = sessionStorage.getItem("token");
} catch {
  // site data are blocked: the token lives as long as the page
}

export class Unauthorised extends Error {}

// A request that the server does not answer; `where` is the JSON pointer of what is wrong with it.
export class Refused extends Error {
  constructor({ message, where }) {
    super(message);
    this.where = where;
  }
}

export function useToken(given) {
  token = given;
  try {
    sessionStorage.setItem("token", given);
  } catch {
    // as above
  }
}

async function open(path, options) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached; is it still running?");
  }
  if (answer.status === 401) throw new Unauthorised("This server wants its token; give it above.");
  if (!answer.ok) {
    const told = await answer.json().catch(() => null); // a proxy before the server says it in HTML
    throw told?.error?.message ? new Refused(told.error) : new Error(`The server, or a proxy before it, answered ${answer.status}.`);
  }
  return answer;
}

const posted = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

export const get = async (path) => (await open(path, {})).json();

export const post = async (path, body, signal) => (await open(path, posted(body, signal))).json();

// The parts of an answer that comes as server-sent events, each as soon as it is there.
export async function* stream(path, body, signal) {
  const answer = await open(path, posted(body, signal));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
    const events = (left + value).split("\n\n");
    left = events.pop();
    for (const event of events) {
      const part = JSON.parse(event.slice(event.indexOf("data: ") + 6));
      if (part.error) throw new Refused(part.error);
      yield part;
    }
  }
}
