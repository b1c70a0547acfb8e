// Live updates. Tabs share one stream by way of a worker. A browser without shared workers, such as
// Chrome on Android, opens one for each tab that is visible.

import { keepToken } from "./dom.js";
import { currentToken, onStalled } from "./request.js";
import { follow } from "./stream.js";

/** Changes with the messages between tabs and worker: another version has another worker. */
const WORKER = "live-2";
/** The worker sends a heartbeat every 10 s. */
const WORKER_SILENCE = 30_000;
/** How long a hidden tab keeps its stream. */
const HIDDEN = 10_000;

/** Calls `on[kind](data)` for each event, `state("live" | "gone", why)`, `stalled(number)` with the
 * number of requests that wait for long, and `token(why)`, which returns the token that the user
 * entered; `why`: what is wrong with the one before, or `null`. */
export function listen(on, { state, stalled, token }) {
  let [own, shared] = [0, 0];
  onStalled((number) => {
    own = number;
    stalled(own + shared);
  });
  const alone = () => {
    shared = 0;
    stalled(own);
    listenAlone(on, state, token);
  };
  if (typeof SharedWorker !== "function") return alone();
  const sharedStalled = (number) => {
    shared = number;
    stalled(own + shared);
  };
  listenShared(on, { state, token, stalled: sharedStalled }, alone);
}

/** Joins the worker, and joins again if it falls silent. Calls `failed` if it cannot be started. */
function listenShared(on, { state, stalled, token }, failed) {
  let worker;
  try {
    worker = new SharedWorker(new URL("shared.js", import.meta.url), { type: "module", name: WORKER });
  } catch {
    return failed();
  }
  const { port } = worker;
  const stop = new AbortController();
  let heard = false;
  let watchdog;
  const end = () => {
    if (stop.signal.aborted) return;
    stop.abort();
    clearTimeout(watchdog);
    port.postMessage({ leave: true });
    port.close();
    if (heard) listenShared(on, { state, stalled, token }, failed);
    else failed();
  };
  const wait = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(end, WORKER_SILENCE);
  };
  const join = () => port.postMessage({ join: true, token: currentToken() });
  port.addEventListener("message", async ({ data }) => {
    heard = true;
    wait();
    if (data.token) keepToken(data.token);
    if (data.stalled !== undefined) stalled(data.stalled);
    if (data.kind) on[data.kind]?.(data.data);
    if (data.state?.[0] === "token") port.postMessage({ token: await token(data.state[1]) });
    else if (data.state) state(...data.state);
  });
  port.start();
  worker.addEventListener("error", end);
  addEventListener("pagehide", () => port.postMessage({ leave: true }), { signal: stop.signal });
  addEventListener("pageshow", (event) => event.persisted && join(), { signal: stop.signal });
  wait();
  join();
}

/** Opens a stream for this tab while it is visible. */
function listenAlone(on, state, token) {
  const stream = {
    event: (kind, data) => on[kind]?.(data),
    state,
    token: async (why) => keepToken(await token(why)),
  };
  let stop = null;
  let hiding;
  const check = () => {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(() => {
        stop?.abort();
        stop = null;
      }, HIDDEN);
    } else if (stop === null) {
      stop = new AbortController();
      follow(stream, stop.signal);
    }
  };
  document.addEventListener("visibilitychange", check);
  check();
}
