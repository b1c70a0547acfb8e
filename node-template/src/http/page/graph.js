// The picture of the network: nodes, links, and what travels along them.
//
// What travels is drawn from what this node sees: a transaction's origin and the neighbour that brought it. The way in between is the shortest one, which is
// the one that the network's trees take when nothing is in their way.

import { count, duration, milliseconds, nameOf } from "./dom.js";
import { Layout } from "./layout.js";

const FADE = 700;
/** How long a pulse takes from node to node: what an eye can follow, and far longer than the network needs. */
const HOP = 520;
const PULSES = 260;
/** Of one transaction: in a large network a part of its way says enough. */
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
  /** By id: 0 to 1, how much of it is there. */
  #presence = new Map();
  /** Nodes that left and fade. */
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

  /** Shows this network. */
  show({ nodes, links }) {
    const ids = new Set(nodes.map((node) => node.id));
    const now = performance.now();
    for (const node of this.#nodes) {
      const place = this.#layout.places.get(node.id);
      if (!ids.has(node.id) && place) {
        this.#leaving.push({ node, place, since: now });
        this.#presence.delete(node.id);
      }
    }
    const first = this.#nodes.length === 0;
    this.#nodes = nodes;
    this.#links = links;
    this.#index = new Map(nodes.map((node, place) => [node.id, place]));
    this.#neighbours = nodes.map(() => []);
    for (const [a, b] of links) {
      this.#neighbours[a].push(b);
      this.#neighbours[b].push(a);
    }
    this.#layout.update(nodes.map((node) => node.id), links);
    for (const node of nodes) if (!this.#presence.has(node.id)) this.#presence.set(node.id, still.matches ? 1 : 0);
    if (first || still.matches) {
      // It begins settled: a picture that reels says nothing.
      for (let step = 0; step < (nodes.length > 80 ? 120 : 260); step += 1) this.#layout.step();
      this.#frameAll(1);
    }
    if (this.#chosen !== null && !ids.has(this.#chosen)) this.#choose(null);
    this.canvas.setAttribute("data-nodes", String(nodes.length));
    this.#wake();
  }

  /** Takes over what is known of this node's own links. */
  measure(peers) {
    this.#own = new Map(peers.filter((peer) => peer.state === "connected" && peer.id).map((peer) => [peer.id, peer]));
    if (this.#chosen !== null) this.#describe(false);
    this.#wake();
  }

  /** Lets what was seen travel. */
  travel(samples) {
    if (document.hidden) return;
    const now = performance.now();
    for (const sample of samples) {
      const begin = this.#index.get(sample.origin ?? (sample.via === null ? this.#nodes[0]?.id : undefined));
      const via = this.#index.get(sample.via);
      const edges = begin !== undefined ? this.#ways(begin) : via !== undefined ? [[via, 0, 0]] : [];
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

  /** The shortest ways from a node to all others: [from, to, how many links before]. */
  #ways(begin) {
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
    this.palette = Object.fromEntries(["me", "full", "plain", "pulse", "wave", "text", "quiet", "well", "accent", "line"].map((name) => [name, colour(name)]));
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

  /** Moves the camera so that everybody is in the picture. */
  #frameAll(part) {
    const places = [...this.#layout.places.values()];
    if (places.length === 0 || !this.width) return;
    const xs = places.map((place) => place.x);
    const ys = places.map((place) => place.y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const padding = this.#nodes.length > LABELS ? 26 : PADDING;
    const wide = (this.width - 2 * padding) / Math.max(1, right - left);
    const high = (this.height - 2 * padding) / Math.max(1, bottom - top);
    // A broad stage is filled, as far as nothing looks stretched.
    const most = Math.min(3.6, 1.5 * Math.min(wide, high));
    const camera = this.#camera;
    camera.across += (Math.max(0.05, Math.min(wide, most)) - camera.across) * part;
    camera.down += (Math.max(0.05, Math.min(high, most)) - camera.down) * part;
    camera.x += ((left + right) / 2 - camera.x) * part;
    camera.y += ((top + bottom) / 2 - camera.y) * part;
  }

  #screen(place) {
    const { across, down, x, y } = this.#camera;
    return [(place.x - x) * across + this.width / 2, (place.y - y) * down + this.height / 2];
  }

  #radius(kind) {
    const size = Math.max(3, Math.min(11, 56 / Math.sqrt(this.#nodes.length + 12)));
    return kind === "me" ? Math.max(7, size * 1.45) : size;
  }

  #draw(now) {
    const { paint } = this;
    paint.clearRect(0, 0, this.width, this.height);
    const spots = this.#nodes.map((node) => this.#screen(this.#layout.places.get(node.id)));
    this.#drawLinks(spots);
    this.#drawPulses(now);
    for (const { node, place, since } of this.#leaving) this.#drawNode(node, this.#screen(place), 1 - (now - since) / (2 * FADE), now);
    for (let place = this.#nodes.length - 1; place >= 0; place -= 1) {
      const node = this.#nodes[place];
      this.#drawNode(node, spots[place], this.#presence.get(node.id) ?? 1, now);
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
    // Of very many a part is drawn: the eye sees the same grey, and the picture stays smooth.
    const stride = Math.ceil(this.#links.length / LINKS);
    for (let place = 0; place < this.#links.length; place += stride) {
      const [a, b] = this.#links[place];
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

  /** An arrow from who dialled to who was dialled, and how long a ping takes there and back. */
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
    // Beside the link, on the side that lies further from the middle of the picture.
    const side = uy * (mx - this.width / 2) - ux * (my - this.height / 2) > 0 ? 1 : -1;
    // So far that neither the link nor the arrow lies under the text, which is some 44 wide and 12 high.
    const away = side * (22 * Math.abs(uy) + 6 * Math.abs(ux) + 7);
    paint.globalAlpha = 1;
    this.#text(milliseconds(peer.roundTripSeconds), mx + uy * away, my - ux * away, 11, palette.quiet);
  }

  #drawPulses(now) {
    const { paint, palette } = this;
    const size = Math.min(1, 0.25 + this.#radius("full") / 9);
    for (const pulse of this.#pulses) {
      const from = this.#layout.places.get(pulse.from);
      const to = this.#layout.places.get(pulse.to);
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
    paint.fillStyle = node.kind === "plain" ? palette.well : palette[node.kind];
    paint.fill();
    paint.strokeStyle = node.kind === "plain" ? palette.plain : palette.well;
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
      const [x, y] = this.#screen(this.#layout.places.get(node.id));
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
    const place = this.#index.get(this.#chosen);
    const next = place === undefined ? 0 : (place + step + this.#nodes.length) % this.#nodes.length;
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
    if (node.kind === "plain") facts.push("a node of the exercise");
    if (!node.id.startsWith("plain:")) facts.push(`id ${node.id.slice(0, 16)}…`);
    if (node.links !== null) facts.push(`${count(node.links, "link")}${node.maxPeers ? ` of at most ${node.maxPeers}` : ""}`);
    if (node.since) facts.push(`up ${duration(Math.max(0, Date.now() / 1000 - node.since))}`);
    if (peer) facts.push(`${peer.dialled ? "dialled by us" : "dialled us"}${peer.roundTripSeconds == null ? "" : `, ${milliseconds(peer.roundTripSeconds)} there and back`}`);
    const name = document.createElement("strong");
    name.textContent = nameOf(node);
    const lines = facts.map((fact) => Object.assign(document.createElement("span"), { textContent: fact }));
    this.hint.replaceChildren(name, ...lines);
    const [x, y] = this.#screen(this.#layout.places.get(node.id));
    const { offsetWidth, offsetHeight } = this.hint;
    this.hint.style.left = `${Math.max(6, Math.min(this.width - offsetWidth - 6, x + 16))}px`;
    this.hint.style.top = `${Math.max(6, Math.min(this.height - offsetHeight - 6, y + 16))}px`;
    if (aloud) this.spoken.textContent = `${name.textContent}: ${facts.join(", ")}`;
  }
}
