// Where the texts of the diagram stand: no label lies on a node, on another label, or on a line. One
// that finds no such place is left out. Some must be shown: of their places the one is taken that the
// fewest lines cross, and the drawing puts a plate under it, so no line is seen through the text.

const MARGIN = 3;
/** Around a node: right below it first, as people expect it. */
const AROUND = [[0, 1], [0, -1], [1, 0], [-1, 0], [0.75, 0.8], [-0.75, 0.8], [0.75, -0.8], [-0.75, -0.8]];
/** How much farther out a label that must be shown may stand, in pixels: a thin line leads to it. */
const FARTHER = [0, 14, 28, 46, 70, 100, 140, 190];
/** As bad as a place that is so many pixels farther out: a line under the plate, any number of lines,
 * and a node. */
const LINE = 20;
const LINES = 46;
const NODE = 220;

/** Returns the places for the label of a node, the best first: `[x, y, far]` with the centre of a
 * text of this size, and how much farther out it is than the nearest ones. */
export function around({ x, y, radius, width, height, must }) {
  const places = [];
  for (const far of must ? FARTHER : FARTHER.slice(0, 1)) {
    for (const [across, down] of AROUND) {
      places.push([x + across * (radius + 5 + width / 2 + far), y + down * (radius + 4 + height / 2 + far), far]);
    }
  }
  return places;
}

/** Places labels in their order. `wanted`: `{ id, node, width, height, places, must, last }`:
 * `node` is where its node is, `last` the index of the place that it had. `lines`: `[x1, y1, x2, y2]`. `circles`: `[x, y, radius]`.
 * Returns by id `{ x, y, far, place, crossed }`, with x, y in the centre. */
export function place(wanted, { lines: drawn, circles, width, height }) {
  const placed = new Map();
  const lines = [...drawn];
  const boxes = [];
  for (const label of wanted) {
    const order = [...label.places.keys()];
    // A label that jumped about could not be read.
    if (label.last > 0 && label.last < order.length) order.unshift(label.last);
    let best = null;
    for (const index of order) {
      const [x, y, far = 0] = label.places[index];
      if (best !== null && far >= best.cost) continue;
      const box = boxOf(x, y, label);
      if (box.left < MARGIN || box.top < MARGIN || box.right > width - MARGIN || box.bottom > height - MARGIN) continue;
      if (boxes.some((other) => overlap(box, other))) continue;
      const most = label.must ? Infinity : 1;
      const hidden = count(circles, (circle) => touches(box, circle), most);
      if (hidden > 0 && !label.must) continue;
      const crossed = count(lines, (line) => crosses(box, line), most);
      if (crossed > 0 && !label.must) continue;
      const cost = far + Math.min(crossed * LINE, LINES) + hidden * NODE;
      if (best === null || cost < best.cost) best = { x, y, far, place: index, crossed, cost, box };
      if (cost === 0 || !label.must) break;
    }
    if (best === null) continue;
    const { box, cost, ...spot } = best;
    boxes.push(box);
    placed.set(label.id, spot);
    // The thin line to it is one more that later labels keep clear of.
    if (spot.far > 0) lines.push([...label.node, spot.x, spot.y]);
  }
  return placed;
}

function boxOf(x, y, { width, height }) {
  return { left: x - width / 2 - MARGIN, right: x + width / 2 + MARGIN, top: y - height / 2 - 1, bottom: y + height / 2 + 1 };
}

const overlap = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;

function touches({ left, right, top, bottom }, [x, y, radius]) {
  const [nearX, nearY] = [Math.max(left, Math.min(x, right)), Math.max(top, Math.min(y, bottom))];
  return (x - nearX) ** 2 + (y - nearY) ** 2 < radius * radius;
}

/** Counts those of which something holds, up to a bound. */
function count(all, holds, most) {
  let found = 0;
  for (const one of all) if (holds(one) && (found += 1) >= most) break;
  return found;
}

/** Returns whether a line enters a rectangle (Liang and Barsky, 1984). */
export function crosses({ left, right, top, bottom }, [ax, ay, bx, by]) {
  if ((ax < left && bx < left) || (ax > right && bx > right) || (ay < top && by < top) || (ay > bottom && by > bottom)) return false;
  const [dx, dy] = [bx - ax, by - ay];
  let [from, to] = [0, 1];
  for (const [step, room] of [[-dx, ax - left], [dx, right - ax], [-dy, ay - top], [dy, bottom - ay]]) {
    if (step === 0) {
      if (room < 0) return false;
      continue;
    }
    const at = room / step;
    if (step < 0) from = Math.max(from, at);
    else to = Math.min(to, at);
    if (from > to) return false;
  }
  return true;
}
