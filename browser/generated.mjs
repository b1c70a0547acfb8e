// A server that answers as a node of a generated network would: the page's files, one stream that
// begins with that network, and nothing else. So a test shows any network at once.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const PAGE = new URL("../node-template/src/http/page/", import.meta.url);
const KINDS = { html: "text/html; charset=utf-8", css: "text/css; charset=utf-8", js: "text/javascript; charset=utf-8", svg: "image/svg+xml" };
const id = (number) => number.toString(16).padStart(64, "0");

/** Returns a generator of equal numbers in each run, from 0 to 1 (Park and Miller, 1988). */
function dice(seed) {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

/** Returns a network as a node sees it. Each node dials `degree` others; without it all are linked to
 * all. The last `exercise` nodes are nodes of the exercise, each with two sockets to this node. Their
 * clocks are `ahead` of that of the browser, in milliseconds. */
export function generated(count, { degree = null, exercise = 0, ahead = 0 } = {}) {
  const random = dice(count + 7);
  const native = count - exercise;
  const pairs = new Set();
  const link = (a, b) => a !== b && pairs.add(`${Math.min(a, b)},${Math.max(a, b)}`);
  for (let a = 0; a < native; a += 1) {
    if (degree === null) for (let b = 0; b < a; b += 1) link(a, b);
    else for (let dial = 0; dial < degree; dial += 1) link(a, Math.floor(random() * native));
  }
  for (let number = native; number < count; number += 1) link(0, number);
  const links = [...pairs].map((pair) => pair.split(",").map(Number)).sort(([a, b], [c, d]) => a - c || b - d);
  const isExercise = (number) => number >= native;
  const address = (number) => `ws://localhost:${4001 + number}`;
  const nodeId = (number) => (isExercise(number) ? `plain:${address(number)}` : id(number + 1));
  const degreeOf = (number) => links.filter((ends) => ends.includes(number)).length;
  const nodes = [...Array(count).keys()].map((number) => ({
    id: nodeId(number),
    kind: number === 0 ? "me" : isExercise(number) ? "plain" : "full",
    address: address(number),
    since: isExercise(number) ? null : Math.floor((Date.now() + ahead) / 1000) - 90,
    agent: null,
    links: isExercise(number) ? null : degreeOf(number),
    maxPeers: null,
  }));
  const neighbours = links.filter(([a]) => a === 0).map(([, b]) => b);
  const row = (number, link, dialled) => ({ id: nodeId(number), link, address: address(number), state: "connected", reason: null, retryInSeconds: null, proved: !isExercise(number), dialled, roundTripSeconds: 0.0004 + number / 100_000, queuedBytes: 0, openForSeconds: 90 });
  const peers = neighbours.flatMap((number) => (isExercise(number) ? [row(number, 2 * number, true), row(number, 2 * number + 1, false)] : [row(number, 2 * number, number % 2 === 0)]));
  const status = {
    node: id(1), session: "", agent: "meshpool/0.0.0", network: "exercise", address: address(0), uptime: 90, known: count - 1, attempting: [],
    connected: neighbours.map(address), exercise: neighbours.filter(isExercise).map(address), peers: [], pool: { count: 0, sum: "" }, writable: true, topics: [], counters: { transactions_accepted: 0 }, time: Date.now() + ahead,
  };
  return { status, network: { nodes, links }, peers, lines: [] };
}

/** Serves a page for this hello. `answers`: by path, what the API answers; with `token` in it, to those
 * who send that token alone. */
export async function serve(t, hello, answers = {}) {
  const streams = new Set();
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    if (answers.token !== undefined && path.startsWith("/api/") && request.headers.authorization !== `Bearer ${answers.token}`) {
      response.writeHead(401, { "content-type": "application/problem+json" });
      return response.end(JSON.stringify({ detail: "send the node's HTTP_TOKEN: Authorization: Bearer <token>" }));
    }
    if (path === "/api/events") {
      streams.add(response);
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.on("close", () => streams.delete(response));
      return response.write(`event: hello\ndata: ${JSON.stringify(hello)}\n\n`);
    }
    const known = { "/api/transactions": { transactions: [], total: 0, next: null, searched: 0 }, "/api/timeline": { entries: [], more: 0 }, "/api/images": { images: [], next: null }, ...answers }[path];
    if (known !== undefined) {
      response.writeHead(200, { "content-type": "application/json" });
      return response.end(JSON.stringify(known));
    }
    const name = path === "/" ? "index.html" : path.slice(1);
    try {
      const content = await readFile(new URL(name, PAGE));
      response.writeHead(200, { "content-type": KINDS[name.split(".").at(-1)] ?? "text/plain" });
      response.end(content);
    } catch {
      response.writeHead(404).end("{}");
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(async () => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://localhost:${server.address().port}/`,
    endStreams: () => streams.forEach((stream) => stream.end()),
    send: (kind, data) => streams.forEach((stream) => stream.write(`event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`)),
  };
}
