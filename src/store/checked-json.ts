import { crc32 } from "../codec/crc32.ts";
import { messageOf, WeirError } from "../core/errors.ts";

/*
 * JSON with a check: one object in UTF-8 whose last member is "crc32": eight hex digits, the CRC-32 of all bytes before the
 * comma in front of that member. What the catalog's small objects are.
 */
const CRC_TAIL = /,"crc32":"([0-9a-f]{8})"\}\s*$/;

const hex = (check: number) => check.toString(16).padStart(8, "0");

export function encodeCheckedJson(value: object): Buffer {
  const body = JSON.stringify(value).slice(0, -1);
  return Buffer.from(`${body},"crc32":"${hex(crc32(Buffer.from(body)))}"}\n`);
}

/** Reads it back. `bad` makes the error that is thrown for anything that `encodeCheckedJson` did not write. */
export function decodeCheckedJson(bytes: Buffer, bad: (what: string, cause?: unknown) => WeirError): unknown {
  const text = bytes.toString("utf8");
  const tail = CRC_TAIL.exec(text);
  if (tail === null) throw bad(`got ${bytes.length} bytes without a "crc32" at the end, want one`);
  const computed = hex(crc32(Buffer.from(text.slice(0, tail.index))));
  if (computed !== tail[1]) throw bad(`got check ${computed}, want ${tail[1]}`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw bad(messageOf(error), error);
  }
}

/** An object of the catalog that is not what it should be. */
export function catalogCorrupt(kind: string, key: string, what: string, cause?: unknown): WeirError {
  return new WeirError(
    "catalog_corrupt",
    `catalog ${kind} ${key}: ${what}; restore the object, or rebuild the catalog from the segments (weir rebuild)`,
    { context: { key }, cause },
  );
}
