// Links by node id on the page: their path, their addresses, and the invite that leads to one.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generated, serve } from "./generated.mjs";
import { Node, eventually } from "./nodes.mjs";
import { PICTURES, axe, live, start, visit } from "./pages.mjs";

const ID = "d7e1bb27123fb5275c7d9959d2ca3c59f8426698a71483eea05a529aa14b5560";
const BY_ID = `iroh:${ID}@192.0.2.7:4001`;
const RELAYED = "over relay 192.0.2.7:4001";
const DIRECT = "direct to 198.51.100.21:60446";
const HOSTILE = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10" onload="document.title='owned'">
  <script>document.title = "owned"</script><style>* { display: none }</style>
  <rect width="10" height="10" fill="#fff" onclick="document.title='owned'" style="fill: red"/>
  <image href="http://192.0.2.1/owned.png" width="10" height="10"/>
  <foreignObject><body xmlns="http://www.w3.org/1999/xhtml"><img src="x" onerror="document.title='owned'"/></body></foreignObject>
  <path d="M0 0h5v5" fill="#000"/></svg>`;

const facts = (page) => page.$$eval("#link-facts div", (rows) => Object.fromEntries(rows.map((row) => [row.children[0].textContent, row.children[1].textContent])));
const said = (page) => page.$eval("#invite-state", (line) => ({ state: line.dataset.state, text: line.textContent }));

async function openInvite(page) {
  await page.click("#invite-open");
  await page.waitForFunction(() => document.getElementById("invite-state").dataset.state !== "waiting");
}

/** Starts a relay, a node that is reached over it, and one that knows it by the invite of its page. */
async function invited(t) {
  const relay = await Node.relay();
  t.after(() => relay.end());
  const member = await Node.start([], `WAN=on\nRELAYS=127.0.0.1:${relay.port}\n`);
  t.after(() => member.end());
  const page = await visit(t, member, { permissions: ["clipboard-read", "clipboard-write"] });
  await live(page);
  await openInvite(page);
  assert.deepEqual(await said(page), { state: "good", text: "Send this line to a friend:" });
  const invite = await page.inputValue("#invite-text");
  const joiner = await Node.start([{ address: invite.split("#")[0] }]);
  t.after(() => joiner.end());
  await eventually("the link", async () => (await joiner.api("/api/links")).links.some((link) => link.kind === "native" && link.path !== null));
  return { relay, member, joiner, page, invite };
}

test("the page of a node invites, and who follows the invite is linked", async (t) => {
  const { relay, member, joiner, page, invite } = await invited(t);
  const { node, byId } = await member.api("/api/status");
  assert.equal(invite, `iroh:${node}@127.0.0.1:${relay.port}#p2p-node`);
  assert.equal(byId, invite.split("#")[0]);
  await page.click("#invite-copy");
  await page.waitForFunction(() => document.getElementById("invite-copy").textContent === "Copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), invite);
  assert.match(await page.textContent("#invite-answer"), /cargo xtask join '…'.*meshpool join '…'.*no secret key: it says where this node is/);
  const { qr } = await member.api("/api/invite", {});
  const drawn = await page.$eval("#invite-qr svg", (svg) => ({ path: svg.querySelector("path").getAttribute("d"), name: svg.getAttribute("aria-label"), width: svg.getBoundingClientRect().width }));
  assert.ok(qr.includes(`"${drawn.path}"`) && drawn.path.length > 100, drawn.path);
  assert.equal(drawn.name, "QR code of the invite");
  assert.ok(drawn.width > 200, String(drawn.width));
  await page.keyboard.press("Escape");

  // The guest, on the page of the host: without an address, or with one by its id.
  await page.waitForFunction(() => document.querySelectorAll("#peers button[data-link]").length === 1);
  assert.equal(member.log.filter((line) => line.includes("ERROR")).length, 0);

  // The host, on the page of the guest.
  const other = await visit(t, joiner, { permissions: ["clipboard-read", "clipboard-write"] });
  await live(other);
  const row = `#peers tr:has-text("${node.slice(0, 8)}")`;
  await other.waitForSelector(`${row} button[data-link]`);
  // On one host a direct path is found, to which the link changes by itself.
  await other.waitForFunction(() => document.querySelector("#peers tr td:nth-child(2) small")?.textContent === "direct");
  assert.match(await other.getAttribute("#peers tr td:nth-child(2) small", "title"), /^direct to \S+:\d+$/);
  assert.match(await other.textContent(`${row} td.number`), / ms$/);
  assert.match(await other.textContent(`${row} td`), new RegExp(`^${node.slice(0, 8)}node id copy$`));
  const address = await other.getAttribute(`${row} td span`, "title");
  assert.match(address, new RegExp(`^iroh:${node}(@\\S+)?$`));
  await other.click(`${row} button.copy`);
  await other.waitForFunction(() => document.querySelector(".peers .copied").textContent === "Address copied");
  assert.equal(await other.evaluate(() => navigator.clipboard.readText()), address);
  for (const list of ["#lines", "#timeline"]) assert.doesNotMatch(await other.textContent(list), /iroh:|[0-9a-f]{64}/, list);

  await other.click(`${row} button[data-link]`);
  await other.waitForFunction(() => document.getElementById("link-facts").childElementCount > 6);
  const shown = await facts(other);
  assert.match(shown.Path, /^direct to \S+:\d+$/);
  assert.match(shown.Way, /^over iroh: .*straight between the two/);
  assert.match(shown["Round trip"], / ms$/);
  assert.equal(shown.Address, `${address} copy`);
  assert.equal(shown["Other end"], `${node.slice(0, 8)}, a node`);
  assert.equal(shown["Who dialled"], `This node dialled ${node.slice(0, 8)}`);
  assert.match(shown.Identity, /^proved by the keys of the connection/);
  assert.match(await other.textContent("#link-heading"), new RegExp(`^Link \\d+: ${node.slice(0, 8)}$`));
});

