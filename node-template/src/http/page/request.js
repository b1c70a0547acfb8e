// Requests to the node. The page uses this, and so does the worker that its tabs share: nothing
// here touches the document.

/** A request without an answer for this long is reported, in milliseconds. A node takes up to 10 s
 * to answer when its disk is slow. */
const STALLED = 12_000;
/** Half of a surrogate pair. It has no UTF-8, and `fetch` would send another character instead. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** What no token has. `fetch` throws for much of it, as it does where the node is gone. */
const NOT_IN_TOKEN = /[^!-~]/u;
const ENTER = "enter HTTP_TOKEN as it stands in the node's settings";

let token = null;
export const currentToken = () => token;
export const hasToken = () => token !== null;
export function setToken(value) {
  token = value;
}

/** Returns why a text can be no token of a node, in one line; `null`: it can. */
export function tokenFault(text) {
  const [character] = NOT_IN_TOKEN.exec(text) ?? [];
  if (character !== undefined) return `No token has the character U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}: ${ENTER}`;
  return text === "" ? `The token is missing: ${ENTER}` : null;
}

let stalled = 0;
let report = () => {};
/** Sets the function that gets the number of stalled requests whenever it changes. */
export function onStalled(callback) {
  report = callback;
}

/** Watches a request; the returned function ends that. */
function watch() {
  let counted = 0;
  const count = (change) => {
    counted += change;
    stalled += change;
    report(stalled);
  };
  const timer = setTimeout(() => count(1), STALLED);
  return () => {
    clearTimeout(timer);
    if (counted > 0) count(-1);
  };
}

/** Sends a request to the node; paths are relative to the page. An error carries the node's
 * message; `refused`: it is about the token that was sent. `patient`: the answer may take long. */
export async function ask(path, { body, signal, patient = false } = {}) {
  if (body !== undefined && LONE_SURROGATE.test(body)) throw new Error("The text has half of a surrogate pair, which is no character; leave it out");
  const sent = token;
  const fault = sent ? tokenFault(sent) : null;
  if (fault !== null) throw Object.assign(new Error(fault), { status: 401, refused: true });
  const headers = sent ? { authorization: `Bearer ${sent}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const answered = patient ? () => {} : watch();
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-store" });
  } finally {
    answered();
  }
  if (response.ok) return response;
  if (response.status === 401 && sent) throw Object.assign(new Error(`The node refused this token: ${ENTER}`), { status: 401, refused: true });
  let detail = `${response.status} ${response.statusText}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // Without a message the status has to do.
  }
  throw Object.assign(new Error(detail), { status: response.status });
}
