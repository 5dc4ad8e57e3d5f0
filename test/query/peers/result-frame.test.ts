import { describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { crc32 } from "../../../src/codec/crc32.ts";
import { codeOf } from "../../../src/core/errors.ts";
import { BestEntries } from "../../../src/query/entries.ts";
import { CellTable } from "../../../src/query/metric/cells.ts";
import { kindOf } from "../../../src/query/metric/kinds.ts";
import { decodeResult, encodeResult } from "../../../src/query/peers/result-frame.ts";
import { type BatchResult, emptyStats } from "../../../src/query/scan-job.ts";
import { SEED } from "../../random.ts";

const KINDS = [
  "count_over_time",
  "avg_over_time",
  "first_over_time",
  "quantile_over_time",
  "rate_counter",
  "stddev_over_time",
] as const;
const TEXTS = ["", "{}", '{"app":"web"}', '{"app":"über \u0000 😀"}', "x".repeat(300)];

function randomStats(random: Random): BatchResult["stats"] {
  const stats = emptyStats();
  for (const name of Object.keys(stats) as (keyof typeof stats)[]) {
    stats[name] = random.pick([0, 1, 127, 128, 2 ** 31, Number.MAX_SAFE_INTEGER, random.below(1e6)]);
  }
  return stats;
}

function randomEntries(random: Random): BatchResult["entries"] {
  const best = new BestEntries(1 + random.below(50), true);
  for (let i = random.below(80); i > 0; i--) {
    const line = random.below(4) === 0 ? null : Buffer.from(random.hex(random.below(9)), "hex");
    const place = [
      random.below(1e9) - 5e8,
      random.below(1e9),
      random.below(4) * 2 ** 40,
      random.below(2 ** 31),
    ] as const;
    if (best.wants(...place)) best.add(...place, random.pick(TEXTS), random.pick(TEXTS), line);
  }
  return best.take();
}

function randomPartial(random: Random): BatchResult["partial"] {
  const leaves = Array.from({ length: random.below(4) }, () => {
    const table = new CellTable(kindOf(random.pick(KINDS)));
    for (let i = random.below(60); i > 0; i--) {
      const value = random.pick([1, -2.5, Number.NaN, Number.POSITIVE_INFINITY, random.u32()]);
      const place = {
        sec: random.below(1e9),
        nsec: random.below(1e9),
        order: random.below(100),
        row: random.below(100),
      };
      table.add(table.seriesOf(random.pick(TEXTS)), random.below(20), value, place);
    }
    return table.take();
  });
  return { leaves, error: random.below(3) === 0 ? "pipeline error: über" : null };
}

function randomResult(random: Random): BatchResult {
  const lost = Array.from({ length: random.below(3) }, () => ({
    order: random.below(1e9),
    reason: random.pick(TEXTS),
  }));
  const isMetric = random.below(2) === 0;
  return {
    stats: randomStats(random),
    lost,
    entries: isMetric ? null : randomEntries(random),
    partial: isMetric ? randomPartial(random) : null,
  };
}

/** A changed frame whose checksum says that it was meant so. */
function signed(frame: Buffer): Buffer {
  frame.writeUInt32LE(crc32(frame.subarray(0, -4)), frame.length - 4);
  return frame;
}

/** The error's code, or "" for a result. */
function codeOfReading(frame: Buffer): string {
  try {
    const { entries, partial } = decodeResult(frame);
    // What was taken can be looked at to its end.
    if (entries !== null) expect(entries.lines.length).toBe(entries.lineEnds.at(-1) ?? 0);
    for (const cells of partial?.leaves ?? []) {
      for (const series of cells?.series ?? []) expect(cells?.texts[series]).toBeTypeOf("string");
    }
    return "";
  } catch (error) {
    return codeOf(error) || String(error);
  }
}

describe("the frame of a result", () => {
  test("is what its description says, byte for byte", () => {
    const names = Object.keys(emptyStats()) as (keyof BatchResult["stats"])[];
    expect(names).toEqual([
      "blocks",
      "lines",
      "textBytes",
      "readBytes",
      "matched",
      "prunedByMetadata",
      "headersOnly",
      "prunedByLiteral",
    ]);
    const stats = Object.fromEntries(names.map((name, i) => [name, i + 1])) as unknown as BatchResult["stats"];
    const result = { stats, lost: [{ order: 9, reason: "no" }], entries: null, partial: null };
    const wanted = "5753434e0100000001020304050607080109026e6fe2601e46";
    expect(encodeResult(result).toString("hex")).toBe(wanted);
    expect(decodeResult(Buffer.from(wanted, "hex"))).toEqual(result);
  });

  test("gives back what was put in", () => {
    const random = new Random(SEED);
    for (let i = 0; i < 300; i++) {
      const result = randomResult(random);
      expect(decodeResult(encodeResult(result)), `seed ${SEED}, result ${i}`).toEqual(result);
    }
  });

  test("cut anywhere is a named error, with whatever checksum", () => {
    const random = new Random(SEED + 1);
    for (let i = 0; i < 12; i++) {
      const frame = encodeResult(randomResult(random));
      for (let length = 0; length < frame.length; length++) {
        const at = `seed ${SEED + 1}, result ${i} cut to ${length} bytes`;
        expect(codeOfReading(Buffer.from(frame.subarray(0, length))), at).toBe("bad_scan_result");
        if (length < 12) continue;
        // Its last bytes are no checksum but what they would be.
        const resigned = signed(Buffer.concat([frame.subarray(0, length - 4), Buffer.alloc(4)]));
        expect(codeOfReading(resigned), at).toBe("bad_scan_result");
      }
    }
  });

  test("a flipped bit is a named error", () => {
    const random = new Random(SEED + 2);
    for (let i = 0; i < 12; i++) {
      const frame = encodeResult(randomResult(random));
      for (let flips = 0; flips < 300; flips++) {
        const broken = Buffer.from(frame);
        const at = random.below(frame.length);
        broken[at] ^= 1 << random.below(8);
        expect(codeOfReading(broken), `seed ${SEED + 2}, result ${i}, byte ${at}`).toBe("bad_scan_result");
      }
    }
  });

  test("changed at random and signed anew, it is a named error or a whole result", () => {
    const random = new Random(SEED + 3);
    const seen = new Map<string, number>();
    for (let i = 0; i < 40; i++) {
      const frame = encodeResult(randomResult(random));
      for (let round = 0; round < 150; round++) {
        const broken = Buffer.from(frame);
        for (let changes = 1 + random.below(4); changes > 0; changes--) {
          broken[random.below(frame.length)] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
        }
        const code = codeOfReading(signed(broken));
        seen.set(code, (seen.get(code) ?? 0) + 1);
      }
    }
    expect([...seen.keys()].toSorted(), `seed ${SEED + 3}`).toEqual(["", "bad_scan_result"]);
  });

  test.each([
    { name: "nothing", bytes: "", says: "0 bytes" },
    { name: "another format", bytes: "1f8b080000000000000000000000", says: "WSCN" },
    {
      name: "a later version",
      bytes: "5753434e020000000000000000000000000000000000",
      says: "version 2, want version 1",
    },
  ])("says what is wrong with $name", ({ bytes, says }) => {
    expect(() => decodeResult(Buffer.from(bytes, "hex"))).toThrow(says);
  });

  test.each([
    { name: "an unknown flag", at: 5, value: 4, says: "flags 4" },
    { name: "reserved bytes", at: 6, value: 1, says: "got something, want zero, at byte 6" },
    { name: "a count that can't be", at: 16, value: 0x7f, says: /got 127 of at least 2 bytes/ },
  ])("says what is wrong: $name", ({ at, value, says }) => {
    const frame = encodeResult({ stats: emptyStats(), lost: [], entries: null, partial: null });
    frame[at] = value;
    expect(() => decodeResult(signed(frame))).toThrow(says);
  });
});
