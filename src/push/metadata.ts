import { rememberedByName } from "./by-name.ts";
import type { Metadata } from "./stream.ts";

const EMPTY_MAP = Buffer.of(0x80);
const VALID = /^[A-Za-z_][A-Za-z0-9_]*$/;
const REPLACED = /\ufffd/g;

/**
 * Structured metadata as it is stored: names made valid, entries without a value gone, of several with one name the last, sorted by
 * name, invalid UTF-8 as spaces. Source: "Loki's HTTP contract", 3.3.
 */
export function cleanMetadata(metadata: Metadata): Metadata {
  if (metadata.length === 0) return metadata;
  const found = new Map<string, string>();
  for (const [name, value] of metadata) {
    if (value !== "") found.set(metadataName(name), value.includes("\ufffd") ? value.replace(REPLACED, " ") : value);
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Every character outside of `[A-Za-z0-9_]` becomes `_`; a leading digit gets `key_` in front. */
export function metadataName(name: string): string {
  return VALID.test(name) ? name : madeValid(name);
}

const madeValid = rememberedByName((name) => {
  const clean = name.replace(/[^A-Za-z0-9_]/gu, "_");
  return clean === "" || /^[0-9]/.test(clean) ? `key_${clean}` : clean;
});

/** Bytes of names and values, as limits count them. */
export function metadataBytes(metadata: Metadata): number {
  let bytes = 0;
  for (const [name, value] of metadata) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}

/** A MessagePack map of text to text. */
export function encodeMetadata(metadata: Metadata): Buffer {
  const count = metadata.length;
  if (count === 0) return EMPTY_MAP;
  const out = Buffer.allocUnsafe(metadataBytes(metadata) + count * 10 + 3);
  let at = 0;
  if (count < 16) out[at++] = 0x80 | count;
  else {
    out[at++] = 0xde;
    at = out.writeUInt16BE(count, at);
  }
  for (const [name, value] of metadata) at = writeText(out, writeText(out, at, name), value);
  return out.subarray(0, at);
}

function writeText(out: Buffer, at: number, text: string): number {
  const bytes = Buffer.byteLength(text);
  if (bytes < 32) out[at++] = 0xa0 | bytes;
  else if (bytes < 0x1_0000) {
    out[at++] = 0xda;
    at = out.writeUInt16BE(bytes, at);
  } else {
    out[at++] = 0xdb;
    at = out.writeUInt32BE(bytes, at);
  }
  return at + out.write(text, at);
}
