import { sanitizeLabelName } from "../core/labels.ts";

/** At most `max` bytes of UTF-8, cut between two characters. */
export function cutText(text: string, max: number): string {
  if (text.length * 3 <= max) return text;
  const bytes = Buffer.from(text);
  return bytes.length <= max ? text : bytes.toString("utf8", 0, cutEnd(bytes, 0, max));
}

/** The end of the longest run of whole UTF-8 characters in bytes[start, limit); bytes that are no UTF-8 count one each. */
export function cutEnd(bytes: Uint8Array, start: number, limit: number): number {
  let lead = limit;
  // A character has at most three bytes after its first one.
  for (let i = 0; i < 4 && lead > start; i++) {
    if ((bytes[lead] & 0xc0) !== 0x80) return lead === limit || bytes[lead] >= 0xc0 ? lead : limit;
    lead--;
  }
  return limit;
}

/** A label name as Loki makes it valid, and no longer than allowed; "" for a name with nothing in it. */
export function labelName(name: string, max: number): string {
  return sanitizeLabelName(name).slice(0, max);
}
