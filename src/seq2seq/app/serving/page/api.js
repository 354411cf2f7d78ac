// The server's interface. Refusals become errors whose message is the server's own.

let token = sessionStorage.getItem("token");

export class Unauthorised extends Error {}

export function useToken(given) {
  token = given;
  sessionStorage.setItem("token", given);
}

async function ask(path, options) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached; is it still running?");
  }
  const body = await answer.json();
  if (answer.status === 401) throw new Unauthorised("This server wants its token; give it above.");
  if (!answer.ok) throw new Error(body.error.message);
  return body;
}

export const get = (path) => ask(path, {});

export const post = (path, body, signal) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