test("a relay's counters are explained", async (t) => {
  const { relay } = await invited(t);
  const page = await visit(t, relay);
  await live(page);
  await page.click("#counters-summary");
  for (const name of ["relay clients admitted", "relay clients ended", "relay clients refused", "relay bytes"]) {
    await page.waitForFunction((wanted) => [...document.querySelectorAll("#counters div")].some((row) => row.children[0].textContent === wanted && row.children[2].textContent.length > 20), name);
  }
});

/** Returns a network of three nodes: this one is linked to the second by its id. */
function byNodeId(path) {
  const hello = generated(3, { degree: 0 });
  hello.network.links = [[0, 1], [1, 2]];
  hello.network.nodes[1] = { ...hello.network.nodes[1], id: ID, address: BY_ID, links: 2 };
  hello.network.nodes[2] = { ...hello.network.nodes[2], address: `iroh:${"c".repeat(64)}` };
  const row = { id: ID, link: 7, address: BY_ID, state: "connected", reason: null, retryInSeconds: null, proved: true, dialled: true, roundTripSeconds: 0.0482, queuedBytes: 0, openForSeconds: 90, path };
  hello.peers = [row, { address: `iroh:${"e".repeat(64)}@relay.example:4001`, state: "failed", reason: "it does not answer", retryInSeconds: 4 }];
  hello.lines = [{ number: 1, time: Date.now(), kind: "linked", level: "info", text: `linked to ${BY_ID} (${ID.slice(0, 8)}), which we dialled; 1 peer` }];
  const link = { id: 7, kind: "native", peer: ID, address: BY_ID, dialled: true, dialledAddress: BY_ID, remote: "192.0.2.7", proved: true, agent: null, since: Date.now() - 90_000, roundTripSeconds: 0.0482, path, queuedBytes: 0, others: [], why: null };
  return { hello, row, link };
}

test("a path that changes is shown as it changes: in the table, the diagram and the view of the link", async (t) => {
  const { hello, row, link } = byNodeId(RELAYED);
  const site = await serve(t, hello, {
    "/api/links": { links: [link] },
    "/api/links/7/frames": { link: 7, frames: [], last: 0, missed: 0, since: null, ended: null },
  });
  const page = await visit(t, site);
  await live(page);
  const path = "#peers tr:first-child td:nth-child(2) small";
  assert.equal(await page.textContent(path), RELAYED);
  assert.equal(await page.textContent("#lines .text"), "linked to d7e1bb27, which we dialled; 1 peer");
  assert.match(await page.getAttribute("#lines .text", "title"), new RegExp(BY_ID));
  assert.equal(await page.textContent("#nodes tr:nth-child(2) td:nth-child(2)"), "d7e1bb27 copy");
  assert.equal(await page.getAttribute("#nodes tr:nth-child(2) td:nth-child(2) span", "title"), BY_ID);
  await page.focus("#graph");
  for (const key of ["Home", "ArrowRight"]) await page.keyboard.press(key);
  const hint = await page.textContent("#hint");
  assert.match(hint, /^d7e1bb27/);
  for (const part of [`this node dialled it, ${RELAYED}, 48 ms round trip`, `address ${BY_ID}`]) assert.ok(hint.includes(part), hint);
  await page.keyboard.press("ArrowDown");
  assert.match(await page.textContent("#spoken"), /^Link to d7e1bb27: .*over relay 192\.0\.2\.7:4001.*one WebSocket over iroh/);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /the relay passes its packets on, and cannot read them/.test(document.getElementById("link-facts").textContent));
  assert.equal((await facts(page)).Path, RELAYED);
  await page.focus("#link-facts button");

  Object.assign(row, { path: DIRECT, roundTripSeconds: 0.009 });
  Object.assign(link, { path: DIRECT, roundTripSeconds: 0.009 });
  site.send("peers", hello.peers);
  await page.waitForFunction((selector) => document.querySelector(selector).textContent === "direct", path);
  assert.equal(await page.getAttribute(path, "title"), DIRECT);
  await page.waitForFunction((wanted) => document.getElementById("link-facts").textContent.includes(wanted), DIRECT);
  assert.equal(await page.evaluate(() => document.activeElement.dataset.address), BY_ID, "the focus stays");
  await page.keyboard.press("Escape");
  await page.focus("#graph");
  for (const key of ["Home", "ArrowRight"]) await page.keyboard.press(key);
  assert.ok((await page.textContent("#hint")).includes(`${DIRECT}, 9.0 ms round trip`));
});

