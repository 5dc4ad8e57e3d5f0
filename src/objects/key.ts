import { WeirError } from "../core/errors.ts";

const KEY_BYTES_MAX = 512;
// Longest name of a file on the usual file systems.
const PART_BYTES_MAX = 255;
const PART = /^[A-Za-z0-9._=-]+$/;

/** Whether `part` can be a part of a key. */
export const isPart = (part: string): boolean =>
  PART.test(part) && part !== "." && part !== ".." && part.length <= PART_BYTES_MAX;

/** Whether `key` is one as store.ts describes them. */
export function isKey(key: string): boolean {
  return key.length <= KEY_BYTES_MAX && key.split("/").every(isPart);
}

/** Throws `bad_key` unless `key` is one as store.ts describes them. */
export function checkKey(key: string): void {
  if (!isKey(key)) throw badKey("key", key);
}

/** Throws `bad_key` unless some key could begin with `prefix`. */
export function checkPrefix(prefix: string): void {
  const parts = prefix.split("/");
  const last = parts.pop() ?? "";
  if (prefix.length <= KEY_BYTES_MAX && parts.every(isPart) && (last === "" || PART.test(last))) return;
  throw badKey("prefix", prefix);
}

function badKey(what: string, key: string): WeirError {
  return new WeirError(
    "bad_key",
    `object ${what} ${JSON.stringify(key.slice(0, 600))}: want parts of A-Z a-z 0-9 . _ - = separated by /, at most ${KEY_BYTES_MAX} bytes`,
    { context: { key } },
  );
}
