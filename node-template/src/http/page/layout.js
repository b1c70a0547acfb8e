// A force-directed layout: nodes repel each other, links pull, gravity draws to the centre. It
// cools down, and then costs nothing until the network changes.

const REPULSION = 2_600;
const LENGTH = 92;
const GRAVITY = 0.035;
const FRICTION = 0.72;
const COOLING = 0.978;
const REST = 0.006;

export class Layout {
  /** By id: { x, y, vx, vy }. The centre is 0, 0. */
  positions = new Map();
  #links = [];
  #heat = 0;

  /** Sets the nodes and links; known nodes keep their positions. `ids`: this node first. `links`:
   * pairs of indexes into `ids`. */
  update(ids, links) {
    const old = this.positions;
    this.positions = new Map();
    const spread = LENGTH * Math.sqrt(ids.length) * 0.5;
    for (const [index, id] of ids.entries()) {
      // A spiral spreads new nodes evenly, and in the same way at every start.
      const [turn, far] = [index * 2.399963, spread * Math.sqrt(index / Math.max(1, ids.length))];
      this.positions.set(id, old.get(id) ?? { x: Math.cos(turn) * far, y: Math.sin(turn) * far, vx: 0, vy: 0 });
    }
    const degrees = new Array(ids.length).fill(0);
    for (const [a, b] of links) {
      degrees[a] += 1;
      degrees[b] += 1;
    }
    const all = [...this.positions.values()];
    this.#links = links.map(([a, b]) => ({ a: all[a], b: all[b], pull: 0.55 / Math.min(degrees[a], degrees[b]) }));
    this.#heat = Math.max(this.#heat, old.size === 0 ? 1 : 0.45);
  }

  get isResting() {
    return this.#heat < REST;
  }

  /** Advances the simulation by one step. */
  step() {
    if (this.isResting) return;
    const all = [...this.positions.values()];
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
    for (const [index, position] of all.entries()) {
      // This node tends to the centre more than others.
      const gravity = GRAVITY * this.#heat * (index === 0 ? 2.5 : 1);
      position.vx = (position.vx - position.x * gravity) * FRICTION;
      position.vy = (position.vy - position.y * gravity) * FRICTION;
      position.x += position.vx;
      position.y += position.vy;
    }
    this.#heat *= COOLING;
  }
}
