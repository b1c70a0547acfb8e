// What is typed into the page's forms is what the pool holds, or is refused with the reason.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { live, network, visit } from "./pages.mjs";

/** Amounts that JavaScript keeps, and as the file has them. */
const KEPT = [
  ["5", "5"], ["0", "0"], ["-0", "0"], ["-7", "-7"], ["42.5", "42.5"], ["0.1", "0.1"], ["5.0", "5"], ["1e3", "1000"],
  ["1E+2", "100"], ["25e-1", "2.5"], [" 12 ", "12"], ["9007199254740992", "9007199254740992"], ["1e21", "1e+21"],
  ["0.1e-6", "1e-7"], ["123456789012345.67", "123456789012345.67"],
];
/** Amounts that JavaScript would change. */
const CHANGED = [
  "9007199254740993", "-9007199254740993", "12345678901234567891", "0.1000000000000000055511151231257827", "1e400", "-1e400", "1e-400",
  "123456789012345678.9", "0.30000000000000000001", "1" + "0".repeat(400),
];
/** Texts that are no JSON number. */
const NO_NUMBERS = ["much", "0x10", "0b1", "0o7", "1_000", "1,5", "1 000", "Infinity", "-Infinity", "NaN", "+5", ".5", "5.", "05", "1e", "--1", "١٢", "５", "5n", '5,"toAddress":"eve"', "5}", "null"];

async function add(page) {
  await page.evaluate(() => { document.getElementById("transaction-result").dataset.state = "waiting"; });
  await page.click("text=Add transaction");
  await page.waitForFunction(() => document.getElementById("transaction-result").dataset.state !== "waiting");
  return page.$eval("#transaction-result", (result) => ({ state: result.dataset.state, text: result.textContent }));
}

test("an amount is stored and signed as typed, or refused", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  await page.fill("#from", "ann");
  for (const [typed] of KEPT) {
    await page.fill("#amount", typed);
    const { state, text } = await add(page);
    assert.equal(state, "good", `${typed}: ${text}`);
  }
  for (const typed of [...CHANGED, ...NO_NUMBERS]) {
    await page.fill("#amount", typed);
    const { state, text } = await add(page);
    assert.equal(state, "bad", `${typed}: ${text}`);
    if (CHANGED.includes(typed)) assert.match(text, /would turn the number/, typed);
    else assert.match(text, /amount is not a number/i, typed);
    assert.equal(await page.inputValue("#amount"), typed, "what was typed stays");
  }
  const pool = await node.pool();
  assert.deepEqual(pool.map((one) => one.amount), KEPT.map(([, kept]) => Number(kept)));
  for (const one of pool) assert.deepEqual([one.fromAddress, one.toAddress, typeof one.signature], ["ann", null, "string"]);
  const rows = await page.$$eval("#rows .what b", (all) => all.map((row) => row.textContent));
  assert.ok(rows.every((shown) => KEPT.some(([, kept]) => kept === shown)), rows.join());
});

test("any JSON object is stored as written, or refused", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  await page.click("summary");
  const write = (raw) => page.$eval("#raw", (area, text) => { area.value = text; }, raw);
  for (const [raw, reason] of [
    ['{"amount":9007199254740993}', /9007199254740993 into 9007199254740992/],
    ['{"deep":[{"amount":0.1000000000000000055}]}', /would turn the number/],
    ['{"amount":1e400}', /would turn the number/],
    ['{"name":"\\ud800"}', /surrogate/],
    ['{"name":"\ud800"}', /surrogate/],
    ['{"\udc00":1}', /surrogate/],
    ["[1]", /object/],
    ["null", /object/],
    ['{"amount":05}', /not JSON/],
  ]) {
    await write(raw);
    const { state, text } = await add(page);
    assert.equal(state, "bad", `${raw}: ${text}`);
    assert.match(text, reason, raw);
  }
  assert.deepEqual(await node.pool(), []);
  await write('{"amount":-0,"pair":"\ud83d\ude00","b":1,"b":2}');
  const { state, text } = await add(page);
  assert.equal(state, "good", text);
  const [stored] = await node.pool();
  assert.deepEqual([stored.amount, stored.pair, stored.b], [0, "\ud83d\ude00", 2], "as JSON.parse reads it");
});

test("half of a surrogate pair is refused in every form", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  await page.$eval("#from", (field) => { field.value = "ann\ud800"; });
  await page.fill("#amount", "1");
  const { state, text } = await add(page);
  assert.equal(state, "bad", text);
  assert.match(text, /surrogate/);
  await page.click("#tab-broadcast");
  await page.$eval("#message", (field) => { field.value = "hello \udfff"; });
  await page.focus("#message");
  await page.keyboard.press("Control+Enter");
  await page.waitForSelector('#broadcast-result[data-state="bad"]');
  assert.match(await page.textContent("#broadcast-result"), /surrogate/);
  assert.deepEqual(await node.pool(), []);
});

