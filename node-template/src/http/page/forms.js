// The forms for transactions and broadcasts.

import { by, count, setText } from "./dom.js";
import { ask } from "./request.js";

/** A number as JSON writes it (RFC 8259, section 6). */
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;

function result(element, state, text) {
  element.dataset.state = state;
  setText(element, text);
}

const field = (id) => by(id).value.trim();
const editor = by("raw-details");
/** The JSON that was made of the fields. */
let copied = "";

/** Returns what is filled in as JSON. A number keeps the digits that were typed; a JavaScript number
 * may be another one. */
function filledIn() {
  const amount = field("amount");
  const members = [["fromAddress", field("from")], ["toAddress", field("to")]].map(([name, text]) => [name, text && JSON.stringify(text)]);
  members.push(["amount", NUMBER.test(amount) ? amount : amount && JSON.stringify(amount)]);
  const filled = members.filter(([, value]) => value !== "").map(([name, value]) => `"${name}":${value}`);
  return filled.length === 0 ? "" : `{${filled.join()}}`;
}

/** Makes the JSON or the fields the one that is sent: the other one is switched off, or hidden. */
editor.addEventListener("toggle", () => {
  by("fields").disabled = editor.open;
  const raw = by("raw");
  // What was written stays, what was only copied is copied again.
  if (editor.open && (raw.value.trim() === "" || raw.value === copied)) raw.value = copied = filledIn();
});

/** Returns the transaction of the form as JSON, or throws what is wrong with it. */
function described() {
  if (editor.open) {
    const raw = field("raw");
    if (raw === "") throw new Error("Write a JSON object, or close this part to send the fields");
    let value;
    try {
      value = JSON.parse(raw);
    } catch (error) {
      throw new Error(`This is not JSON: ${error.message}`);
    }
    if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error('A transaction is a JSON object, such as {"message":"hello"}');
    return raw;
  }
  const amount = field("amount");
  if (field("from") === "" && field("to") === "" && amount === "") throw new Error("Fill in sender, recipient and amount");
  if (amount === "") throw new Error("The amount is missing: write it as 5, 0.5 or 1e3");
  if (!NUMBER.test(amount)) throw new Error("The amount is not a number: write it as 5, 0.5 or 1e3");
  // The node gets the digits as typed and checks them.
  const addresses = JSON.stringify({ fromAddress: field("from") || null, toAddress: field("to") || null });
  return `${addresses.slice(0, -1)},"amount":${amount}}`;
}

async function submit(form, output, send) {
  const button = form.querySelector("button.primary");
  // What a script submits comes although the button is disabled.
  if (button.disabled) return;
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
  const ids = editor.open ? ["amount", "raw"] : ["amount"];
  const answer = await (await ask("api/transactions?stamp=true", { body: described() })).json();
  for (const id of ids) by(id).value = "";
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
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) by("form-broadcast").requestSubmit();
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
