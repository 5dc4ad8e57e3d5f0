import type { Labels } from "../../core/labels.ts";

/** JSON with sorted names: equal label sets have equal text. */
export function sortedJson(labels: Labels): string {
  const parts = Object.keys(labels)
    .sort()
    .map((name) => `${jsonText(name)}:${jsonText(labels[name])}`);
  return `{${parts.join(",")}}`;
}

/** What JSON can't have in a text as it stands; half a surrogate pair is rare enough to be left to `stringify` with whole ones. */
const TO_ESCAPE = /["\\\u0000-\u001f\ud800-\udfff]/;

/** A text as JSON. Most need no escapes, and to see that takes half the time of `JSON.stringify`. */
export function jsonText(text: string): string {
  return TO_ESCAPE.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** The order by name of some labels, and what stands before the value of each in their JSON. */
export class LabelShape {
  /** The labels by their numbers, in the order in which they were found. */
  private ids: readonly number[] = [];
  /** The same in order of names. */
  order: readonly number[] = [];
  heads: readonly string[] = [];

  isOf(ids: readonly number[]): boolean {
    if (ids.length !== this.ids.length) return false;
    for (let i = 0; i < ids.length; i++) if (ids[i] !== this.ids[i]) return false;
    return true;
  }

  set(ids: readonly number[], names: readonly string[]): void {
    this.ids = ids;
    this.order = [...ids].sort((a, b) => (names[a] < names[b] ? -1 : 1));
    this.heads = this.order.map((id, i) => `${i === 0 ? "" : ","}${jsonText(names[id])}:`);
  }
}
