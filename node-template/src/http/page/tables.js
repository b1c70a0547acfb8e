// Peers and nodes.

import { by, bytes, count, duration, make, milliseconds, nameOf } from "./dom.js";

/** Replaces a table's rows only if their content changed. */
function fill(body, rows, empty, columns) {
  const wanted = rows.length > 0 ? rows : [make("tr", {}, make("td", { colspan: columns, class: "quiet" }, empty))];
  if (wanted.length === body.rows.length && wanted.every((row, index) => row.isEqualNode(body.rows[index]))) return;
  body.replaceChildren(...wanted);
}

// A node that cannot be dialled, as far as this one knows.
const NO_ADDRESS = "no reachable address";
const STATES = { pending: "dialling", idle: "not in use", "kept away": "banned" };

export function peers(list) {
  const rows = list.map((peer) => {
    const name = peer.address ? peer.address.replace(/^wss?:\/\//, "") : (peer.id ?? "").slice(0, 8);
    const native = peer.id && !peer.id.startsWith("plain:");
    const id = native ? (peer.address ? peer.id.slice(0, 8) : NO_ADDRESS) : peer.id ? "exercise peer" : null;
    const wait = peer.retryInSeconds > 0 ? `retry in ${duration(Math.ceil(peer.retryInSeconds))}` : null;
    // Without a link the reason takes the columns of the link.
    const linked = peer.state === "connected";
    const state = make("td", { colspan: linked ? null : 4 }, make("span", { class: "state", "data-state": peer.state }, STATES[peer.state] ?? peer.state), peer.reason && make("small", {}, peer.reason), wait && make("small", {}, wait));
    const who = make("td", { class: "short" }, name, id && make("small", {}, id));
    if (!linked) return make("tr", {}, who, state);
    return make("tr", {}, who, state,
      make("td", { class: "short" }, peer.dialled === null || peer.dialled === undefined ? "" : peer.dialled ? "outbound" : "inbound", peer.openForSeconds >= 60 ? make("small", {}, `for ${duration(peer.openForSeconds)}`) : null),
      make("td", { class: "number" }, peer.roundTripSeconds == null ? "" : milliseconds(peer.roundTripSeconds)),
      make("td", { class: "number" }, peer.queuedBytes ? bytes(peer.queuedBytes) : ""));
  });
  fill(by("peers"), rows, "No peer is known. Write an address into known-peers.json, or let another node dial this one.", 5);
}

const SHOWN = 300;

export function nodes(network) {
  const now = Date.now() / 1000;
  const rows = network.nodes.slice(0, SHOWN).map((node) =>
    make("tr", { class: node.kind === "me" ? "me" : null },
      make("td", { class: "mono short", title: node.id }, node.id.startsWith("plain:") ? "exercise" : node.id.slice(0, 8), node.kind === "me" ? make("small", {}, "this node") : null),
      make("td", { class: "short" }, node.address || node.id.startsWith("plain:") ? nameOf(node) : NO_ADDRESS, node.agent && make("small", {}, node.agent.replace(/^p2p-node\//, "version "))),
      make("td", { class: "number" }, node.links ?? ""),
      make("td", { class: "short" }, node.since ? duration(Math.max(0, now - node.since)) : "")));
  if (network.nodes.length > SHOWN) rows.push(make("tr", {}, make("td", { colspan: 4, class: "quiet" }, `and ${count(network.nodes.length - SHOWN, "more node")}`)));
  fill(by("nodes"), rows, "", 4);
}
