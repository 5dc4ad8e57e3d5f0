import { describe, expect, test } from "vitest";
import { encode, skip } from "../../src/codec/msgpack.ts";
import { skipNested } from "../../src/codec/nesting.ts";
import { RecordWalk } from "../../src/codec/record-walk.ts";
import { isSameRange } from "../../src/codec/same-range.ts";
import { Random, SEED } from "../random.ts";

const POD = {
  pod_name: "api-7d9f5c-x2x4q",
  namespace_name: "shop",
  labels: { app: "api", tier: "web" },
  host: "node-1",
};

function open(...records: Parameters<typeof encode>[0][]): { walk: RecordWalk; bytes: Buffer; starts: number[] } {
  const parts = records.map((record) => encode(record));
  const starts: number[] = [];
  let at = 0;
  for (const part of parts) {
    starts.push(at);
    at += part.length;
  }
  const bytes = Buffer.concat(parts);
  const walk = new RecordWalk();
  walk.open(bytes);
  return { walk, bytes, starts };
}

describe("a walk over records", () => {
  test("says of a map that is the same as in the record before that it is the same, and of another that it is another", () => {
    const { walk, bytes, starts } = open(
      { log: "a", kubernetes: POD },
      { log: "bb", kubernetes: POD },
      { log: "ccc", kubernetes: { ...POD, host: "node-2" } },
      { log: "d", kubernetes: { ...POD, host: "node-2" } },
      { log: "e" },
    );
    const ids = starts.map((at) => {
      walk.recordEnd(at, bytes.length, 64);
      return walk.repeatAt === -1 ? null : walk.repeatId;
    });
    expect(ids[1]).toBe(ids[0]);
    expect(ids[3]).toBe(ids[2]);
    expect(ids[2]).not.toBe(ids[0]);
    expect(ids[4]).toBeNull();
  });

  test("numbers stay different from one message to the next, and from walk to walk", () => {
    const one = open({ kubernetes: POD });
    one.walk.recordEnd(0, one.bytes.length, 0);
    const { repeatId } = one.walk;
    one.walk.open(one.bytes);
    one.walk.recordEnd(0, one.bytes.length, 0);
    expect(one.walk.repeatId).not.toBe(repeatId);
    const two = open({ kubernetes: POD });
    two.walk.recordEnd(0, two.bytes.length, 0);
    expect([repeatId, one.walk.repeatId]).not.toContain(two.walk.repeatId);
  });

  test("a map beside one that changes is still known", () => {
    const { walk, bytes, starts } = open(
      { parsed: { n: 1 }, kubernetes: POD, log: "a" },
      { parsed: { n: 2 }, kubernetes: POD, log: "b" },
    );
    walk.recordEnd(starts[0], bytes.length, 0);
    const { repeatId } = walk;
    walk.recordEnd(starts[1], bytes.length, 0);
    expect(walk.repeatId).toBe(repeatId);
  });

  test("goes as far as a plain walk, with the same faults, over records that resemble each other, cut and mutated", () => {
    const { below, pick } = new Random(SEED);
    const leaf = () =>
      pick<Parameters<typeof encode>[0]>(["", "x", "y".repeat(40), "z".repeat(300), 0, 1, -5, 70_000, true, null]);
    const nested = (depth: number): Parameters<typeof encode>[0] =>
      depth === 0 ? leaf() : { a: nested(depth - 1), [`k${below(3)}`]: leaf(), list: [leaf(), leaf()] };
    for (let round = 0; round < 4000; round++) {
      const pods = [nested(below(4)), nested(below(4))];
      const records = Array.from({ length: 1 + below(6) }, () => {
        const record: Record<string, Parameters<typeof encode>[0]> = { log: leaf() };
        for (let left = below(pick([4, 20])); left > 0; left--) record[`f${below(30)}`] = pick(pods);
        return record;
      });
      const { walk, bytes, starts } = open(...records);
      if (below(2) === 0) for (let left = 1 + below(3); left > 0; left--) bytes[below(bytes.length)] = below(256);
      const end = below(2) === 0 ? bytes.length : below(bytes.length + 1);
      const depthMax = pick([0, 1, 2, 3, 64]);
      const seen = new Map<number, string>();
      for (const at of starts) {
        if (at >= end || ((bytes[at] & 0xf0) !== 0x80 && bytes[at] !== 0xde)) continue;
        const what = `seed ${SEED} round ${round} at ${at}`;
        const plain = () => (depthMax > 0 ? skipNested(bytes, at, end, depthMax) : skip(bytes, at, end));
        expect(
          outcome(() => walk.recordEnd(at, end, depthMax)),
          what,
        ).toBe(outcome(plain));
        if (walk.repeatAt === -1) continue;
        const after = outcome(() => skip(bytes, walk.repeatAt, end));
        if (typeof after !== "number" || after < 0) continue;
        const map = bytes.toString("hex", walk.repeatAt, after);
        expect(seen.get(walk.repeatId) ?? map, what).toBe(map);
        seen.set(walk.repeatId, map);
      }
    }
  });
});

/** Where a walk ends, or what it throws. */
function outcome(walk: () => number): number | string {
  try {
    return walk();
  } catch (error) {
    return error instanceof Error ? error.message : "?";
  }
}

test("ranges are the same when each byte is, zeros with a sign and what is no number included", () => {
  const { below, pick } = new Random(SEED);
  const eights = ["0000000000000000", "0000000000000080", "000000000000f87f", "010000000000f07f", "6162636465666768"];
  for (let round = 0; round < 20_000; round++) {
    const one = Buffer.concat(Array.from({ length: below(9) }, () => Buffer.from(pick(eights), "hex")));
    const range = one.subarray(0, one.length - below(Math.min(8, one.length + 1)));
    const other = Buffer.from(range);
    if (range.length > 0 && below(3) > 0) other[below(other.length)] ^= pick([0x80, 1, 0]);
    const before = below(9);
    const bytes = Buffer.concat([Buffer.alloc(before), range, Buffer.alloc(below(9)), other]);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const b = bytes.length - other.length;
    expect(isSameRange(bytes, view, before, b, range.length), `seed ${SEED} round ${round}`).toBe(range.equals(other));
  }
});
