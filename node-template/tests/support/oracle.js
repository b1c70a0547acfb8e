// Judges JSON texts as JavaScript does. Standard input has one text per line, written as a JSON string; standard output gets one answer per line:
// null if the text is not JSON, else an object.
'use strict';

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');

// RFC 8785: default sorting of strings in JavaScript is by UTF-16 units.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${members.join(',')}}`;
}

function strings(value) {
  if (typeof value === 'string') return [value];
  if (value === null || typeof value !== 'object') return [];
  const own = Array.isArray(value) ? [] : Object.keys(value);
  return own.concat(...Object.values(value).map(strings));
}

function keys(value) {
  if (value === null || typeof value !== 'object') return [];
  const own = Array.isArray(value) ? [] : Object.keys(value);
  return own.concat(...Object.values(value).map(keys));
}

// The exact value of a decimal text, as a text: sign, digits without zeros at their ends, power of ten.
function exact(decimal) {
  const [, sign, whole, fraction = '', power = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(decimal) ?? [];
  if (whole === undefined) return decimal;
  const digits = (whole + fraction).replace(/^0+/, '');
  const kept = digits.replace(/0+$/, '');
  if (kept === '') return '0';
  return `${sign}${kept}e${BigInt(power) - BigInt(fraction.length) + BigInt(digits.length - kept.length)}`;
}

// The numbers of a JSON text as they are written there, without those that a later member of the same name overwrites.
function numbers(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[a-z]+|[[\]{}]/g);
  let at = 0;
  const value = () => {
    const token = tokens[at++];
    if (token === '[') {
      let all = [];
      while (tokens[at] !== ']') all = all.concat(value());
      at++;
      return all;
    }
    if (token === '{') {
      const members = new Map();
      while (tokens[at] !== '}') members.set(JSON.parse(tokens[at++]), value());
      at++;
      return [...members.values()].flat();
    }
    return /^[-\d]/.test(token) ? [token] : [];
  };
  return value();
}

function keepsNumbers(text) {
  return numbers(text).every((number) => exact(number) === exact(String(Number(number))));
}

function judge(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const form = canonical(value);
  return {
    keepsNumbers: keepsNumbers(text),
    wellFormed: !strings(value).some((string) => /\p{Surrogate}/u.test(string)),
    // JavaScript moves keys that look like array indexes to the front.
    keepsOrder: !keys(value).some((key) => /^(0|[1-9]\d*)$/.test(key)),
    canonical: form,
    identity: createHash('sha256').update(form).digest('hex'),
    compact: JSON.stringify(value),
    inArray: JSON.stringify([value], null, 2),
  };
}

const lines = readFileSync(0, 'utf8').split('\n').filter((line) => line !== '');
process.stdout.write(lines.map((line) => `${JSON.stringify(judge(JSON.parse(line)))}\n`).join(''));
