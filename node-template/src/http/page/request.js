// Requests to the node. The page uses this, and so does the worker that its tabs share: nothing
// here touches the document.

/** A request without an answer for this long is reported, in milliseconds. A node takes up to 10 s
 * to answer when its disk is slow. */
const STALLED = 12_000;
/** Half of a surrogate pair. It has no UTF-8, and `fetch` would send another character instead. */
const LONE_SURROGATE = /\p{Surrogate}/u;

let token = null;
export const currentToken = () => token;
export const hasToken = () => token !== null;
export function setToken(value) {
  token = value;
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
 * message. `patient`: the answer may take long. */
export async function ask(path, { body, signal, patient = false } = {}) {
  if (body !== undefined && LONE_SURROGATE.test(body)) throw new Error("The text has half of a surrogate pair, which is no character; leave it out");
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const answered = patient ? () => {} : watch();
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-store" });
  } finally {
    answered();
  }
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // Without a message the status has to do.
  }
  throw Object.assign(new Error(detail), { status: response.status });
}
