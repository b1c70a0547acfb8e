// JSON laid out for reading. It works on the text alone, so numbers and order stay as they
// travelled, and a text that is cut off is laid out as far as it goes.

const TOKEN = /\s+|"(?:[^"\\]|\\.)*"?|[{}[\],:]|[^\s"{}[\],:]+/gsy;
/** Deeper levels are not indented further. */
const INDENTED = 20;

/** Returns the text as parts: `{ text, kind, path }`. A kind is `key`, `value`, `mark` or `space`;
 * keys and values have the path of names that leads to them, such as `data.images[].name`. */
export function layOut(text) {
  const parts = [];
  const open = [];
  const add = (kind, shown, path) => parts.push({ kind, text: shown, path });
  const line = () => add("space", `\n${"  ".repeat(Math.min(open.length, INDENTED))}`);
  const path = () => {
    let all = "";
    for (const { isList, key } of open) {
      if (isList) all += "[]";
      else if (key !== null) all += all === "" ? key : `.${key}`;
    }
    return all;
  };
  let isEmpty = false;
  for (const [token] of text.matchAll(TOKEN)) {
    if (/^\s/.test(token)) continue;
    const within = open.at(-1);
    if (token === "}" || token === "]") {
      open.pop();
      if (!isEmpty) line();
      add("mark", token);
      isEmpty = false;
      continue;
    }
    if (isEmpty) line();
    isEmpty = false;
    if (token === "{" || token === "[") {
      add("mark", token);
      open.push({ isList: token === "[", key: null, awaitsKey: token === "{" });
      isEmpty = true;
    } else if (token === ",") {
      add("mark", token);
      if (within && !within.isList) within.awaitsKey = true;
      line();
    } else if (token === ":") {
      add("mark", ": ");
    } else if (within?.awaitsKey && token.startsWith('"')) {
      within.awaitsKey = false;
      within.key = nameOf(token);
      add("key", token, path());
    } else {
      add("value", token, path());
    }
  }
  return parts;
}

function nameOf(token) {
  try {
    return JSON.parse(token);
  } catch {
    return token.slice(1);
  }
}
