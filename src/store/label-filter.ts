import type { Labels } from "../core/labels.ts";
import { mix } from "./hash.ts";
import type { LabelValues } from "./view.ts";

/*
 * Which labels the streams of a segment may have: a Bloom filter over their `name=value` pairs, so that a query passes a
 * segment over without reading its index. 10 bits a pair and 7 probes let 0.8% of the absent pairs pass.
 *
 *   offset  size  field
 *        0     1  probes   7
 *        1     n  bits     bit b is bit (b mod 8) of byte floor(b / 8)
 *
 * An entry is the UTF-8 of `name=value`, or of a name alone, which stands for all its values: so stand the names with the
 * most values where the pairs would need more than 4096 bytes. A name holds no `=`, so the two cannot be mixed up.
 * With f the 32-bit FNV-1a of those bytes, mix the final mixer of MurmurHash3, all arithmetic modulo 2^32:
 *   h = mix(f),  g = mix(f + 0x9e3779b9) | 1
 *   bit i (0 to probes - 1) is floor((h + i * g) * 8n / 2^32)
 */
const BITS_A_PAIR = 10;
const PROBES = 7;
const MIN_BYTES = 8;
const MAX_BYTES = 4095;
const MAX_ENTRIES = Math.floor((MAX_BYTES * 8) / BITS_A_PAIR);

/** The filter over the labels of a segment's streams. */
export function labelFilter(streams: Iterable<{ readonly labels: Labels }>): Buffer {
  const entries = entriesOf(streams);
  const bytes = Math.min(MAX_BYTES, Math.max(MIN_BYTES, Math.ceil((entries.length * BITS_A_PAIR) / 8)));
  const out = Buffer.alloc(1 + bytes);
  out[0] = PROBES;
  for (const entry of entries) {
    eachBit(entry, PROBES, bytes * 8, (bit) => {
      out[1 + (bit >>> 3)] |= 1 << (bit & 7);
      return true;
    });
  }
  return out;
}

/**
 * False when a segment with this filter certainly has no stream that has, for each of `wanted`, one of its values. A null
 * filter knows nothing, and neither does any about the absence of a label, which is what the value "" asks for.
 */
export function mayHoldLabels(filter: Uint8Array | null, wanted: readonly LabelValues[]): boolean {
  if (filter === null || filter.length < 2) return true;
  return wanted.every(
    ({ name, values }) =>
      holds(filter, name) || values.some((value) => value === "" || holds(filter, pairOf(name, value))),
  );
}

const pairOf = (name: string, value: string) => `${name}=${value}`;

function entriesOf(streams: Iterable<{ readonly labels: Labels }>): string[] {
  const values = new Map<string, Set<string>>();
  for (const { labels } of streams) {
    for (const name of Object.keys(labels)) {
      const known = values.get(name);
      if (known === undefined) values.set(name, new Set([labels[name]]));
      else known.add(labels[name]);
    }
  }
  let count = [...values.values()].reduce((sum, { size }) => sum + size, 0);
  const entries: string[] = [];
  // Names with many values (a pod's) are worth less than those with few, which then stay sharp.
  for (const [name, known] of [...values].sort(([, a], [, b]) => b.size - a.size)) {
    if (count > MAX_ENTRIES) {
      count -= known.size - 1;
      entries.push(name);
    } else for (const value of known) entries.push(pairOf(name, value));
  }
  // A segment with thousands of names keeps its filter's size, and the filter gets dull.
  return entries;
}

function holds(filter: Uint8Array, entry: string): boolean {
  return eachBit(
    entry,
    filter[0],
    (filter.length - 1) * 8,
    (bit) => (filter[1 + (bit >>> 3)] & (1 << (bit & 7))) !== 0,
  );
}

/** Calls `visit` with the bits of an entry until it gives false; whether it never did. */
function eachBit(entry: string, probes: number, bits: number, visit: (bit: number) => boolean): boolean {
  const f = fnv1a(Buffer.from(entry));
  let h = mix(f);
  const g = (mix((f + 0x9e3779b9) >>> 0) | 1) >>> 0;
  for (let i = 0; i < probes; i++) {
    if (!visit(Math.floor((h * bits) / 0x1_0000_0000))) return false;
    h = (h + g) >>> 0;
  }
  return true;
}

function fnv1a(bytes: Uint8Array): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i], 0x01000193);
  return h >>> 0;
}
