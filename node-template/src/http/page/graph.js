// The network diagram: nodes, links, and transactions and broadcasts that travel along them.
//
// This node knows a transaction's origin and the neighbour that sent it. The diagram draws shortest
// paths from the origin, which the spanning trees follow when no link is slow.

import { count, duration, milliseconds, nameOf } from "./dom.js";
import { Layout } from "./layout.js";

const FADE = 700;
/** Milliseconds of a pulse from node to node: slow enough for the eye. */
const HOP = 520;
const PULSES = 260;
/** Pulses of one transaction: in a large network a part of its paths is enough. */
const PULSES_OF_ONE = 60;
const LABELS = 18;
const LINKS = 3_000;
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
  #own = new Map();
  #pulses = [];
  #glow = new Map();
  #chosen = null;
  #camera = { across: 1, down: 1, x: 0, y: 0 };
  #running = false;
  #last = 0;

  constructor(stage, canvas, hint, spoken) {
    Object.assign(this, { stage, canvas, hint, spoken, paint: canvas.getContext("2d") });
    new ResizeObserver(() => this.#resize()).observe(stage);
    dark.addEventListener("change", () => this.#colours());
    canvas.addEventListener("pointermove", (event) => this.#choose(this.#at(event)));
    canvas.addEventListener("pointerdown", (event) => this.#choose(this.#at(event), true));
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
    this.#wake();
  }

  /** Sets the details of this node's own links. */
  measure(peers) {
    this.#own = new Map(peers.filter((peer) => peer.state === "connected" && peer.id).map((peer) => [peer.id, peer]));
    if (this.#chosen !== null) this.#describe(false);
    this.#wake();
  }

  /** Animates transactions and broadcasts. */
  travel(samples) {
    if (document.hidden) return;
    const now = performance.now();
    for (const sample of samples) {
      const begin = this.#index.get(sample.origin ?? (sample.via === null ? this.#nodes[0]?.id : undefined));
      const via = this.#index.get(sample.via);
      const edges = begin !== undefined ? this.#paths(begin) : via !== undefined ? [[via, 0, 0]] : [];
      if (still.matches) {
        for (const [, to] of edges) this.#glow.set(this.#nodes[to].id, { kind: sample.kind, since: now });
        continue;
      }
      const jitter = Math.random() * 120;
      for (const [from, to, depth] of edges.slice(0, PULSES_OF_ONE)) {
        if (this.#pulses.length >= PULSES) break;
        this.#pulses.push({ from: this.#nodes[from].id, to: this.#nodes[to].id, kind: sample.kind, begin: now + jitter + depth * HOP });
      }
      if (begin !== undefined) this.#glow.set(this.#nodes[begin].id, { kind: sample.kind, since: now + jitter });
    }
    this.#wake();
  }

  /** Returns the shortest paths from a node to all others: [from, to, links before]. */
  #paths(begin) {
    const depth = new Map([[begin, 0]]);
    const queue = [begin];
    const edges = [];
    for (const from of queue) {
      for (const to of this.#neighbours[from]) {
        if (depth.has(to)) continue;
        depth.set(to, depth.get(from) + 1);
        edges.push([from, to, depth.get(from)]);
        queue.push(to);
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
    this.palette = Object.fromEntries(["me", "native", "exercise", "pulse", "wave", "text", "quiet", "well", "accent", "line"].map((name) => [name, colour(name)]));
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
    this.#draw(now);
    const busy = !this.#layout.isResting || fading || this.#leaving.length + this.#pulses.length + this.#glow.size > 0;
    this.#running = busy;
    if (busy) requestAnimationFrame((next) => this.#frame(next));
  }

  /** Moves the camera so that all nodes are in view. */
  #frameAll(part) {
    const positions = [...this.#layout.positions.values()];
    if (positions.length === 0 || !this.width) return;
    const xs = positions.map((position) => position.x);
    const ys = positions.map((position) => position.y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const padding = this.#nodes.length > LABELS ? 26 : PADDING;
    const wide = (this.width - 2 * padding) / Math.max(1, right - left);
    const high = (this.height - 2 * padding) / Math.max(1, bottom - top);
    // Fills a wide stage as long as nothing looks stretched.
    const most = Math.min(3.6, 1.5 * Math.min(wide, high));
    const camera = this.#camera;
    camera.across += (Math.max(0.05, Math.min(wide, most)) - camera.across) * part;
    camera.down += (Math.max(0.05, Math.min(high, most)) - camera.down) * part;
    camera.x += ((left + right) / 2 - camera.x) * part;
    camera.y += ((top + bottom) / 2 - camera.y) * part;
  }

  #screen({ x: left, y: top }) {
    const { across, down, x, y } = this.#camera;
    return [(left - x) * across + this.width / 2, (top - y) * down + this.height / 2];
  }

  #radius(kind) {
    const size = Math.max(3, Math.min(11, 56 / Math.sqrt(this.#nodes.length + 12)));
    return kind === "me" ? Math.max(7, size * 1.45) : size;
  }

  #draw(now) {
    const { paint } = this;
    paint.clearRect(0, 0, this.width, this.height);
    const spots = this.#nodes.map((node) => this.#screen(this.#layout.positions.get(node.id)));
    this.#drawLinks(spots);
    this.#drawPulses(now);
    for (const { node, position, since } of this.#leaving) this.#drawNode(node, this.#screen(position), 1 - (now - since) / (2 * FADE), now);
    for (let index = this.#nodes.length - 1; index >= 0; index -= 1) {
      const node = this.#nodes[index];
      this.#drawNode(node, spots[index], this.#presence.get(node.id) ?? 1, now);
    }
    paint.globalAlpha = 1;
  }

  #drawLinks(spots) {
    const { paint, palette } = this;
    const chosen = this.#index.get(this.#chosen);
    const dense = this.#links.length > 400;
    paint.lineWidth = 1;
    paint.strokeStyle = palette.quiet;
    paint.globalAlpha = dense ? Math.max(0.05, 90 / Math.min(LINKS, this.#links.length)) : 0.32;
    paint.beginPath();
    // Draws a part of very many links: it looks the same and stays smooth.
    const stride = Math.ceil(this.#links.length / LINKS);
    for (let index = 0; index < this.#links.length; index += stride) {
      const [a, b] = this.#links[index];
      if (a === 0 || a === chosen || b === chosen) continue;
      paint.moveTo(...spots[a]);
      paint.lineTo(...spots[b]);
    }
    paint.stroke();
    const crowded = this.#neighbours[0]?.length > 24;
    for (const [a, b] of this.#links.filter(([from, to]) => from === 0 || from === chosen || to === chosen)) {
      const own = a === 0;
      const picked = chosen !== undefined && (a === chosen || b === chosen);
      const presence = Math.min(this.#presence.get(this.#nodes[a].id) ?? 1, this.#presence.get(this.#nodes[b].id) ?? 1);
      paint.globalAlpha = presence * (picked ? 0.95 : crowded ? 0.3 : 0.6);
      paint.strokeStyle = picked ? palette.accent : palette.me;
      paint.lineWidth = picked ? 1.8 : 1.4;
      paint.beginPath();
      paint.moveTo(...spots[a]);
      paint.lineTo(...spots[b]);
      paint.stroke();
      if (own && (!crowded || picked)) this.#drawDirection(spots[a], spots[b], this.#own.get(this.#nodes[b].id), picked);
    }
  }

  /** Draws an arrow in the direction of the dial, and the round-trip time. */
  #drawDirection([ax, ay], [bx, by], peer, picked) {
    if (!peer) return;
    const { paint, palette } = this;
    const far = Math.hypot(bx - ax, by - ay);
    if (far < 46) return;
    const sign = peer.dialled ? 1 : -1;
    const [ux, uy] = [((bx - ax) / far) * sign, ((by - ay) / far) * sign];
    const [mx, my] = [(ax + bx) / 2, (ay + by) / 2];
    paint.fillStyle = picked ? palette.accent : palette.me;
    paint.beginPath();
    paint.moveTo(mx + ux * 5, my + uy * 5);
    paint.lineTo(mx - ux * 4 - uy * 4, my - uy * 4 + ux * 4);
    paint.lineTo(mx - ux * 4 + uy * 4, my - uy * 4 - ux * 4);
    paint.fill();
    if (far < 110 || peer.roundTripSeconds == null || ((this.#own.size > 12 || this.#nodes.length > LABELS) && !picked)) return;
    // Beside the link, on the side that is farther from the centre.
    const side = uy * (mx - this.width / 2) - ux * (my - this.height / 2) > 0 ? 1 : -1;
    // Far enough to clear link and arrow: the text is some 44 wide and 12 high.
    const away = side * (22 * Math.abs(uy) + 6 * Math.abs(ux) + 7);
    paint.globalAlpha = 1;
    this.#text(milliseconds(peer.roundTripSeconds), mx + uy * away, my - ux * away, 11, palette.quiet);
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
    if (this.#nodes.length <= LABELS || node.kind === "me" || node.id === this.#chosen) {
      this.#text(nameOf(node), x, y + radius + 13, node.kind === "me" ? 13 : 12, node.kind === "me" ? palette.text : palette.quiet, node.kind === "me");
    }
  }

  #text(text, x, y, size, colour, bold = false) {
    const { paint, palette } = this;
    paint.font = `${bold ? 650 : 450} ${size}px ${this.font}`;
    paint.textAlign = "center";
    paint.textBaseline = "middle";
    paint.lineJoin = "round";
    paint.lineWidth = 4;
    paint.strokeStyle = palette.well;
    paint.strokeText(text, x, y);
    paint.fillStyle = colour;
    paint.fillText(text, x, y);
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
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") return this.#choose(null);
    if (step === undefined || this.#nodes.length === 0) return undefined;
    event.preventDefault();
    const index = this.#index.get(this.#chosen);
    const next = index === undefined ? 0 : (index + step + this.#nodes.length) % this.#nodes.length;
    return this.#choose(this.#nodes[next].id, true);
  }

  #choose(id, aloud = false) {
    this.canvas.style.cursor = id === null ? "default" : "pointer";
    if (id === this.#chosen && !aloud) return;
    this.#chosen = id;
    this.#describe(aloud);
    this.#wake();
  }

  #describe(aloud) {
    const node = this.#nodes[this.#index.get(this.#chosen)];
    this.hint.hidden = node === undefined;
    if (node === undefined) return;
    const peer = this.#own.get(node.id);
    const facts = [];
    if (node.kind === "me") facts.push("this node");
    if (node.kind === "plain") facts.push("exercise peer");
    if (!node.id.startsWith("plain:")) facts.push(`id ${node.id.slice(0, 16)}…`);
    if (node.links !== null) facts.push(`${count(node.links, "link")}${node.maxPeers ? ` of at most ${node.maxPeers}` : ""}`);
    if (node.since) facts.push(`uptime ${duration(Math.max(0, Date.now() / 1000 - node.since))}`);
    if (peer) facts.push(`${peer.dialled ? "outbound link" : "inbound link"}${peer.roundTripSeconds == null ? "" : `, ${milliseconds(peer.roundTripSeconds)} round trip`}`);
    const name = document.createElement("strong");
    name.textContent = nameOf(node);
    const lines = facts.map((fact) => Object.assign(document.createElement("span"), { textContent: fact }));
    this.hint.replaceChildren(name, ...lines);
    const [x, y] = this.#screen(this.#layout.positions.get(node.id));
    const { offsetWidth, offsetHeight } = this.hint;
    this.hint.style.left = `${Math.max(6, Math.min(this.width - offsetWidth - 6, x + 16))}px`;
    this.hint.style.top = `${Math.max(6, Math.min(this.height - offsetHeight - 6, y + 16))}px`;
    if (aloud) this.spoken.textContent = `${name.textContent}: ${facts.join(", ")}`;
  }
}
