// Many tabs of one node's page: they share one stream, since a browser opens six connections to a
// host at most.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { eventually } from "./nodes.mjs";
import { anotherTab, live, network, rowWith, start, visit } from "./pages.mjs";

const TABS = 7;

async function streams(node, token) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const metrics = await (await fetch(`${node.url}/metrics`, { headers })).text();
  return Number(/^meshpool_streams (\d+)$/m.exec(metrics)[1]);
}

async function openTabs(t, node, count, options) {
  const tabs = [await visit(t, node, options)];
  while (tabs.length < count) tabs.push(await anotherTab(tabs[0].context(), node.url));
  return tabs;
}

async function add(page, amount) {
  await page.fill("#from", "ann");
  await page.fill("#amount", String(amount));
  await page.click("text=Add transaction");
  await page.waitForSelector('#transaction-result[data-state="good"]');
}

test("seven tabs share one stream, and each is live", async (t) => {
  const [node] = await network(1);
  const tabs = await openTabs(t, node, TABS);
  await Promise.all(tabs.map(live));
  assert.equal(await streams(node), 1);
  await add(tabs.at(-1), 71);
  await Promise.all(tabs.map((tab) => rowWith(tab, "71")));
  for (const tab of tabs) {
    assert.ok(await tab.isHidden("#notice"));
    assert.ok(await tab.locator("#lines li").count() > 0, "each has the lines");
  }
  // The tab that came first is no other than the rest.
  for (const tab of tabs.splice(0, 3)) await tab.close();
  await add(tabs[0], 72);
  await Promise.all(tabs.map((tab) => rowWith(tab, "72")));
  const late = await anotherTab(tabs[0].context(), node.url);
  await live(late);
  await rowWith(late, "72");
  assert.equal(await streams(node), 1);
  for (const tab of [late, ...tabs]) await tab.close();
  await eventually("the stream's end with the last tab", async () => await streams(node) === 0);
});

test("all tabs see that the node is gone, and that it is back", async (t) => {
  const [node] = await network(1);
  const tabs = await openTabs(t, node, TABS);
  await Promise.all(tabs.map(live));
  await node.kill();
  await Promise.all(tabs.map((tab) => tab.waitForSelector('#live[data-state="gone"]')));
  await node.run();
  await Promise.all(tabs.map(live));
  await add(tabs[3], 73);
  await Promise.all(tabs.map((tab) => rowWith(tab, "73")));
});

test("the token is asked for once in a browser", async (t) => {
  const token = "correct-horse-battery";
  const node = await start(`HTTP_TOKEN=${token}\n`);
  const tabs = await openTabs(t, node, TABS);
  await Promise.all(tabs.map((tab) => tab.waitForSelector("#token-dialog[open]")));
  await tabs[2].fill("#token", "a-wrong-one-as-it-happens");
  await tabs[2].keyboard.press("Enter");
  await tabs[2].waitForSelector("#token-dialog:not([open])", { state: "attached" });
  await tabs[2].waitForSelector("#token-dialog[open]");
  assert.match(await tabs[2].textContent("#token-result"), /refused this token/);
  await tabs[4].fill("#token", token);
  await tabs[4].keyboard.press("Enter");
  await Promise.all(tabs.map(live));
  for (const tab of tabs) assert.equal(await tab.locator("#token-dialog[open]").count(), 0);
  assert.equal(await streams(node, token), 1);
  await add(tabs[0], 74);
  await Promise.all(tabs.map((tab) => rowWith(tab, "74")));
  await tabs[0].reload();
  await live(tabs[0]);
});

/** Takes the browser's shared workers away, and lets a test hide the tab. */
function withoutWorkers() {
  delete globalThis.SharedWorker;
  let hidden = false;
  Object.defineProperty(document, "hidden", { get: () => hidden });
  globalThis.hide = (now) => {
    hidden = now;
    document.dispatchEvent(new Event("visibilitychange"));
  };
}

test("without shared workers a hidden tab lets its stream go", async (t) => {
  const [node] = await network(1);
  const first = await visit(t, node);
  await first.context().addInitScript(withoutWorkers);
  await first.reload();
  await live(first);
  const second = await anotherTab(first.context(), node.url);
  await live(second);
  // The stream of the page before the reload ends when the node sees its connection close.
  await eventually("a stream for each tab", async () => await streams(node) === 2);
  await first.evaluate(() => globalThis.hide(true));
  await eventually("one stream less", async () => await streams(node) === 1);
  await add(second, 75);
  await first.evaluate(() => globalThis.hide(false));
  await live(first);
  await rowWith(first, "75");
});

test("a request that gets no answer says so, until it has one", async (t) => {
  const [node] = await network(1);
  // A proxy that holds requests back.
  const held = [];
  let holds = false;
  const proxy = createServer(async (request, response) => {
    if (holds && request.url.startsWith("/api/transactions")) await new Promise((release) => held.push(release));
    const body = [];
    for await (const part of request) body.push(part);
    // The node ends before the stream that passes through here.
    response.on("error", () => {});
    try {
      await pass(request, response, Buffer.concat(body));
    } catch {
      response.destroy();
    }
  });
  async function pass(request, response, body) {
    const answer = await fetch(node.url + request.url, { method: request.method, headers: { "content-type": "application/json" }, body: request.method === "POST" ? body : undefined });
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") });
    for await (const part of answer.body) response.write(part);
    response.end();
  }
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  t.after(() => { proxy.closeAllConnections(); proxy.close(); });
  const page = await visit(t, node, { url: `http://127.0.0.1:${proxy.address().port}` });
  await live(page);
  holds = true;
  await page.fill("#amount", "76");
  await page.click("text=Add transaction");
  await page.waitForFunction(() => /not answered/.test(document.getElementById("notice").textContent));
  holds = false;
  for (const release of held) release();
  await page.waitForSelector('#transaction-result[data-state="good"]');
  assert.ok(await page.isHidden("#notice"));
});
