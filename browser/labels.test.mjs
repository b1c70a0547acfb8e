// Labels of the diagram: the rules of their placing, on their own, and what the page draws.

import assert from "node:assert/strict";
import { test } from "node:test";

import { around, crosses, place } from "../node-template/src/http/page/labels.js";
import { generated, serve } from "./generated.mjs";
import { PICTURES, live, shows, visit } from "./pages.mjs";

const box = { left: 10, right: 30, top: 10, bottom: 20 };

test("a line crosses a rectangle or passes it", () => {
  for (const [line, expected] of [
    [[0, 15, 40, 15], true],
    [[20, 0, 20, 40], true],
    [[12, 12, 14, 14], true],
    [[0, 0, 40, 8], false],
    [[0, 22, 22, 40], false],
    [[31, 0, 31, 40], false],
    [[0, 30, 30, 0], true],
    [[20, 15, 20, 15], true],
  ]) assert.equal(crosses(box, line), expected, String(line));
});

test("a label takes the first free place, is left out without one, and keeps its place", () => {
  const room = { lines: [], circles: [[100, 100, 8]], width: 200, height: 200 };
  const label = (id, more = {}) => ({ id, node: [100, 100], width: 40, height: 12, must: false, places: around({ x: 100, y: 100, radius: 8, width: 40, height: 12, must: false }), ...more });
  const first = place([label("a")], room).get("a");
  assert.ok(first.place === 0 && first.y > 108, "below");
  const two = place([label("a"), label("b")], room);
  assert.ok(two.get("b").y < 92, "above, as below is taken");
  assert.equal(place([label("a", { last: 2 })], room).get("a").place, 2);
  const star = [...Array(36).keys()].map((at) => [100, 100, 100 + 90 * Math.cos(at / 5.73), 100 + 90 * Math.sin(at / 5.73)]);
  assert.equal(place([label("a")], { ...room, lines: star }).size, 0, "lines are everywhere");
  const must = place([label("a", { must: true })], { ...room, lines: star }).get("a");
  assert.ok(must.crossed > 0, "it must be shown");
  assert.equal(place([label("a")], { ...room, width: 20 }).size, 0, "there is no room");
});

/** Records what is drawn: in each frame the lines, the plates and the texts, in their order. */
function spy() {
  const { prototype } = CanvasRenderingContext2D;
  const wrap = (name, note) => {
    const before = prototype[name];
    prototype[name] = function (...given) {
      note.call(this, ...given);
      return before.apply(this, given);
    };
  };
  let [frame, pen, path] = [[], null, []];
  globalThis.lastFrame = () => frame;
  wrap("clearRect", () => { frame = []; });
  wrap("beginPath", () => { path = []; });
  wrap("moveTo", (x, y) => { pen = [x, y]; });
  wrap("lineTo", (x, y) => {
    path.push([...pen, x, y]);
    pen = [x, y];
  });
  wrap("stroke", () => { for (const line of path) frame.push({ line }); });
  wrap("fillRect", (x, y, width, height) => { frame.push({ plate: { left: x, top: y, right: x + width, bottom: y + height } }); });
  wrap("fillText", function (text, x, y) {
    const width = this.measureText(text).width;
    frame.push({ text, box: { left: x - width / 2, right: x + width / 2, top: y - 6, bottom: y + 5 } });
  });
}

const inside = (one, other) => one.left >= other.left && one.right <= other.right && one.top >= other.top && one.bottom <= other.bottom;
const overlap = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;

/** Returns the texts of the last frame, and those that a line or another text crosses. */
async function judge(page) {
  await page.waitForFunction(() => Number(document.getElementById("graph").dataset.labels) > 0 && document.getElementById("graph").dataset.rests === "true");
  const frame = await page.evaluate(() => globalThis.lastFrame());
  const texts = frame.flatMap((drawn, at) => (drawn.text === undefined ? [] : [{ ...drawn, at }]));
  const faults = [];
  for (const one of texts) {
    const plate = frame.findLastIndex((drawn, at) => at < one.at && drawn.plate && inside(one.box, drawn.plate));
    const line = frame.find((drawn, at) => drawn.line && at > plate && crosses(one.box, drawn.line));
    if (line) faults.push(`a line crosses ${one.text}`);
    for (const other of texts) if (other.at > one.at && overlap(one.box, other.box)) faults.push(`${other.text} lies on ${one.text}`);
  }
  return { texts: texts.map((one) => one.text), faults };
}

for (const [count, options, least] of [[1, {}, 1], [3, {}, 3], [8, { exercise: 2 }, 8], [30, {}, 20], [30, { degree: 2, exercise: 1 }, 12], [300, { degree: 3 }, 5]]) {
  const what = `${count} nodes${options.degree ? ` that dial ${options.degree}` : ""}${options.exercise ? `, ${options.exercise} of the exercise` : ""}`;
  test(`no label is crossed: ${what}`, async (t) => {
    const hello = generated(count, options);
    const { url } = await serve(t, hello);
    const [all, links] = [hello.network.nodes, hello.network.links];
    const short = (node) => node.address.replace("ws://", "").replace(count > 12 ? "localhost:" : "", "");
    const neighbours = links.filter(([a]) => a === 0).map(([, b]) => short(all[b]));
    for (const [width, height, colorScheme] of [[1440, 1000, "light"], [1280, 900, "dark"], [390, 844, "light"], [320, 640, "dark"]]) {
      const page = await visit(t, { url }, { viewport: { width, height }, colorScheme });
      await page.addInitScript(spy);
      await page.reload();
      await live(page);
      await shows(page, count);
      const { texts, faults } = await judge(page);
      assert.deepEqual(faults, [], `${width}: ${faults.length}`);
      assert.ok(texts.includes(short(all[0])), `${width}: this node`);
      assert.ok(width < 500 || texts.length >= least, `${width}: ${texts.length} labels`);
      if (count === 300 && width > 1000) for (const name of neighbours) assert.ok(texts.includes(name), `${width}: the neighbour ${name}`);
      await page.locator(".network").screenshot({ path: `${PICTURES}graph-${count}${options.degree ? "-sparse" : ""}-${width}-${colorScheme}.png` });
      // One that is far away keeps its name while it has the focus.
      await page.focus("#graph");
      await page.keyboard.press("End");
      await page.waitForFunction(() => document.getElementById("spoken").textContent !== "");
      const focused = await judge(page);
      assert.deepEqual(focused.faults, []);
      assert.ok(focused.texts.includes(short(all.at(-1))), `${width}: the focused one`);
    }
  });
}
