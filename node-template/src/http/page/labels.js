// Where the texts of the diagram stand: no label lies on a node, on another label, or on a line. One
// that finds no such place is left out. Some must be shown: of their places the one is taken that the
// fewest lines cross, and the drawing puts a plate under it, so no line is seen through the text.

const MARGIN = 3;
/** Around a node: right below it first, as people expect it. */
const AROUND = [[0, 1], [0, -1], [1, 0], [-1, 0], [0.75, 0.8], [-0.75, 0.8], [0.75, -0.8], [-0.75, -0.8]];
/** How much farther out a label that must be shown may stand, in pixels. */
const FARTHER = [0, 16, 34, 56, 84, 120];

/** Returns the places for the label of a node, the best first: centres of a text of this size. */
export function around({ x, y, radius, width, height, must }) {
  const places = [];
  for (const far of must ? FARTHER : FARTHER.slice(0, 1)) {
    for (const [across, down] of AROUND) {
      const [right, below] = [radius + 5 + width / 2 + far, radius + 4 + height / 2 + far];
      places.push([x + across * right * (down === 0 || Math.abs(across) < 1 ? 1 : 0.9), y + down * below]);
    }
  }
  return places;
}

/** Places labels in their order. `wanted`: `{ id, width, height, places, must, last }`, where `last`
 * is the index of the place that it had. `lines`: `[x1, y1, x2, y2]`. `circles`: `[x, y, radius]`.
 * Returns the rectangles by id: `{ x, y, width, height, place, crossed }` with x, y in the centre. */
export function place(wanted, { lines, circles, width, height }) {
  const placed = new Map();
  const rectangles = [];
  for (const label of wanted) {
    const order = [...label.places.keys()];
    // A label that jumped about could not be read.
    if (label.last > 0 && label.last < order.length) order.unshift(label.last);
    let best = null;
    for (const index of order) {
      const [x, y] = label.places[index];
      const box = boxOf(x, y, label);
      if (box.left < MARGIN || box.top < MARGIN || box.right > width - MARGIN || box.bottom > height - MARGIN) continue;
      if (rectangles.some((other) => overlap(box, other)) || circles.some((circle) => touches(box, circle))) continue;
      const crossed = crossings(box, lines, label.must ? (best?.crossed ?? Infinity) : 1);
      if (crossed > 0 && !label.must) continue;
      if (best === null || crossed < best.crossed) best = { x, y, width: label.width, height: label.height, place: index, crossed, box };
      if (crossed === 0) break;
    }
    if (best === null) continue;
    rectangles.push(best.box);
    delete best.box;
    placed.set(label.id, best);
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

/** Counts the lines that cross a rectangle, up to a bound. */
function crossings(box, lines, most) {
  let count = 0;
  for (const line of lines) {
    if (!crosses(box, line)) continue;
    count += 1;
    if (count >= most) return count;
  }
  return count;
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