test("that others cannot dial the address is said, unless they reach the node by its id", async (t) => {
  const { hello } = byNodeId(DIRECT);
  hello.status.dialBacks = { reached: 0, failed: 2, error: "it makes sense only on its own host or network; ".repeat(4) };
  const site = await serve(t, hello);
  const page = await visit(t, site, { viewport: { width: 320, height: 780 } });
  await live(page);
  assert.match(await page.textContent("#subtitle"), / · others cannot dial this address: it makes sense only/);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0, "a long reason is cut off");
  site.send("status", { ...hello.status, byId: BY_ID });
  await page.waitForFunction(() => !document.getElementById("subtitle").textContent.includes("others cannot"));
  assert.equal(await page.getAttribute("#subtitle", "title"), BY_ID);
});

test("without a clipboard an address is shown and selected", async (t) => {
  const { hello } = byNodeId(RELAYED);
  const site = await serve(t, hello, { "/api/invite": { invite: `${BY_ID}#p2p-node`, qr: null } });
  const page = await visit(t, site);
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "clipboard", { get: () => undefined }));
  await page.reload();
  await page.focus("#peers button.copy");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".peers .copied").textContent.startsWith("Selected: press Ctrl+C "));
  assert.equal(await page.evaluate(() => getSelection().toString()), BY_ID);
  // A text that is too long for a code is an invite too.
  await openInvite(page);
  assert.ok(await page.isHidden("#invite-qr"));
  await page.click("#invite-copy");
  await page.waitForFunction(() => document.getElementById("invite-copy").textContent === "Selected: press Ctrl+C");
  assert.equal(await page.$eval("#invite-text", (field) => field.value.slice(field.selectionStart, field.selectionEnd)), `${BY_ID}#p2p-node`);
});

test("a node that cannot invite says what is needed, with a token too, and by keyboard only", async (t) => {
  const token = "correct-horse-battery";
  const node = await start(`WAN=off\nHTTP_TOKEN=${token}\n`);
  const page = await visit(t, node);
  await page.waitForSelector("#token-dialog[open]");
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
  await live(page);
  await page.focus("#invite-open");
  await page.keyboard.press("Enter");
  await page.waitForSelector('#invite[open] #invite-state[data-state="bad"][role="status"]');
  assert.match((await said(page)).text, /^links through NATs are off here.*remove WAN=off from \.env/);
  assert.ok(await page.isHidden("#invite-answer"));
  await axe(page, "a node that cannot invite");
  await page.locator("#invite").screenshot({ path: `${PICTURES}invite-none.png` });
  await page.keyboard.press("Escape");
  await page.waitForSelector("#invite:not([open])", { state: "attached" });
  assert.equal(await page.evaluate(() => document.activeElement.id), "invite-open", "the focus is back");
  assert.equal((await fetch(`${node.url}/api/invite`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).status, 401);
});

test("an invite is left by keyboard while the node looks for a relay", async (t) => {
  const { hello } = byNodeId(RELAYED);
  const site = await serve(t, hello);
  const page = await visit(t, site);
  await live(page);
  const asked = [];
  await page.route("**/api/invite", (route) => asked.push(route));
  await page.focus("#invite-open");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("invite-state").textContent.startsWith("Looking for a relay"));
  await page.keyboard.press("Escape");
  await page.waitForSelector("#invite:not([open])", { state: "attached" });
  // The next one is shown, and not what comes too late.
  await page.keyboard.press("Enter");
  await eventually("the second request", () => asked.length === 2);
  const answer = (invite) => ({ contentType: "application/json", body: JSON.stringify({ invite, qr: null }) });
  await asked[1].fulfill(answer(`${BY_ID}#p2p-node`));
  await page.waitForSelector("#invite-answer:not([hidden])");
  // The browser has ended that request, if all is well.
  await asked[0].fulfill(answer("too late")).catch(() => {});
  await page.evaluate(() => fetch("/api/images"));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.value), `${BY_ID}#p2p-node`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "invite-copy");
});

