import { pairKey } from "../core/labels.ts";

/*
 * The metadata of a block's rows by code: rows with the same metadata have the same code, and most blocks have few. So what
 * depends on metadata alone is found out once for each code instead of once for each row.
 */

/** Metadata as pairs of name and value. */
export type Pairs = readonly (readonly [name: string, value: string])[];

export interface MetadataCodes {
  /** For each row its code; null when all have code 0. */
  readonly codes: Uint32Array | null;
  /** Codes are below. */
  readonly count: number;
  pairs(code: number): Pairs;
}

/** One column: `codes` are below `count`. */
export interface CodedPart {
  readonly codes: Uint32Array;
  readonly count: number;
  pairs(code: number): Pairs;
}

const NO_PAIRS: Pairs = [];
/** Beyond this the code of several columns together is looked up in a map instead of a table. */
const TABLE_MAX = 1 << 16;

/** The codes of several columns together. Codes come in the order in which rows have them first. */
export function combineParts(rows: number, parts: readonly CodedPart[]): MetadataCodes {
  const telling = parts.filter(({ count }) => count > 1);
  const fixed = parts.flatMap((part) => (part.count === 1 && rows > 0 ? part.pairs(0) : NO_PAIRS));
  if (telling.length === 0) return { codes: null, count: 1, pairs: () => fixed };
  let codes = telling[0].codes;
  let { count } = telling[0];
  /** For each code so far, the codes of the columns that it is made of. */
  let made = Array.from({ length: count }, (_, code) => [code]);
  for (const part of telling.slice(1)) {
    const next = new Uint32Array(rows);
    const found: number[][] = [];
    const known = count * part.count <= TABLE_MAX ? new Int32Array(count * part.count) : new Map<number, number>();
    for (let row = 0; row < rows; row++) {
      const key = codes[row] * part.count + part.codes[row];
      let code = (known instanceof Map ? known.get(key) : known[key]) ?? 0;
      if (code === 0) {
        found.push([...made[codes[row]], part.codes[row]]);
        code = found.length;
        if (known instanceof Map) known.set(key, code);
        else known[key] = code;
      }
      next[row] = code - 1;
    }
    codes = next;
    count = found.length;
    made = found;
  }
  return { codes, count, pairs: (code) => [...fixed, ...made[code].flatMap((one, i) => telling[i].pairs(one))] };
}

/**
 * A column of sets of metadata with only the names that are wanted; sets that become equal by it get the same code.
 * Row r has sets[codes[r]]; without codes all have the first.
 */
export function setsPart(
  rows: number,
  codes: Uint32Array | null,
  sets: readonly Pairs[],
  wants: (name: string) => boolean,
): CodedPart {
  const reduced: Pairs[] = [];
  const known = new Map<string, number>();
  const codeOf = Uint32Array.from(sets, (set) => {
    const pairs = set.filter(([name]) => wants(name));
    const key = pairs.map(([name, value]) => pairKey(name, value)).join("");
    const code = known.get(key) ?? reduced.length;
    if (code === reduced.length) {
      known.set(key, code);
      reduced.push(pairs);
    }
    return code;
  });
  const pairs = (code: number) => reduced[code];
  if (codes === null || reduced.length === 1)
    return { codes: new Uint32Array(0), count: 1, pairs: () => reduced[codeOf[0]] };
  const out = new Uint32Array(rows);
  for (let row = 0; row < rows; row++) out[row] = codeOf[codes[row]];
  return { codes: out, count: reduced.length, pairs };
}
