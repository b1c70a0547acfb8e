// The forms for transactions and broadcasts.

import { by, count, setText } from "./dom.js";
import { ask } from "./request.js";

/** A number as JSON writes it (RFC 8259, section 6). */
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;

function result(element, state, text) {
  element.dataset.state = state;
  setText(element, text);
}

/** Returns the transaction of the form as JSON, or throws what is wrong with it. */
function described() {
  const raw = by("raw").value.trim();
  if (by("raw-details").open && raw !== "") {
    let value;
    try {
      value = JSON.parse(raw);
    } catch (error) {
      throw new Error(`This is not JSON: ${error.message}`);
    }
    if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error('A transaction is a JSON object, such as {"message":"hello"}');
    return raw;
  }
  const text = (id) => by(id).value.trim();
  if (text("from") === "" && text("to") === "" && text("amount") === "") throw new Error("Fill in sender, recipient and amount");
  const amount = text("amount");
  if (!NUMBER.test(amount)) throw new Error("The amount is not a number: write it as 5, 0.5 or 1e3");
  // The node gets the digits as typed and checks them. A JavaScript number may be another one.
  const addresses = JSON.stringify({ fromAddress: text("from") || null, toAddress: text("to") || null });
  return `${addresses.slice(0, -1)},"amount":${amount}}`;
}

async function submit(form, output, send) {
  const button = form.querySelector("button.primary");
  button.disabled = true;
  try {
    result(output, "good", await send());
  } catch (error) {
    result(output, "bad", error.status || !(error instanceof TypeError) ? error.message : "The node does not answer");
  } finally {
    button.disabled = false;
  }
}

const sent = (links) => (links === 0 ? "no peer has it yet" : `sent to ${count(links, "peer")}`);

function onSubmit(id, output, send) {
  by(id).addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.target, by(output), send);
  });
}

onSubmit("form-transaction", "transaction-result", async () => {
  const answer = await (await ask("api/transactions?stamp=true", { body: described() })).json();
  for (const id of ["amount", "raw"]) by(id).value = "";
  const where = answer.duplicate ? "Already in the pool" : answer.stored ? "Stored on this node's disk" : "Not on the disk yet";
  return `${where}, ${sent(answer.links)}`;
});

onSubmit("form-broadcast", "broadcast-result", async () => {
  const message = by("message").value;
  if (message.trim() === "") throw new Error("The message is empty");
  const answer = await (await ask("api/broadcasts", { body: JSON.stringify({ message }) })).json();
  by("message").value = "";
  return `Broadcast ${sent(answer.links)}`;
});

by("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) by("form-broadcast").requestSubmit();
});

const tabs = [by("tab-transaction"), by("tab-broadcast")];
function choose(chosen) {
  for (const tab of tabs) {
    const is = tab === chosen;
    tab.setAttribute("aria-selected", String(is));
    tab.tabIndex = is ? 0 : -1;
    by(tab.getAttribute("aria-controls")).hidden = !is;
  }
}
for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const next = tabs[1 - index];
    choose(next);
    next.focus();
  });
}
