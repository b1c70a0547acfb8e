// The network diagram: nodes, links, and transactions and broadcasts that travel along them.
//
// This node knows a transaction's origin, the neighbour that sent it, and the neighbours that it sent
// it to: on its own links a pulse travels as the transaction did. On the links of others the diagram
// draws shortest paths from the origin, which the spanning trees follow when no link is slow.

import { linkFacts, nodeFacts, shortNames } from "./describe.js";
import { make, milliseconds, nameOf, setText, update } from "./dom.js";
import { around, place } from "./labels.js";
import { Layout } from "./layout.js";
import { openLink } from "./link.js";

const FADE = 700;
/** Milliseconds of a pulse from node to node: slow enough for the eye. */
const HOP = 520;
/** The same in a replay. */
const WAY_HOP = 1_300;
const PULSES = 260;
/** Pulses of one transaction: in a large network a part of its paths is enough. */
const PULSES_OF_ONE = 60;
/** With more nodes labels are placed while nothing moves, except those that must be shown. */
const LABELS = 60;
/** With more nodes the margins are narrow, and round-trip times are left out. */
const MANY = 18;
/** With more neighbours their labels are left out where there is no room. */
const CROWDED = 40;
/** While nodes move, the labels of many are placed in every so many frames. */
const PLACED_EVERY = 6;
const LINKS = 3_000;
/** How many nodes, and links of one, are listed for screen readers. */
const LISTED = 300;
const PADDING = 58;

const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

export class Graph {
  #layout = new Layout();
  #nodes = [];
  #links = [];
  /** Index by id. */
  #index = new Map();
  /** Opacity by id, 0 to 1. */
  #presence = new Map();
  /** Nodes that left and fade out. */
  #leaving = [];
  #neighbours = [];
  /** This node's links by the id of the peer. */
  #own = new Map();
  #names = [];
  /** The other end of the chosen link, as an index; its first end is the chosen node. */
  #chosenLink = null;
  /** The labels by id, each with its distance from its node. */
  #labels = new Map();
  #labelsAge = 0;
  #widths = new Map();
  /** The steps of the way that is replayed; `null`: none is. */
  #way = null;
  #wayBegan = 0;
  #pulses = [];
  #glow = new Map();
  #chosen = null;
  #camera = { across: 1, down: 1, x: 0, y: 0 };
  #running = false;
  /** Whether the camera moved in this frame. */
  #moves = false;
  #last = 0;