const fields = (page) => page.$eval("#fields", (all) => ({ off: all.disabled, values: [...all.querySelectorAll("input")].map((input) => input.value) }));

test("a blank amount is called missing, and stays out of the pool", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  for (const [from, to, amount] of [["ann", "bob", ""], ["ann", "", "  "], ["", "bob", ""]]) {
    for (const [id, text] of [["from", from], ["to", to], ["amount", amount]]) await page.fill(`#${id}`, text);
    const { state, text } = await add(page);
    assert.equal(state, "bad", text);
    assert.match(text, /^The amount is missing: .*0\.5/);
  }
  assert.deepEqual(await node.pool(), []);
});

test("either the fields or the JSON are sent, and the page shows which", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  const sent = async () => (await node.pool()).map(({ fromAddress, toAddress, amount, message }) => ({ fromAddress, toAddress, amount, message }));
  assert.ok(await page.isHidden("#raw-hint"));
  await page.fill("#from", "ann");
  await page.fill("#to", 'b"ob');
  await page.fill("#amount", "5.0");
  await page.click("summary");
  // What was filled in goes along.
  await page.waitForFunction(() => document.getElementById("raw").value !== "");
  assert.equal(await page.inputValue("#raw"), '{"fromAddress":"ann","toAddress":"b\\"ob","amount":5.0}');
  assert.deepEqual(await fields(page), { off: true, values: ["ann", 'b"ob', "5.0"] });
  assert.match(await page.textContent("#raw-hint"), /not the fields/);
  assert.ok(await page.isVisible("#raw-hint"));
  assert.equal((await add(page)).state, "good");
  assert.deepEqual(await sent(), [{ fromAddress: "ann", toAddress: 'b"ob', amount: 5, message: undefined }]);
  // Nothing that is not seen as the source is sent in its place.
  const { state, text } = await add(page);
  assert.equal(state, "bad");
  assert.match(text, /JSON object.*close/);
  await page.fill("#raw", '{"message":"for later"}');

  await page.click("summary");
  await page.waitForSelector("#fields:enabled");
  assert.deepEqual(await fields(page), { off: false, values: ["ann", 'b"ob', ""] });
  await page.fill("#amount", "7");
  assert.equal((await add(page)).state, "good");
  assert.deepEqual((await sent()).at(-1), { fromAddress: "ann", toAddress: 'b"ob', amount: 7, message: undefined });
  // What was written is still there, and does not give way to the fields.
  await page.click("summary");
  await page.waitForSelector("#fields:disabled");
  assert.equal(await page.inputValue("#raw"), '{"message":"for later"}');
  assert.equal((await add(page)).state, "good");
  assert.deepEqual((await sent()).at(-1), { fromAddress: undefined, toAddress: undefined, amount: undefined, message: "for later" });
});

test("fields that go into the JSON keep their digits, and an unchanged copy follows them", async (t) => {
  const [node] = await network(1);
  const page = await visit(t, node);
  await live(page);
  const opened = async (filled) => {
    for (const [id, text] of Object.entries(filled)) await page.fill(`#${id}`, text);
    await page.click("summary");
    await page.waitForSelector("#fields:disabled");
    const raw = await page.inputValue("#raw");
    await page.click("summary");
    await page.waitForSelector("#fields:enabled");
    return raw;
  };
  assert.equal(await opened({}), "");
  assert.equal(await opened({ amount: "9007199254740993" }), '{"amount":9007199254740993}');
  assert.equal(await opened({ amount: "much", to: " bob " }), '{"toAddress":"bob","amount":"much"}');
  assert.equal(await opened({ amount: "", to: "" }), "");
});

test("a broadcast is sent once, although its keys are pressed again or held", async (t) => {
  const { url } = await serve(t, generated(2), { "/api/broadcasts": { links: 1 } });
  const page = await visit(t, { url });
  await live(page);
  let posts = 0;
  let release;
  const answered = new Promise((done) => { release = done; });
  await page.route("**/api/broadcasts", async (route) => {
    posts += 1;
    await answered;
    await route.continue();
  });
  await page.click("#tab-broadcast");
  await page.fill("#message", "once");
  await page.focus("#message");
  await page.keyboard.down("Control");
  await page.keyboard.press("Enter");
  await page.keyboard.down("Enter");
  release();
  await page.waitForSelector('#broadcast-result[data-state="good"]');
  // The browser repeats a key that is held.
  await page.keyboard.down("Enter");
  assert.equal(await page.getAttribute("#broadcast-result", "data-state"), "good");
  assert.equal(posts, 1);
});
