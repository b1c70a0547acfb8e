// Peers and nodes.

import { addressButton } from "./copy.js";
import { addressed, by, bytes, count, duration, hasNodeId, isPressed, make, milliseconds, nameOf, now, shortAddresses, update } from "./dom.js";
import { dials, pathOf } from "./describe.js";
import { openLink } from "./link.js";

/** Gives a table these rows, each with a key. While it is pressed it waits for the next second. */
function fill(body, rows, empty, columns) {
  if (isPressed(body)) return;
  update(body, rows.length > 0 ? rows : [make("tr", { "data-key": "none" }, make("td", { colspan: columns, class: "quiet" }, empty))]);
}

// A node that cannot be dialled, as far as this one knows.
const NO_ADDRESS = "no reachable address";
const STATES = { pending: "dialling", idle: "not in use", "kept away": "banned" };

/** Returns the button that shows a link. */
function linkButton(peer, name) {
  const way = peer.dialled ? "outbound" : "inbound";
  return make("button", { type: "button", class: "inline", "data-link": peer.link, "aria-label": `${way}: show link ${peer.link} to ${name}`, title: "Who dialled, and the frames" }, way);
}

by("peers").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-link]");
  if (button) openLink(Number(button.dataset.link));
});

/** Returns an address; beside one that is shown shortened, a button that copies it. */
const shownAddress = (address) => (hasNodeId(address) ? [addressed(address), " ", addressButton(address)] : [shortAddresses(address)]);

/** Returns the rows with all links of one peer in one row. */
function together(list) {
  const rows = [];
  const linked = new Map();
  for (const peer of list) {
    const known = peer.state === "connected" && peer.id ? linked.get(peer.id) : undefined;
    if (known) {
      known.links.push(peer);
      continue;
    }
    const row = { peer, links: peer.link === null || peer.link === undefined ? [] : [peer] };
    if (row.links.length > 0 && peer.id) linked.set(peer.id, row);
    rows.push(row);
  }
  return rows;
}

/** Of several values the first that is known. */
const known = (links, name) => links.map((link) => link[name]).find((value) => value !== null && value !== undefined);

export function peers(list) {
  const rows = together(list).flatMap(({ peer, links }) => {
    const name = peer.address ? shortAddresses(peer.address) : (peer.id ?? "").slice(0, 8);
    const key = `${peer.id} ${peer.address}`;
    const native = peer.id && !peer.id.startsWith("plain:");
    const byId = peer.address && hasNodeId(peer.address);
    const id = byId ? ["node id ", addressButton(peer.address)] : native ? [peer.address ? peer.id.slice(0, 8) : NO_ADDRESS] : peer.id ? ["exercise peer"] : null;
    const path = pathOf(links);
    const wait = peer.retryInSeconds > 0 ? `retry in ${duration(Math.ceil(peer.retryInSeconds))}` : null;
    // Without a link the reason takes the columns of the link.
    const linked = peer.state === "connected";
    const state = make("td", { colspan: linked ? null : 4 }, make("span", { class: "state", "data-state": peer.state }, STATES[peer.state] ?? peer.state), path && make("small", { title: path.whole }, path.short), peer.reason && make("small", {}, addressed(peer.reason)), wait && make("small", {}, wait));
    const who = make("td", { class: "short" }, byId ? addressed(peer.address) : name, id && make("small", {}, ...id));
    if (!linked) return make("tr", { "data-key": key }, who, state);
    const both = links.length > 1 ? make("small", {}, new Set(links.map((link) => link.dialled)).size > 1 ? "both ways" : "twice") : null;
    const open = Math.max(...links.map((link) => link.openForSeconds ?? 0));
    const trip = known(links, "roundTripSeconds");
    const queued = links.reduce((sum, link) => sum + (link.queuedBytes ?? 0), 0);
    const row = make("tr", { "data-key": key }, who, state,
      make("td", { class: "short links" }, ...links.map((link) => linkButton(link, name)), both, open >= 60 ? make("small", {}, `for ${duration(open)}`) : null),
      make("td", { class: "number" }, trip === undefined ? "" : milliseconds(trip)),
      make("td", { class: "number" }, queued > 0 ? bytes(queued) : ""));
    return links.length > 1 ? [row, make("tr", { "data-key": `why ${key}`, class: "reason" }, make("td", { colspan: 4 }, make("small", {}, `${both.textContent}: ${dials(links)}`)))] : row;
  });
  fill(by("peers"), rows, "No peer is known. Write an address into known-peers.json, or let another node dial this one.", 5);
}

const SHOWN = 300;
let last = { nodes: [] };

/** Shows the nodes of a network; without one, how old those are now that were shown last. */
export function nodes(network = last) {
  last = network;
  const rows = network.nodes.slice(0, SHOWN).map((node) =>
    make("tr", { "data-key": node.id, class: node.kind === "me" ? "me" : null },
      make("td", { class: "mono short", title: node.id }, node.id.startsWith("plain:") ? "exercise" : node.id.slice(0, 8), node.kind === "me" ? make("small", {}, "this node") : null),
      make("td", { class: "short" }, ...(node.address ? shownAddress(node.address) : [node.id.startsWith("plain:") ? nameOf(node) : NO_ADDRESS]), node.agent && make("small", {}, node.agent.replace(/^p2p-node\//, "version "))),
      make("td", { class: "number" }, node.links ?? ""),
      make("td", { class: "short" }, node.since ? duration(now() / 1000 - node.since) : "")));
  if (network.nodes.length > SHOWN) rows.push(make("tr", { "data-key": "more" }, make("td", { colspan: 4, class: "quiet" }, `and ${count(network.nodes.length - SHOWN, "more node")}`)));
  fill(by("nodes"), rows, "", 4);
}
