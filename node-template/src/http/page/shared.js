// The worker that all tabs of a node's page in one browser share. It holds their one stream: a
// browser opens six connections to a host at most, so six tabs with a stream each would leave none
// for requests.

import { onStalled, setToken } from "./request.js";
import { follow } from "./stream.js";

/** As many as a stream begins with. */
const LINES = 200;
/** Tabs take the worker for dead if they hear nothing for three of these, in milliseconds. */
const HEARTBEAT = 10_000;

const ports = new Set();
let token = null;
/** The current state, as a stream begins with it. */
let hello = null;
let state = null;
let stalled = 0;
/** Continues the stream once a tab has sent a token. */
let answer = null;
let stop = null;

function sendAll(message) {
  for (const port of ports) port.postMessage(message);
}

function setState(...now) {
  state = now;
  sendAll({ state });
}

const stream = {
  event(kind, data) {
    if (kind === "hello") hello = data;
    else if (hello && kind === "activity") hello.lines = [...hello.lines, ...data.lines].slice(-LINES);
    else if (hello) hello[kind] = data;
    // Tabs need the token for requests of their own.
    sendAll(kind === "hello" ? { kind, data, token } : { kind, data });
  },
  state: setState,
  token(why) {
    return new Promise((done) => {
      answer = done;
      setState("token", why);
    });
  },
};

function join(port, known) {
  ports.add(port);
  if (known !== null && (token === null || answer !== null)) useToken(known);
  if (hello) port.postMessage({ kind: "hello", data: hello, token });
  if (state) port.postMessage({ state });
  port.postMessage({ stalled });
  if (stop) return;
  stop = new AbortController();
  follow(stream, stop.signal);
}

function leave(port) {
  ports.delete(port);
  if (ports.size > 0) return;
  stop?.abort();
  [stop, hello, state, answer] = [null, null, null, null];
}

function useToken(given) {
  token = given;
  setToken(given);
  if (answer === null) return;
  answer();
  [answer, state] = [null, null];
}

onStalled((number) => {
  stalled = number;
  sendAll({ stalled });
});

addEventListener("connect", ({ ports: [port] }) => {
  port.addEventListener("message", ({ data }) => {
    if (data.join) join(port, data.token);
    else if (data.leave) leave(port);
    // Another tab may have been faster.
    else if (answer !== null) useToken(data.token);
  });
  port.start();
});

setInterval(() => sendAll({}), HEARTBEAT);
