import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BITS_MAX, bitsFor, pack, packedBytes, unpack } from "../../src/store/bits.ts";
import { NOWHERE } from "../../src/store/errors.ts";
import { encodeIds, type IdRows } from "../../src/store/id-column.ts";
import { filterBytes, IdFilterBuilder, mayHoldId } from "../../src/store/id-filter.ts";
import { sortRows } from "../../src/store/sort-rows.ts";
import { decodeValues, encodeCodes, writeString } from "../../src/store/text-column.ts";
import { decodeTimes, encodeTimes } from "../../src/store/times.ts";
import { Random } from "../random.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("the worked examples that stand above the encoders", () => {
  test("packed bits", () => {
    const out = Buffer.alloc(2);
    expect(pack(Uint32Array.of(5, 2, 7), 3, 3, out, 0)).toBe(2);
    expect(hex(out)).toBe("d501");
  });

  test("times", () => {
    const out = Buffer.alloc(40);
    const end = encodeTimes(out, 0, Float64Array.of(5, 5, 6), Uint32Array.of(0, 250_000_000, 0), null, 3);
    expect(hex(out.subarray(0, end))).toBe("02fa01ee05");
  });

  test("ids in lines", () => {
    const out = Buffer.alloc(40);
    const ids: IdRows = { at: Int32Array.of(10, 10), words: new Uint32Array(8) };
    const end = encodeIds(out, 0, 0, ids, Uint32Array.of(0, 50, 100), null, 2);
    expect(hex(out.subarray(0, end))).toBe("00020a00");
  });

  test("a column", () => {
    const out = Buffer.alloc(40);
    let at = writeString(out, 0, "pod");
    out[at++] = 2;
    at = writeString(out, at, "a");
    at = writeString(out, at, "b");
    at = encodeCodes(
      out,
      at,
      { values: 2, rows: Uint32Array.of(0, 2), codes: Uint32Array.of(0, 1), count: 2 },
      Uint32Array.of(0, 1, 2),
      3,
    );
    expect(hex(out.subarray(0, at))).toBe("03706f64020161016201" + "0221");
  });
});

test("packed bits come back whatever they are", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: BITS_MAX }),
      fc.array(fc.nat(2 ** BITS_MAX - 1), { maxLength: 50 }),
      (bits, raw) => {
        const values = Uint32Array.from(raw, (value) => (bits === 0 ? 0 : value & (2 ** bits - 1)));
        const out = Buffer.alloc(200, 0xff);
        const end = pack(values, values.length, bits, out, 3);
        expect(end).toBe(3 + packedBytes(values.length, bits));
        expect(unpack(out, 3, values.length, bits)).toEqual(values);
      },
    ),
  );
  expect([0, 1, 2, 255, 256].map(bitsFor)).toEqual([0, 1, 2, 8, 9]);
});

test("times come back whatever they are", () => {
  const second = fc.oneof(
    fc.integer({ min: -100, max: 100 }),
    fc.maxSafeInteger(),
    fc.integer({ min: 1_700_000_000, max: 1_700_100_000 }),
  );
  const time = fc.record({
    sec: second,
    nsec: fc.oneof(fc.nat(999_999_999), fc.constantFrom(0, 1000, 5_000_000, 999_999_999)),
  });
  fc.assert(
    fc.property(fc.array(time, { minLength: 1, maxLength: 30 }), (times) => {
      const sec = Float64Array.from(times, (t) => t.sec);
      const nsec = Uint32Array.from(times, (t) => t.nsec);
      const order = sortRows(sec, nsec, times.length);
      const out = Buffer.alloc(1000);
      const end = encodeTimes(out, 0, sec, nsec, order, times.length);
      const read = decodeTimes(out, 0, end, times.length, sec[order[0]], nsec[order[0]], NOWHERE);
      expect([...read.sec]).toEqual([...order].map((row) => sec[row]));
      expect([...read.nsec]).toEqual([...order].map((row) => nsec[row]));
      expect(() => decodeTimes(out, 0, end + 1, times.length, 0, 0, NOWHERE)).toThrow(/end of the times/);
      if (times.length > 1) expect(() => decodeTimes(out, 0, end - 1, times.length, 0, 0, NOWHERE)).toThrow(/cut/);
    }),
  );
});

