// Copying. Where the browser does not allow it, as on a page over http from another host, the text
// is selected instead.

import { make, setText, shortAddresses } from "./dom.js";

/** How long a button says what became of it, in milliseconds. */
const SAID = 3_000;

/** Copies the text of an element or a field. Returns what to tell the reader. */
async function copy(element) {
  const isField = element instanceof HTMLTextAreaElement;
  try {
    await navigator.clipboard.writeText(isField ? element.value : element.textContent);
    return "Copied";
  } catch {
    if (isField) {
      element.focus();
      element.select();
    } else {
      getSelection().selectAllChildren(element);
    }
    return "Selected: press Ctrl+C";
  }
}

/** Has a button copy the text of an element or a field. */
export function copies(button, element) {
  let said;
  button.addEventListener("click", async () => {
    setText(button, await copy(element));
    clearTimeout(said);
    said = setTimeout(() => setText(button, "Copy"), SAID);
  });
}

/** Returns a button that copies an address whose short form stands beside it. Its card or dialog has
 * a line of the class `copied`, since a row may go. */
export function addressButton(address) {
  const label = `Copy the address of ${shortAddresses(address)}`;
  return make("button", { type: "button", class: "inline copy", "data-address": address, "aria-label": label, title: label }, "copy");
}

let clearing;
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("button[data-address]");
  if (!button) return;
  const line = button.closest("section, dialog").querySelector(".copied");
  for (const other of document.querySelectorAll(".copied")) if (other !== line) setText(other, "");
  const address = make("span", { class: "mono" }, button.dataset.address);
  // Only what is shown can be selected.
  line.replaceChildren(address);
  const said = await copy(address);
  clearTimeout(clearing);
  if (said !== "Copied") return line.prepend(`${said} `);
  setText(line, "Address copied");
  clearing = setTimeout(() => setText(line, ""), SAID);
});