  constructor(stage, canvas, hint, spoken) {
    Object.assign(this, { stage, canvas, hint, spoken, paint: canvas.getContext("2d") });
    new ResizeObserver(() => this.#resize()).observe(stage);
    dark.addEventListener("change", () => this.#colours());
    canvas.addEventListener("pointermove", (event) => this.#choose(this.#at(event)));
    canvas.addEventListener("pointerdown", (event) => this.#choose(this.#at(event), true));
    canvas.addEventListener("dblclick", () => this.#open());
    canvas.addEventListener("pointerleave", () => this.#choose(null));
    canvas.addEventListener("blur", () => this.#choose(null));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.#colours();
    this.#resize();
  }

  show({ nodes, links }) {
    const ids = new Set(nodes.map((node) => node.id));
    const now = performance.now();
    for (const node of this.#nodes) {
      const position = this.#layout.positions.get(node.id);
      if (!ids.has(node.id) && position) {
        this.#leaving.push({ node, position, since: now });
        this.#presence.delete(node.id);
      }
    }
    const first = this.#nodes.length === 0;
    this.#nodes = nodes;
    this.#links = links;
    this.#names = shortNames(nodes);
    this.#index = new Map(nodes.map((node, index) => [node.id, index]));
    this.#neighbours = nodes.map(() => []);
    for (const [a, b] of links) {
      this.#neighbours[a].push(b);
      this.#neighbours[b].push(a);
    }
    this.#layout.update(nodes.map((node) => node.id), links);
    for (const node of nodes) if (!this.#presence.has(node.id)) this.#presence.set(node.id, still.matches ? 1 : 0);
    if (first || still.matches) {
      // The first layout is settled before it is drawn.
      for (let step = 0; step < (nodes.length > 80 ? 120 : 260); step += 1) this.#layout.step();
      this.#frameAll(1);
    }
    if (this.#chosen !== null && !ids.has(this.#chosen)) this.#choose(null);
    this.canvas.setAttribute("data-nodes", String(nodes.length));
    this.#chosenLink = null;
    this.#labelsAge = Infinity;
    this.#list();
    this.#wake();
  }

  /** Sets the details of this node's own links. */
  measure(peers) {
    this.#own = new Map();
    for (const peer of peers) if (peer.state === "connected" && peer.id) this.#own.set(peer.id, [...(this.#own.get(peer.id) ?? []), peer]);
    this.#labelsAge = Infinity;
    if (this.#chosen !== null) this.#describe(false);
    this.#list();
    this.#wake();
  }

  /** Shows steps of a way, the last one as it happens; `null`: shows the present again. */
  showWay(steps) {
    this.#way = steps;
    this.#wayBegan = performance.now();
    this.#pulses = [];
    this.canvas.toggleAttribute("data-way", steps !== null);
    this.#labelsAge = Infinity;
    this.#wake();
  }

  /** Animates transactions and broadcasts. */
  travel(samples) {
    if (document.hidden || this.#way !== null) return;
    const now = performance.now();
    for (const sample of samples) {
      const begin = this.#index.get(sample.origin ?? (sample.via === null ? this.#nodes[0]?.id : undefined));
      const via = this.#index.get(sample.via);
      const to = sample.to && new Set(sample.to.map((id) => this.#index.get(id)));
      const began = begin ?? via;
      const edges = began === undefined ? [] : this.#paths(began, { via, to, fromOrigin: begin !== undefined });
      if (still.matches) {
        for (const [, to] of edges) this.#glow.set(this.#nodes[to].id, { kind: sample.kind, since: now });
        continue;
      }
      const jitter = Math.random() * 120;
      for (const [from, to, depth] of edges.slice(0, PULSES_OF_ONE)) {
        if (this.#pulses.length >= PULSES) break;
        this.#pulses.push({ from: this.#nodes[from].id, to: this.#nodes[to].id, kind: sample.kind, begin: now + jitter + depth * HOP });
      }
      if (began !== undefined) this.#glow.set(this.#nodes[began].id, { kind: sample.kind, since: now + jitter });
    }
    this.#wake();
  }

  /** Returns the shortest paths from a node to all others: [from, to, links before]. This node, which
   * has index 0, got it from `via` and sent it to `to`; where that is known, no other of its links
   * takes part. What came by a comparison of pools has no origin: of it nothing else is known. */
  #paths(begin, { via, to, fromOrigin }) {
    const depth = new Map([[begin, 0]]);
    const queue = [begin];
    const edges = [];
    const takes = (from, next) => {
      if (!fromOrigin && from !== 0 && next !== 0) return false;
      if (next === 0) return via === undefined || from === via;
      return from !== 0 || !to || to.has(next);
    };
    for (const from of queue) {
      for (const next of this.#neighbours[from]) {
        if (depth.has(next) || !takes(from, next)) continue;
        depth.set(next, depth.get(from) + 1);
        edges.push([from, next, depth.get(from)]);
        queue.push(next);
      }
    }
    return edges;
  }

  #colours() {
    const style = getComputedStyle(this.stage);
    const probe = document.createElement("span");
    this.stage.append(probe);
    const colour = (name) => {
      probe.style.setProperty("color", `var(--${name})`);
      return getComputedStyle(probe).color;
    };
    this.palette = Object.fromEntries(["me", "native", "exercise", "pulse", "wave", "text", "quiet", "well", "accent", "line", "warn"].map((name) => [name, colour(name)]));
    this.font = style.fontFamily;
    probe.remove();
    this.#wake();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.stage;
    const ratio = Math.min(2, devicePixelRatio || 1);
    Object.assign(this, { width: clientWidth, height: clientHeight });
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#frameAll(1);
    this.#labelsAge = Infinity;
    this.#wake();
  }

  #wake() {
    if (this.#running) return;
    this.#running = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  #frame(now) {
    const passed = Math.min(100, now - this.#last || 16);
    this.#last = now;
    const steps = this.#nodes.length > 80 ? 2 : 1;
    for (let step = 0; step < steps; step += 1) this.#layout.step();
    this.#frameAll(1 - 0.9 ** (passed / 16));
    let fading = false;
    for (const [id, presence] of this.#presence) {
      if (presence >= 1) continue;
      this.#presence.set(id, Math.min(1, presence + passed / FADE));
      fading = true;
    }
    this.#leaving = this.#leaving.filter((left) => now - left.since < 2 * FADE);
    this.#pulses = this.#pulses.filter((pulse) => now < pulse.begin + HOP);
    for (const [id, glow] of this.#glow) if (now - glow.since > 900) this.#glow.delete(id);
    const moves = !this.#layout.isResting || this.#moves;
    this.#draw(now, moves);
    const wayRuns = this.#way !== null && !still.matches && now < this.#wayBegan + WAY_HOP;
    const busy = moves || fading || wayRuns || this.#labelsAge > 0 || this.#leaving.length + this.#pulses.length + this.#glow.size > 0;
    this.#running = busy;
    this.canvas.dataset.rests = String(!moves && this.#labelsAge === 0);
    if (busy) requestAnimationFrame((next) => this.#frame(next));
  }

  /** Moves the camera so that all nodes are in view. */
  #frameAll(part) {
    const positions = [...this.#layout.positions.values()];
    if (positions.length === 0 || !this.width) return;
    const xs = positions.map((position) => position.x);
    const ys = positions.map((position) => position.y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const padding = this.#nodes.length > MANY ? 34 : PADDING;
    const wide = (this.width - 2 * padding) / Math.max(1, right - left);
    const high = (this.height - 2 * padding) / Math.max(1, bottom - top);
    // Fills a wide stage as long as nothing looks stretched.
    const most = Math.min(3.6, 1.5 * Math.min(wide, high));
    const camera = this.#camera;
    const [across, down] = [Math.max(0.05, Math.min(wide, most)), Math.max(0.05, Math.min(high, most))];
    const aim = { across, down, x: (left + right) / 2, y: (top + bottom) / 2 };
    this.#moves = part < 1 && Math.abs(across / camera.across - 1) + Math.abs(down / camera.down - 1) + Math.abs(aim.x - camera.x) + Math.abs(aim.y - camera.y) > 0.02;
    // Near enough it is there, so that labels come to rest.
    for (const name of ["across", "down", "x", "y"]) camera[name] += (aim[name] - camera[name]) * (this.#moves ? part : 1);
  }

  #screen({ x: left, y: top }) {
    const { across, down, x, y } = this.#camera;
    return [(left - x) * across + this.width / 2, (top - y) * down + this.height / 2];
  }

  #radius(kind) {
    const size = Math.max(3, Math.min(11, 56 / Math.sqrt(this.#nodes.length + 12)));
    return kind === "me" ? Math.max(7, size * 1.45) : size;
  }

  #draw(now, moves) {
    const { paint } = this;
    paint.clearRect(0, 0, this.width, this.height);
    const spots = this.#nodes.map((node) => this.#screen(this.#layout.positions.get(node.id)));
    this.#drawLinks(spots);
    if (this.#way !== null) this.#drawWay(now);
    this.#drawPulses(now);
    for (const { node, position, since } of this.#leaving) this.#drawNode(node, this.#screen(position), 1 - (now - since) / (2 * FADE), now);
    for (let index = this.#nodes.length - 1; index >= 0; index -= 1) {
      const node = this.#nodes[index];
      this.#drawNode(node, spots[index], this.#presence.get(node.id) ?? 1, now);
    }
    paint.globalAlpha = 1;
    this.#placeLabels(spots, moves);
    this.#drawLabels(spots);
  }

  /** Returns the links that are drawn: of very many a part, which looks the same and stays smooth. */
  #drawnLinks() {
    const stride = Math.ceil(this.#links.length / LINKS);
    if (stride <= 1) return this.#links;
    const chosen = this.#index.get(this.#chosen);
    return this.#links.filter(([a, b], index) => index % stride === 0 || a === 0 || a === chosen || b === chosen);
  }

  #drawLinks(spots) {
    const { paint, palette } = this;
    const chosen = this.#index.get(this.#chosen);
    const dense = this.#links.length > 400;
    const links = this.#drawnLinks();
    const isFront = ([a, b]) => a === 0 || a === chosen || b === chosen;
    paint.lineWidth = 1;
    paint.strokeStyle = palette.quiet;
    paint.globalAlpha = dense ? Math.max(0.06, 90 / Math.min(LINKS, this.#links.length)) : 0.32;
    paint.beginPath();
    for (const link of links) {
      if (isFront(link)) continue;
      paint.moveTo(...spots[link[0]]);
      paint.lineTo(...spots[link[1]]);
    }
    paint.stroke();
    const crowded = this.#neighbours[0]?.length > CROWDED;
    for (const [a, b] of links.filter(isFront)) {
      const own = a === 0;
      const ends = [a, b];
      const picked = this.#chosenLink !== null ? ends.includes(chosen) && ends.includes(this.#chosenLink) : chosen !== undefined && ends.includes(chosen);
      const presence = Math.min(this.#presence.get(this.#nodes[a].id) ?? 1, this.#presence.get(this.#nodes[b].id) ?? 1);
      paint.globalAlpha = presence * (picked ? 0.95 : crowded ? 0.3 : 0.6);
      // While a way is replayed its lines are those that count.
      if (this.#way !== null) paint.globalAlpha *= 0.4;
      paint.strokeStyle = picked ? palette.accent : own && this.#way === null ? palette.me : palette.quiet;
      paint.lineWidth = picked ? 1.8 : 1.4;
      paint.beginPath();
      paint.moveTo(...spots[a]);
      paint.lineTo(...spots[b]);
      paint.stroke();
      if (own && this.#way === null && (!crowded || picked)) this.#drawDirection(spots[a], spots[b], this.#own.get(this.#nodes[b].id), picked);
    }
  }

  /** Draws an arrow for each direction in which somebody dialled. */
  #drawDirection([ax, ay], [bx, by], peers, picked) {
    if (!peers) return;
    const { paint, palette } = this;
    const far = Math.hypot(bx - ax, by - ay);
    if (far < 46) return;
    paint.fillStyle = picked ? palette.accent : palette.me;
    const ways = new Set(peers.map((peer) => (peer.dialled ? 1 : -1)));
    for (const sign of ways) {
      const [ux, uy] = [((bx - ax) / far) * sign, ((by - ay) / far) * sign];
      // Two arrows stand back to back.
      const apart = ways.size > 1 ? 7 : 0;
      const [mx, my] = [(ax + bx) / 2 + ux * apart, (ay + by) / 2 + uy * apart];
      paint.beginPath();
      paint.moveTo(mx + ux * 5, my + uy * 5);
      paint.lineTo(mx - ux * 4 - uy * 4, my - uy * 4 + ux * 4);
      paint.lineTo(mx - ux * 4 + uy * 4, my - uy * 4 - ux * 4);
      paint.fill();
    }
  }

  /** Draws the steps of a way: lines on which it travelled, broken ones on which it did not. */
  #drawWay(now) {
    const { paint, palette } = this;
    const me = this.#nodes[0]?.id;
    for (const [index, { kind, from, to }] of this.#way.entries()) {
      const [begin, end] = [from ?? me, to ?? me].map((id) => this.#layout.positions.get(id));
      if (!begin || !end) continue;
      const isLast = index === this.#way.length - 1;
      const [[ax, ay], [bx, by]] = [this.#screen(begin), this.#screen(end)];
      paint.globalAlpha = isLast ? 1 : 0.7;
      paint.strokeStyle = kind === "not" ? palette.warn : palette.pulse;
      paint.lineWidth = isLast ? 3 : 2;
      if (begin === end) {
        paint.beginPath();
        paint.arc(ax, ay, this.#radius("me") + 5, 0, 7);
        paint.stroke();
        continue;
      }
      const part = isLast && !still.matches ? Math.min(1, (now - this.#wayBegan) / WAY_HOP) : 1;
      const reach = kind === "not" ? 1 : part;
      paint.setLineDash(kind === "not" ? [3, 5] : []);
      paint.beginPath();
      paint.moveTo(ax, ay);
      paint.lineTo(ax + (bx - ax) * reach, ay + (by - ay) * reach);
      paint.stroke();
      paint.setLineDash([]);
      if (kind === "not") this.#drawCross((ax + bx) / 2, (ay + by) / 2);
      else if (isLast && part < 1) {
        paint.fillStyle = palette.pulse;
        paint.beginPath();
        paint.arc(ax + (bx - ax) * part, ay + (by - ay) * part, 5, 0, 7);
        paint.fill();
      }
    }
    paint.globalAlpha = 1;
  }

  #drawCross(x, y) {
    const { paint } = this;
    paint.beginPath();
    for (const side of [1, -1]) {
      paint.moveTo(x - 5, y - 5 * side);
      paint.lineTo(x + 5, y + 5 * side);
    }
    paint.stroke();
  }

  #drawPulses(now) {
    const { paint, palette } = this;
    const size = Math.min(1, 0.25 + this.#radius("native") / 9);
    for (const pulse of this.#pulses) {
      const from = this.#layout.positions.get(pulse.from);
      const to = this.#layout.positions.get(pulse.to);
      const part = (now - pulse.begin) / HOP;
      if (!from || !to || part < 0) continue;
      const eased = part < 0.5 ? 2 * part * part : 1 - (2 - 2 * part) ** 2 / 2;
      const [ax, ay] = this.#screen(from);
      const [bx, by] = this.#screen(to);
      const broadcast = pulse.kind === "broadcast";
      paint.fillStyle = broadcast ? palette.wave : palette.pulse;
      for (let tail = 0; tail < 4; tail += 1) {
        const at = Math.max(0, eased - tail * 0.045);
        paint.globalAlpha = 0.95 - tail * 0.24;
        paint.beginPath();
        paint.arc(ax + (bx - ax) * at, ay + (by - ay) * at, ((broadcast ? 4.6 : 3.6) - tail * 0.6) * size, 0, 7);
        paint.fill();
      }
      if (part > 0.9) this.#glow.set(pulse.to, { kind: pulse.kind, since: now });
    }
  }

  #drawNode(node, [x, y], presence, now) {
    const { paint, palette } = this;
    const exercise = node.kind === "plain";
    const radius = this.#radius(node.kind) * (0.4 + 0.6 * presence);
    const glow = this.#glow.get(node.id);
    const age = glow ? (now - glow.since) / 900 : 1;
    if (glow && age >= 0 && age < 1) {
      paint.globalAlpha = (1 - age) * 0.5 * presence;
      paint.strokeStyle = glow.kind === "broadcast" ? palette.wave : palette.pulse;
      paint.lineWidth = 2;
      paint.beginPath();
      paint.arc(x, y, radius + 2 + age * Math.min(9, radius * 1.2), 0, 7);
      paint.stroke();
    }
    paint.globalAlpha = presence;
    paint.lineWidth = 2;
    paint.beginPath();
    paint.arc(x, y, radius, 0, 7);
    paint.fillStyle = exercise ? palette.well : palette[node.kind === "me" ? "me" : "native"];
    paint.fill();
    paint.strokeStyle = exercise ? palette.exercise : palette.well;
    paint.stroke();
    if (node.id === this.#chosen) {
      paint.strokeStyle = palette.accent;
      paint.beginPath();
      paint.arc(x, y, radius + 4, 0, 7);
      paint.stroke();
    }
  }

  /** Returns what is written: the names of nodes, those that must be shown first, and the round-trip
   * times of few links. */
  #wanted(spots, moves) {
    const chosen = this.#index.get(this.#chosen);
    const neighbours = new Set(this.#neighbours[0]);
    const ofWay = new Set((this.#way ?? []).flatMap(({ from, to }) => [from, to]));
    const wanted = [];
    const mayAll = this.#nodes.length <= LABELS || !moves;
    for (const [index, node] of this.#nodes.entries()) {
      const first = index === 0 || index === chosen || index === this.#chosenLink || ofWay.has(node.id);
      const must = first || (neighbours.has(index) && neighbours.size <= CROWDED);
      if (!must && !mayAll) continue;
      const text = this.#names[index];
      const isMe = node.kind === "me";
      const [x, y] = spots[index];
      const size = { width: this.#widthOf(text, isMe), height: isMe ? 15 : 14 };
      const places = around({ x, y, radius: this.#radius(node.kind), ...size, must });
      wanted.push({ id: node.id, node: [x, y], index, text, isMe, must, rank: first ? 0 : must ? 1 : neighbours.has(index) ? 2 : 3, ...size, places, last: this.#labels.get(node.id)?.place });
    }
    wanted.sort((one, other) => one.rank - other.rank || one.index - other.index);
    if (this.#nodes.length <= MANY && this.#way === null) wanted.push(...this.#wantedTrips(spots));
    return wanted;
  }

  #wantedTrips(spots) {
    const wanted = [];
    for (const index of this.#neighbours[0] ?? []) {
      const { id } = this.#nodes[index];
      const seconds = this.#own.get(id)?.map((peer) => peer.roundTripSeconds).find((one) => one !== null && one !== undefined);
      if (seconds === undefined) continue;
      const [[ax, ay], [bx, by]] = [spots[0], spots[index]];
      const far = Math.hypot(bx - ax, by - ay) || 1;
      const text = milliseconds(seconds);
      const width = this.#widthOf(text, false);
      const away = (width / 2 + 5) * (Math.abs(by - ay) / far) + 11 * (Math.abs(bx - ax) / far) + 4;
      const places = [0.5, 0.42, 0.58, 0.66].flatMap((part) => [1, -1].map((side) => [
        ax + (bx - ax) * part - ((by - ay) / far) * away * side,
        ay + (by - ay) * part + ((bx - ax) / far) * away * side,
      ]));
      wanted.push({ id: `trip ${id}`, index, text, isMe: false, must: false, width, height: 12, places, last: this.#labels.get(`trip ${id}`)?.place });
    }
    return wanted;
  }

  #widthOf(text, bold) {
    const key = `${bold} ${text}`;
    if (this.#widths.size > 5_000) this.#widths.clear();
    if (!this.#widths.has(key)) {
      this.paint.font = this.#fontOf(bold);
      this.#widths.set(key, this.paint.measureText(text).width);
    }
    return this.#widths.get(key);
  }

  #fontOf(bold) {
    return bold ? `650 13px ${this.font}` : `450 12px ${this.font}`;
  }

  /** Places the labels again, if anything moved since: at rest once, and of many nodes that move in
   * some frames only. */
  #placeLabels(spots, moves) {
    const many = this.#nodes.length > LABELS;
    this.#labelsAge += 1;
    if (moves ? many && this.#labelsAge < PLACED_EVERY : this.#labelsAge === 1) {
      this.#labelsAge = moves ? this.#labelsAge : 0;
      return;
    }
    const lines = this.#drawnLinks().map(([a, b]) => [...spots[a], ...spots[b]]);
    const circles = this.#nodes.map((node, index) => [...spots[index], this.#radius(node.kind) + 2]);
    const wanted = this.#wanted(spots, moves);
    const placed = place(wanted, { lines, circles, width: this.width, height: this.height });
    this.#labels = new Map();
    for (const label of wanted) {
      const spot = placed.get(label.id);
      if (!spot) continue;
      const [x, y] = spots[label.index];
      this.#labels.set(label.id, { ...label, places: null, place: spot.place, far: spot.far, across: spot.x - x, down: spot.y - y });
    }
    this.canvas.dataset.labels = String(this.#labels.size);
    this.#labelsAge = moves ? 1 : 0;
  }

  #drawLabels(spots) {
    const { paint, palette } = this;
    const labels = [...this.#labels.values()].filter((label) => spots[label.index]);
    for (const { index, far, across, down } of labels) {
      if (far > 0) this.#drawLeader(spots[index], [spots[index][0] + across, spots[index][1] + down]);
    }
    for (const { index, text, isMe, must, width, height, across, down } of labels) {
      const spot = spots[index];
      const [x, y] = [spot[0] + across, spot[1] + down];
      paint.globalAlpha = this.#presence.get(this.#nodes[index].id) ?? 1;
      paint.fillStyle = palette.well;
      if (must) {
        // No line is seen through the text, wherever it stands.
        paint.fillRect(x - width / 2 - 3, y - height / 2 - 1, width + 6, height + 2);
      }
      paint.font = this.#fontOf(isMe);
      paint.textAlign = "center";
      paint.textBaseline = "middle";
      paint.fillStyle = isMe || index === this.#index.get(this.#chosen) ? palette.text : palette.quiet;
      paint.fillText(text, x, y + 1);
    }
    paint.globalAlpha = 1;
  }

  /** Draws a thin line from a node to its label. */
  #drawLeader([ax, ay], [bx, by]) {
    const { paint, palette } = this;
    paint.strokeStyle = palette.quiet;
    paint.lineWidth = 0.7;
    paint.setLineDash([2, 2]);
    paint.beginPath();
    paint.moveTo(ax, ay);
    paint.lineTo(bx, by);
    paint.stroke();
    paint.setLineDash([]);
  }

  #at(event) {
    let nearest = null;
    let distance = event.pointerType === "touch" ? 30 : 20;
    for (const node of this.#nodes) {
      const [x, y] = this.#screen(this.#layout.positions.get(node.id));
      const far = Math.hypot(x - event.offsetX, y - event.offsetY);
      if (far < distance) [nearest, distance] = [node.id, far];
    }
    return nearest;
  }

  #key(event) {
    const { key } = event;
    if (key === "Escape") return this.#choose(null);
    if (key === "Enter" || key === " ") {
      event.preventDefault();
      return this.#open();
    }
    if (!["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"].includes(key) || this.#nodes.length === 0) return undefined;
    event.preventDefault();
    const index = this.#index.get(this.#chosen);
    if (key === "ArrowUp" || key === "ArrowDown") {
      if (index === undefined) return this.#choose(this.#nodes[0].id, true);
      return this.#chooseLink(index, key === "ArrowDown" ? 1 : -1);
    }
    const last = this.#nodes.length - 1;
    const step = key === "ArrowRight" ? 1 : -1;
    const next = key === "Home" ? 0 : key === "End" ? last : index === undefined ? 0 : (index + step + last + 1) % (last + 1);
    return this.#choose(this.#nodes[next].id, true);
  }

  /** Chooses the next link of a node. */
  #chooseLink(node, step) {
    const others = this.#neighbours[node];
    if (others.length === 0) return;
    const at = others.indexOf(this.#chosenLink);
    this.#chosenLink = others[at < 0 ? (step > 0 ? 0 : others.length - 1) : (at + step + others.length) % others.length];
    this.#labelsAge = Infinity;
    this.#describe(true);
    this.#wake();
  }

  /** Opens the view of the chosen link, if it is one of this node. */
  #open() {
    const index = this.#index.get(this.#chosen);
    if (index === undefined) return;
    const other = this.#chosenLink === null ? index : index === 0 ? this.#chosenLink : this.#chosenLink === 0 ? index : null;
    const peers = other === null ? undefined : this.#own.get(this.#nodes[other].id);
    if (peers) openLink(peers[0].link);
    else this.spoken.textContent = "This node has no link there: only its own links can be opened.";
  }

  #choose(id, aloud = false) {
    this.canvas.style.cursor = id === null ? "default" : "pointer";
    if (id === this.#chosen && !aloud) return;
    if (id !== this.#chosen || aloud) this.#chosenLink = null;
    if (id !== this.#chosen) this.#labelsAge = Infinity;
    this.#chosen = id;
    this.#describe(aloud);
    this.#wake();
  }

  /** Lists nodes, and the links of the chosen one, for screen readers. */
  #list() {
    const chosen = this.#index.get(this.#chosen);
    const items = [];
    const total = this.#nodes.length;
    const add = (key, id, text, selected, position) => items.push(make("span", { "data-key": key, role: "option", id, "aria-selected": String(selected), "aria-posinset": position, "aria-setsize": position && total }, text));
    for (const [index, node] of this.#nodes.entries()) {
      if (index >= LISTED && index !== chosen) continue;
      add(node.id, `graph-node-${index}`, [nameOf(node), ...nodeFacts(node, this.#own.get(node.id) ?? [])].join(", "), index === chosen && this.#chosenLink === null, index + 1);
      if (index !== chosen) continue;
      for (const other of this.#neighbours[index].slice(0, LISTED)) {
        add(`link ${other}`, `graph-link-${other}`, this.#linkFacts(index, other).join(", "), other === this.#chosenLink);
      }
    }
    update(this.canvas, items);
    const active = chosen === undefined ? null : this.#chosenLink === null ? `graph-node-${chosen}` : `graph-link-${this.#chosenLink}`;
    if (active === null) this.canvas.removeAttribute("aria-activedescendant");
    else this.canvas.setAttribute("aria-activedescendant", active);
  }

  /** Describes the link between two nodes. */
  #linkFacts(one, other) {
    // This node has index 0.
    const [from, to] = other === 0 ? [0, one] : [one, other];
    const own = from === 0 ? (this.#own.get(this.#nodes[to].id) ?? []) : [];
    return linkFacts(this.#nodes[from], this.#nodes[to], own);
  }

  #describe(aloud) {
    const index = this.#index.get(this.#chosen);
    const node = this.#nodes[index];
    this.#list();
    this.hint.hidden = node === undefined;
    if (node === undefined) return;
    const other = this.#nodes[this.#chosenLink];
    const [title, ...facts] = other
      ? this.#linkFacts(index, this.#chosenLink)
      : [nameOf(node), ...nodeFacts(node, this.#own.get(node.id) ?? [])];
    const lines = facts.map((fact) => make("span", {}, fact));
    this.hint.replaceChildren(make("strong", {}, title), ...lines);
    const ends = [node, other ?? node].map((one) => this.#screen(this.#layout.positions.get(one.id)));
    const [x, y] = [(ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2];
    const { offsetWidth, offsetHeight } = this.hint;
    this.hint.style.left = `${Math.max(6, Math.min(this.width - offsetWidth - 6, x + 16))}px`;
    this.hint.style.top = `${Math.max(6, Math.min(this.height - offsetHeight - 6, y + 16))}px`;
    if (aloud) setText(this.spoken, `${title}: ${facts.join(", ")}`);
  }
}