test("an invite or a link that is opened again at once is shown", async (t) => {
  const { hello, link } = byNodeId(RELAYED);
  const site = await serve(t, hello, {
    "/api/invite": { invite: BY_ID, qr: null },
    "/api/links": { links: [link] },
    "/api/links/7/frames": { link: 7, frames: [], last: 0, missed: 0, since: null, ended: null },
  });
  const page = await visit(t, site);
  await live(page);
  // The browser tells that a dialog was closed after these steps.
  const twice = (dialog, opener) =>
    page.evaluate(
      async ({ dialog, opener }) => {
        const [view, button] = [dialog, opener].map((one) => document.querySelector(one));
        const told = new Promise((done) => view.addEventListener("close", done, { once: true }));
        button.click();
        view.close();
        button.click();
        await told;
      },
      { dialog, opener },
    );
  await twice("#invite", "#invite-open");
  await page.waitForSelector("#invite-answer:not([hidden])");
  await page.keyboard.press("Escape");
  await twice("#link", "#peers button[data-link]");
  await page.waitForFunction(() => document.getElementById("link-facts").childElementCount > 6);
});

test("of a picture only what a QR code has is drawn", async (t) => {
  const { hello } = byNodeId(RELAYED);
  const site = await serve(t, hello, { "/api/invite": { invite: "<b>owned</b>", qr: HOSTILE } });
  const page = await visit(t, site);
  await live(page);
  await openInvite(page);
  assert.equal(await page.inputValue("#invite-text"), "<b>owned</b>");
  assert.deepEqual(await page.$$eval("#invite-qr *", (all) => all.map((one) => [one.localName, ...one.getAttributeNames()].join(" "))), ["svg viewBox role aria-label", "rect width height fill", "path d fill"]);
  for (const qr of ["no XML", "<svg>", '<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>']) {
    await page.keyboard.press("Escape");
    await page.route("**/api/invite", (route) => route.fulfill({ contentType: "application/json", body: JSON.stringify({ invite: "x", qr }) }));
    await openInvite(page);
    assert.equal(await page.locator("#invite-qr *").count(), 0, qr);
    await page.unroute("**/api/invite");
  }
  assert.doesNotMatch(await page.title(), /owned/);
});

test("nothing of it is cut off, and axe finds nothing, at four widths, light and dark", async (t) => {
  const { member, joiner } = await invited(t);
  const { node } = await member.api("/api/status");
  for (const width of [320, 380, 900, 1440]) {
    for (const colorScheme of ["light", "dark"]) {
      const name = `${width}-${colorScheme}`;
      const options = { viewport: { width, height: width < 400 ? 780 : 900 }, colorScheme };
      const page = await visit(t, joiner, options);
      await live(page);
      await page.waitForSelector("#peers td:nth-child(2) small");
      for (const card of ["peers", "nodes", "network"]) await page.locator(`.card.${card}`).screenshot({ path: `${PICTURES}wan-${card}-${name}.png` });
      await axe(page, `${name}, the page`);
      await page.click(`#peers tr:has-text("${node.slice(0, 8)}") button[data-link]`);
      await page.waitForFunction(() => document.getElementById("link-facts").childElementCount > 6);
      await page.screenshot({ path: `${PICTURES}wan-link-${name}.png` });
      await axe(page, `${name}, a link`);
      await page.keyboard.press("Escape");
      const host = await visit(t, member, options);
      await live(host);
      await openInvite(host);
      await host.screenshot({ path: `${PICTURES}invite-${name}.png` });
      await axe(host, `${name}, an invite`);
      for (const one of [page, host]) {
        const cut = await one.evaluate(() => {
          const wide = (element) => element.scrollWidth - element.clientWidth;
          const inside = [...document.querySelectorAll("#link *, #invite *, .peers *, .nodes *, .network > header *")].filter((element) => !element.closest(".gist, .spoken, .scroll"));
          const over = inside.filter((element) => element.clientWidth > 0 && wide(element) > 1 && getComputedStyle(element).overflowX !== "visible");
          return { page: wide(document.documentElement), over: over.map((element) => element.outerHTML.slice(0, 120)), tables: [...document.querySelectorAll(".peers .scroll")].map(wide) };
        });
        assert.deepEqual(cut, { page: 0, over: [], tables: [0] }, name);
      }
      await Promise.all([page.context().close(), host.context().close()]);
    }
  }
});
