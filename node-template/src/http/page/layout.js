// Where nodes stand: each pushes all others away, links pull, and everything is drawn to the middle. It cools down and then rests, at no cost, until
// something changes.

const REPULSION = 2_600;
const LENGTH = 92;
const GRAVITY = 0.035;
const FRICTION = 0.72;
const COOLING = 0.978;
const REST = 0.006;

export class Layout {
  /** By id: { x, y, vx, vy }. The middle is 0, 0. */
  places = new Map();
  #links = [];
  #heat = 0;

  /** Takes over which nodes and links there are; those that stay keep their places. `ids`: this node first. `links`: pairs of places in `ids`. */
  update(ids, links) {
    const old = this.places;
    this.places = new Map();
    const spread = LENGTH * Math.sqrt(ids.length) * 0.5;
    for (const [index, id] of ids.entries()) {
      // A spiral spreads whoever is new evenly, the same at every start.
      const [turn, far] = [index * 2.399963, spread * Math.sqrt(index / Math.max(1, ids.length))];
      this.places.set(id, old.get(id) ?? { x: Math.cos(turn) * far, y: Math.sin(turn) * far, vx: 0, vy: 0 });
    }
    const degrees = new Array(ids.length).fill(0);
    for (const [a, b] of links) {
      degrees[a] += 1;
      degrees[b] += 1;
    }
    const all = [...this.places.values()];
    this.#links = links.map(([a, b]) => ({ a: all[a], b: all[b], pull: 0.55 / Math.min(degrees[a], degrees[b]) }));
    this.#heat = Math.max(this.#heat, old.size === 0 ? 1 : 0.45);
  }

  get isResting() {
    return this.#heat < REST;
  }

  /** One step; of a large network several, so that it settles in the same time. */
  step() {
    if (this.isResting) return;
    const all = [...this.places.values()];
    for (let i = 0; i < all.length; i += 1) {
      const one = all[i];
      for (let j = i + 1; j < all.length; j += 1) {
        const other = all[j];
        const dx = other.x - one.x || 0.01 * (j - i);
        const dy = other.y - one.y || 0.01;
        const push = (REPULSION * this.#heat) / Math.max(120, dx * dx + dy * dy);
        const far = Math.sqrt(dx * dx + dy * dy) || 1;
        const [px, py] = [(dx / far) * push, (dy / far) * push];
        one.vx -= px;
        one.vy -= py;
        other.vx += px;
        other.vy += py;
      }
    }
    for (const { a, b, pull } of this.#links) {
      const [dx, dy] = [b.x - a.x, b.y - a.y];
      const far = Math.sqrt(dx * dx + dy * dy) || 1;
      const move = ((far - LENGTH) / far) * pull * this.#heat;
      a.vx += dx * move;
      a.vy += dy * move;
      b.vx -= dx * move;
      b.vy -= dy * move;
    }
    for (const [index, place] of all.entries()) {
      // This node is what the picture is about: it tends to the middle more than others.
      const gravity = GRAVITY * this.#heat * (index === 0 ? 2.5 : 1);
      place.vx = (place.vx - place.x * gravity) * FRICTION;
      place.vy = (place.vy - place.y * gravity) * FRICTION;
      place.x += place.vx;
      place.y += place.vy;
    }
    this.#heat *= COOLING;
  }
}
