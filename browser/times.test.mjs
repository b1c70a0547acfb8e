// Ages on the page are by the node's clock: that of the browser may be wrong.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { live, shows, start, visit } from "./pages.mjs";

const DAY = 86_400_000;

for (const [what, ahead] of [["right", 0], ["three days behind", 3 * DAY], ["three days ahead", -3 * DAY]]) {
  test(`ages are right where the browser's clock is ${what}`, async (t) => {
    const hello = generated(3, { ahead });
    const now = () => Date.now() + ahead;
    // The page hears of no later time before the end.
    const began = hello.status.time;
    const seconds = Math.floor(began / 1000);
    hello.status.topics = [{ name: "alpha", items: 2, bytes: 20, members: 1, reconciled: 1, oldest: seconds - 7200, newest: seconds - 300, refused: 0, ignored: 0, deferred: 0, writable: true }];
    const [{ link: id, address, id: peer }] = hello.peers;
    const link = { id, kind: "native", address, peer, remote: "127.0.0.1", dialled: true, dialledAddress: address, since: began - 600_000, roundTripSeconds: null, path: null, proved: true, queuedBytes: 0, others: [], why: null };
    const row = (number, timeStamp) => ({ id: String(number).repeat(64), position: number, signature: "none", transaction: { message: `number ${number}`, timeStamp } });
    const transactions = [row(1, now()), row(0, now() - 2 * DAY)];
    const { url, send } = await serve(t, hello, {
      "/api/links": { links: [link] },
      "/api/transactions": { transactions, total: 2, next: null, searched: 0 },
    });
    const page = await visit(t, { url });
    await live(page);
    await shows(page, 3);
    await page.waitForFunction(() => document.querySelectorAll("#rows li").length === 2);
    const texts = (selector) => page.$$eval(selector, (all) => all.map((element) => element.textContent));
    assert.deepEqual(await texts("#nodes td:nth-child(4)"), ["1 min", "1 min", "1 min"]);
    assert.deepEqual(await texts("#topics .short"), ["2 h 0 min ago", "5 min ago"]);
    for (const text of await texts("#graph [role=option]")) assert.match(text, /uptime 1 min/);
    const [today, earlier] = await texts("#rows .when");
    assert.match(today, /^\d\d:\d\d:\d\d$/);
    assert.doesNotMatch(earlier, /:/);
    await page.click(`#peers button[data-link="${id}"]`);
    await page.waitForFunction(() => /, for \d+ min/.test(document.getElementById("link-facts").textContent));
    assert.match((await texts("#link-facts dd")).join(), /, for 10 min/);
    await page.keyboard.press("Escape");

    // The node's clock is set.
    send("status", { ...hello.status, time: now() + 3_600_000, uptime: 91 });
    await page.waitForFunction(() => document.querySelector("#topics .short").textContent === "3 h 0 min ago");
    await page.waitForFunction(() => document.querySelector("#nodes td:nth-child(4)").textContent === "1 h 1 min");
  });
}

test("a node says what its clock shows", async (t) => {
  const node = await start();
  const page = await visit(t, node);
  // A fixed clock, long ago.
  await page.addInitScript(() => { Date.now = () => 1_000_000_000_000; });
  await page.reload();
  await live(page);
  await page.waitForFunction(() => /^\d+ s$/.test(document.querySelector("#nodes td:nth-child(4)")?.textContent));
  await page.waitForFunction(() => Number.parseInt(document.querySelector("#nodes td:nth-child(4)").textContent, 10) >= 3);
});
