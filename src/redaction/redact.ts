import type { Finder } from './finder.ts';
import type { Found } from './shapes.ts';

/** What stands in a secret's place. Nothing in it needs an escape in JSON. */
export function markOf(what: string): string {
  return `[redacted: ${what}]`;
}

/** Told of each secret that was found, never of the secret itself. */
export type OnFound = (what: string) => void;

/** A text without its secrets. */
export function redactText(finder: Finder, text: string, onFound?: OnFound): string {
  return cover(text, finder.find(text), onFound);
}

/**
 * JSON text without the secrets in its strings and names. Text that holds none comes back as it was, to the byte. What is no JSON is
 * looked at as text.
 */
export function redactJson(finder: Finder, json: string, onFound?: OnFound): string {
  if (!finder.suspects(json)) return json;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return redactText(finder, json, onFound);
  }
  return withoutSecrets(finder, json, value, onFound);
}

/**
 * The same for one that is parsed already.
 *
 * @param value what `json` means; it is changed
 */
export function withoutSecrets(finder: Finder, json: string, value: unknown, onFound?: OnFound): string {
  const root = { value };
  // Of a name that is there twice only the last is looked at: the others are left out.
  const isDoubled = hasDoubledNames(json, value);
  const isChanged = redactWithin(finder, root, onFound);
  let written: string;
  try {
    written = JSON.stringify(root.value);
  } catch {
    // Nested so deep that it cannot be written: nobody could read it either.
    return withheld(onFound);
  }
  // What the strings do not hold may still stand in the text: in a long number.
  if (finder.findKnown(written).length > 0) return withheld(onFound);
  return isChanged || isDoubled || finder.findKnown(json).length > 0 ? written : json;
}

/** Whether JSON text holds more members than what it means: those of a name that is there once more behind them. */
export function hasDoubledNames(json: string, value: unknown): boolean {
  let members = 0;
  let isString = false;
  for (let at = 0; at < json.length; at += 1) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) isString = !isString;
    else if (isString && code === BACKSLASH) at += 1;
    else if (!isString && code === COLON) members += 1;
  }
  const open: unknown[] = [value];
  for (let each = open.pop(); each !== undefined; each = open.pop()) {
    if (typeof each !== 'object' || each === null) continue;
    if (!Array.isArray(each)) members -= Object.keys(each).length;
    for (const inner of Object.values(each)) if (typeof inner === 'object' && inner !== null) open.push(inner);
  }
  return members !== 0;
}

const QUOTE = 34;
const BACKSLASH = 92;
const COLON = 58;

/** What stands for a message that a secret cannot be taken out of. */
export const WITHHELD = JSON.stringify({ redacted: 'a message that holds a secret' });

function withheld(onFound: OnFound | undefined): string {
  onFound?.('a message');
  return WITHHELD;
}

/** Takes the secrets out of a value's strings, however deep; whether there were any. */
function redactWithin(finder: Finder, root: { value: unknown }, onFound: OnFound | undefined): boolean {
  const open: unknown[] = [root];
  let isChanged = false;
  for (let holder = open.pop(); holder !== undefined; holder = open.pop()) {
    if (typeof holder !== 'object' || holder === null) continue;
    const entries = Object.entries(holder);
    let isRenamed = false;
    for (const entry of entries) {
      const [name, value] = entry;
      if (typeof value === 'object' && value !== null) open.push(value);
      if (typeof value === 'string') {
        const clean = redactValue(finder, name, value, onFound);
        if (clean !== value) {
          entry[1] = clean;
          isChanged = true;
          if (!isRenamed) Reflect.set(holder, name, clean);
        }
      }
      const found = Array.isArray(holder) ? [] : finder.find(name);
      if (found.length === 0) continue;
      entry[0] = cover(name, found, onFound);
      isRenamed = true;
      isChanged = true;
    }
    if (!isRenamed) continue;
    for (const name of Object.keys(holder)) Reflect.deleteProperty(holder, name);
    for (const [name, value] of entries) {
      Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true });
    }
  }
  return isChanged;
}

const TELLING = /key|token|secret|passw|credential|authorization/i;

/** A string by itself, and with its name where that says what it is, as in `{"API_KEY": "…"}`. */
function redactValue(finder: Finder, name: string, value: string, onFound: OnFound | undefined): string {
  const clean = cover(value, finder.find(value), onFound);
  if (clean !== value || !TELLING.test(name) || name.length > 200) return clean;
  const before = `${name}: `;
  const found = finder
    .find(before + value)
    .filter(({ start }) => start >= before.length)
    .map((each) => ({ ...each, start: each.start - before.length, end: each.end - before.length }));
  return cover(value, found, onFound);
}

function cover(text: string, found: readonly Found[], onFound: OnFound | undefined): string {
  if (found.length === 0) return text;
  let clean = '';
  let at = 0;
  for (const { start, end, what } of found) {
    clean += text.slice(at, start) + markOf(what);
    at = end;
    onFound?.(what);
  }
  return clean + text.slice(at);
}
