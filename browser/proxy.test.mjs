// The page behind nginx, as docs/operations.md configures it, and in the other ways that proxies and
// tunnels pass requests on.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { Node, eventually } from "./nodes.mjs";
import { anotherTab, live, rowWith, start, visit } from "./pages.mjs";
import { documented, nginx, replaced, skip } from "./proxy.mjs";

const NAME = "node.example.org";
const TOKEN = "0123456789abcdef0123456789abcdef";

/** Starts a node with the documented settings and more, and nginx before it. */
async function behind(t, { settings = "", change = (server) => server, path = "/", name = NAME } = {}) {
  const { settings: named, server } = await documented();
  const node = await start(replaced(named, "<openssl rand -hex 32>", TOKEN) + settings);
  const port = await nginx(t, change(replaced(server, ":8001;", `:${new URL(node.url).port};`)));
  return { node, url: `https://${name}:${port}${path}` };
}

async function enter(page) {
  await page.waitForSelector("#token-dialog[open]");
  await page.fill("#token", TOKEN);
  await page.keyboard.press("Enter");
  await live(page);
}

async function add(page, amount) {
  await page.fill("#from", "ann");
  await page.fill("#amount", String(amount));
  await page.click("text=Add transaction");
  await page.waitForSelector('#transaction-result[data-state="good"], #transaction-result[data-state="bad"]');
  const text = await page.textContent("#transaction-result");
  assert.match(text, /Stored on this node's disk/);
}

/** Opens the page through the proxy: it is live, and takes a transaction and a broadcast. */
async function works(t, { node, url }) {
  const page = await visit(t, node, { url });
  await enter(page);
  await add(page, 81);
  await rowWith(page, "81");
  await page.click("#tab-broadcast");
  await page.fill("#message", "through the proxy");
  await page.click("#panel-broadcast button.primary");
  await page.waitForSelector('#broadcast-result[data-state="good"]');
  // Its line comes over the stream, which the proxy does not hold back.
  await page.waitForFunction(() => document.getElementById("lines").textContent.includes("broadcast"));
  assert.equal((await node.pool()).length, 1);
  return page;
}

// The port outside is no 443: the browser names it in Origin, and nginx leaves it out of Host.
test("the documented nginx leads to the page, which does everything", { skip }, async (t) => {
  const proxied = await behind(t);
  const page = await works(t, proxied);
  const tabs = [page];
  while (tabs.length < 7) tabs.push(await anotherTab(page.context(), proxied.url));
  // The token is asked for once in a browser.
  await Promise.all(tabs.map(live));
  await add(tabs.at(-1), 82);
  await Promise.all(tabs.map((tab) => rowWith(tab, "82")));
});

test("a host that proxies and tunnels write otherwise is the same host", { skip }, async (t) => {
  for (const host of ["$http_host", "$host:443", "localhost:8001", "localhost", "127.0.0.1:8001", "NODE.example.org."]) {
    await t.test(host, async (t) => works(t, await behind(t, { change: (server) => replaced(server, "Host $host;", `Host ${host};`) })));
  }
});

test("the page has a path of its own, which the proxy takes off or passes on", { skip }, async (t) => {
  const at = (path, pass) => (server) => replaced(server, "location / {", `location ${path} {`).replace(/(proxy_pass http:\/\/[^;]*);/, `$1${pass};`);
  await works(t, await behind(t, { path: "/node-1/", change: at("/node-1/", "/") }));
  const passed = { path: "/node-1", settings: "HTTP_PATH=/node-1\n", change: at("/node-1", "") };
  const page = await works(t, await behind(t, passed));
  assert.equal(new URL(page.url()).pathname, "/node-1/", "the slash on which relative paths depend");
});

test("a trusted proxy names the client, and limits hold for each", { skip }, async (t) => {
  const forwards = (server) => replaced(server, "proxy_http_version", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    proxy_http_version");
  await works(t, await behind(t, { settings: "TRUSTED_PROXIES=127.0.0.1\n", change: forwards }));
});

test("a name that the node does not know is refused, and the answer says what to set", { skip }, async (t) => {
  const { node, url } = await behind(t, { name: "other.example.org", change: (server) => replaced(server, "Host $host;", "Host localhost:8001;") });
  const page = await visit(t, node, { url });
  await enter(page);
  await page.fill("#amount", "1");
  await page.click("text=Add transaction");
  await page.waitForSelector('#transaction-result[data-state="bad"]');
  assert.match(await page.textContent("#transaction-result"), /add its name to HTTP_NAMES/);
  assert.deepEqual(await node.pool(), []);
});

test("the documented nginx leads to a relay, and two nodes link over it", { skip }, async (t) => {
  const { settings, server } = await documented("\nhosts](#several-hosts). A relay ");
  const relay = await Node.start();
  t.after(() => relay.end());
  const port = await nginx(t, replaced(server, ":4101;", `:${relay.port};`));
  await relay.kill();
  const named = replaced(replaced(settings, "PORT=4101\n", ""), "relay.example.org:4001", `127.0.0.1:${port}`);
  await writeFile(join(relay.folder, ".env"), named);
  await relay.run();
  const member = await Node.start([], `WAN=on\nRELAYS=127.0.0.1:${port}\n`);
  t.after(() => member.end());
  const { invite } = await member.api("/api/invite", {});
  assert.match(invite, new RegExp(`@127\\.0\\.0\\.1:${port}#`));
  const joiner = await Node.start([{ address: invite.split("#")[0] }]);
  t.after(() => joiner.end());
  await eventually("the link", async () => (await joiner.api("/api/links")).links.some((link) => link.kind === "native" && link.path !== null));
  const { counters } = await relay.api("/api/status");
  assert.ok(counters.relay_clients_admitted >= 2, `${counters.relay_clients_admitted} clients`);
  assert.ok(counters.relay_bytes > 0);
});