test("rows are sorted as a stable sort does it", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: -3, max: 3 }), fc.nat(2)), { maxLength: 200 }), (times) => {
      const sec = Float64Array.from(times, ([s]) => s);
      const nsec = Uint32Array.from(times, ([, n]) => n);
      const want = times.map((_, i) => i).sort((a, b) => sec[a] - sec[b] || nsec[a] - nsec[b]);
      expect([...sortRows(sec, nsec, times.length)]).toEqual(want);
    }),
  );
});

test("values and codes come back in every encoding", () => {
  const seen = new Set<number>();
  fc.assert(
    fc.property(
      fc.array(fc.option(fc.nat(20), { freq: 3 }), { minLength: 1, maxLength: 200 }),
      fc.constantFrom("repeat", "unique"),
      fc.integer({ min: 1, max: 40 }),
      fc.boolean(),
      (cells, kind, spread, reversed) => {
        const texts = cells.flatMap((cell, i) => [
          cell === null ? null : kind === "unique" ? `v${i}` : `v${cell}`,
          ...Array<null>(kind === "unique" ? 0 : spread % 7).fill(null),
        ]);
        const values: string[] = [];
        const rows: number[] = [];
        const codes: number[] = [];
        texts.forEach((text, row) => {
          if (text === null) return;
          if (!values.includes(text)) values.push(text);
          rows.push(row);
          codes.push(values.indexOf(text));
        });
        const placeOf = reversed ? Uint32Array.from(texts, (_, i) => texts.length - 1 - i) : null;
        const out = Buffer.alloc(20_000);
        out[0] = values.length;
        if (values.length > 127) return;
        let at = 1;
        for (const value of values) at = writeString(out, at, value);
        const from = at;
        at = encodeCodes(
          out,
          at,
          { values: values.length, rows: Uint32Array.from(rows), codes: Uint32Array.from(codes), count: rows.length },
          placeOf,
          texts.length,
        );
        seen.add(out[from]);
        const read = decodeValues(out, 0, at, texts.length, NOWHERE);
        const got = Array.from(read.codes, (code) =>
          code === 0 ? null : out.toString("utf8", read.starts[code - 1], read.ends[code - 1]),
        );
        expect(got).toEqual(reversed ? [...texts].reverse() : texts);
      },
    ),
    // A fixed seed, because the assertion below is about all runs together.
    { numRuns: 500, seed: 1 },
  );
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4]);
});

describe("id filter", () => {
  test("never denies an id that it was given, lets about 0.4% of others pass, and tells slots apart", () => {
    const random = new Random(7);
    const builder = new IdFilterBuilder();
    for (const count of [1, 1200, 9000]) {
      builder.clear();
      const ids = Array.from({ length: count }, () => random.bytes(8));
      for (const id of [...ids, ...ids]) builder.add(0, id.readUInt32LE(0), id.readUInt32LE(4));
      expect(builder.ids).toBe(count);
      const out = Buffer.alloc(filterBytes(count) + 1, 0xff);
      expect(builder.write(out, 1)).toBe(out.length);
      const presence = { slots: 0b1001, filter: out.subarray(1) };
      for (const id of ids) expect(mayHoldId(presence, 0, id)).toBe(true);
      const passed = Array.from({ length: 20_000 }, () => random.bytes(8)).filter((id) =>
        mayHoldId(presence, 0, id),
      ).length;
      expect(passed / 20_000).toBeLessThan(0.008);
      expect(ids.filter((id) => mayHoldId(presence, 3, id)).length / count).toBeLessThan(count === 1 ? 1 : 0.02);
      expect(mayHoldId(presence, 1, ids[0]), "a slot that no line fills").toBe(false);
      expect(mayHoldId({ slots: 2, filter: presence.filter }, 1, ids[0]), "a slot that is not in the filter").toBe(
        true,
      );
    }
  });

  test("ids that count up fill it as evenly as random ones", () => {
    const builder = new IdFilterBuilder();
    for (let i = 0; i < 1000; i++) builder.add(0, i, 0);
    const out = Buffer.alloc(filterBytes(1000));
    builder.write(out, 0);
    let passed = 0;
    for (let i = 1000; i < 21_000; i++) {
      const low8 = Buffer.alloc(8);
      low8.writeUInt32LE(i);
      if (mayHoldId({ slots: 1, filter: out }, 0, low8)) passed++;
    }
    expect(passed / 20_000).toBeLessThan(0.008);
  });
});
