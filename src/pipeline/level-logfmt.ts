import { LEVEL_NAMES } from "./level-names.ts";

/*
 * A level in logfmt (specs: "detected_level", rule 5): pairs are read as Loki's decoder reads them, from the front and up to
 * the first thing that is no pair; names are compared without case, and the one earliest in the list wins.
 */
const EQUALS = 0x3d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Names without case, each with its place in the list. */
const NAMES: readonly (readonly [text: Buffer, place: number])[] = [
  ...new Set(LEVEL_NAMES.map((name) => name.toLowerCase())),
].map((name) => [Buffer.from(name), LEVEL_NAMES.findIndex((other) => other.toLowerCase() === name)]);
const NONE = LEVEL_NAMES.length;

function isName(bytes: Buffer, at: number, stop: number, name: Buffer): boolean {
  if (stop - at !== name.length) return false;
  for (let k = 0; k < name.length; k++) {
    const c = bytes[at + k];
    if (c !== name[k] && !(c >= 0x41 && c <= 0x5a && (c | 0x20) === name[k])) return false;
  }
  return true;
}

function placeOf(bytes: Buffer, at: number, stop: number): number {
  for (const [name, place] of NAMES) if (isName(bytes, at, stop, name)) return place;
  return NONE;
}

/** The value of the winning pair as text, or "". */
export function levelInLogfmt(bytes: Buffer, start: number, end: number): string {
  let best = NONE;
  let value = "";
  let i = start;
  for (;;) {
    while (i < end && bytes[i] <= 0x20) i++;
    if (i >= end) return value;
    const key = i;
    while (i < end && bytes[i] > 0x20 && bytes[i] !== EQUALS && bytes[i] !== QUOTE) i++;
    if (i < end && (bytes[i] === QUOTE || (bytes[i] === EQUALS && i === key))) return value;
    // A name alone counts as a pair with an empty value.
    const hasValue = i < end && bytes[i] === EQUALS;
    const keyEnd = i;
    let from = i;
    let to = i;
    let escaped = false;
    if (hasValue) {
      i++;
      from = i;
      if (i < end && bytes[i] === QUOTE) {
        from = i + 1;
        for (i = from; i < end && bytes[i] !== QUOTE; i++) {
          if (bytes[i] === BACKSLASH) {
            escaped = true;
            i++;
          }
        }
        if (i >= end) return value;
        to = i++;
      } else {
        while (i < end && bytes[i] > 0x20 && bytes[i] !== EQUALS && bytes[i] !== QUOTE) i++;
        if (i < end && bytes[i] > 0x20) return value;
        to = i;
      }
    }
    const place = placeOf(bytes, key, keyEnd);
    if (place >= best) continue;
    best = place;
    value = to - from > 64 || escaped ? "" : bytes.toString("latin1", from, to);
    if (place === 0) return value;
  }
}
