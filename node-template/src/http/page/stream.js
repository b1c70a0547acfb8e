// The stream of live updates. It is read with fetch, since an EventSource cannot send the token. It
// reconnects, and reports when the node is gone.

import { ask } from "./request.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;
/** A node sends a heartbeat every 15 s. After two of them without data the connection is dead. */
const SILENCE = 35_000;

/** Calls `event(kind, data)` for each event, `state("live" | "gone", why)`, and `token(why)`, which
 * returns once there is another token; `why`: what is wrong with the one that was sent, or `null`.
 * Ends when `signal` is aborted. */
export async function follow({ event, state, token }, signal) {
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    const stop = new AbortController();
    const end = () => stop.abort();
    signal.addEventListener("abort", end);
    let watchdog;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(end, SILENCE);
    };
    try {
      alive();
      const response = await ask("api/events", { signal: stop.signal });
      for await (const [kind, data] of frames(response.body.getReader(), alive)) {
        event(kind, data);
        if (kind === "hello") {
          state("live");
          pause = FIRST_PAUSE;
        }
      }
      state("gone", "The node ended the stream");
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) {
        await token(error.refused ? error.message : null);
        pause = FIRST_PAUSE;
      } else state("gone", error.status ? error.message : "The node does not answer");
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", end);
      stop.abort();
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 1.6, LONGEST_PAUSE);
  }
}

async function* frames(reader, alive) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    rest += decoder.decode(value, { stream: true });
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const frame of whole) {
      const parsed = /^event: (\w+)\ndata: (.*)$/s.exec(frame);
      if (parsed) yield [parsed[1], JSON.parse(parsed[2])];
    }
  }
}
