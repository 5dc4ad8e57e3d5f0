import { describe, expect, test } from "vitest";
import { ID_SLOTS, Line, type SharedMetadata } from "../../src/core/line.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { MEMBER_DATA_MAX } from "../../src/store/member.ts";
import { OpenBlockView } from "../../src/store/open-view.ts";
import type { BlockView } from "../../src/store/view.ts";
import { Random, SEED } from "../random.ts";
import { drawHabit, drawLine } from "./random-lines.ts";
import {
  expectRows,
  fill,
  inOrder,
  NO_SHARED,
  openBlock,
  rowOf,
  rowsOf,
  sealBlock,
  streamOf,
  type TestLine,
  testLine,
  throughBlocks,
} from "./support.ts";

function roundTrip(lines: readonly TestLine[], textMax?: number): BlockView[] {
  const { views } = throughBlocks(lines, textMax);
  expectRows(inOrder(views.flatMap(rowsOf)), inOrder(lines.map(rowOf)));
  return views;
}

const SETS = Array.from({ length: 1000 }, (_, i): SharedMetadata => ({ pairs: [["p", `${i}`]] }));
const at = (sec: number, nsec = 0) => ({ sec, nsec });

describe("block", () => {
  test.each<{ name: string; lines: TestLine[] }>([
    { name: "one empty line", lines: [testLine("")] },
    { name: "a line that is a newline", lines: [testLine("\n"), testLine("x")] },
    { name: "invalid UTF-8, NUL and CR", lines: [testLine(Buffer.from("ff00fe0d0ac3", "hex")), testLine("\r\n\0")] },
    { name: "a line of 1 MiB", lines: [testLine(Buffer.alloc(1 << 20, "ab\n")), testLine("next")] },
    { name: "times in seconds", lines: [testLine("a", at(5)), testLine("b", at(7)), testLine("c", at(400))] },
    {
      name: "times before 1970",
      lines: [testLine("a", at(-5, 1)), testLine("b", at(-5, 999_999_999)), testLine("c", at(3))],
    },
    {
      name: "times as far apart as can be",
      lines: [testLine("a", at(-Number.MAX_SAFE_INTEGER, 1)), testLine("b", at(Number.MAX_SAFE_INTEGER, 999_999_999))],
    },
    {
      name: "104 days apart, in nanoseconds",
      lines: [testLine("a", at(0, 1)), testLine("b", at(9_007_200)), testLine("c", at(99_007_200))],
    },
    {
      name: "out of order, equal times in order of arrival",
      lines: [3, 1, 2, 1, 3, 2].map((sec, i) => testLine(`${i}`, at(sec))),
    },
    {
      name: "the same name twice in a line",
      lines: [
        testLine("a", {
          extra: [
            ["x", "1"],
            ["x", "2"],
            ["x", "1"],
          ],
        }),
        testLine("b", { extra: [["x", "3"]] }),
      ],
    },
    {
      name: "metadata with the names of ids and level",
      lines: [
        testLine("a", {
          level: "info",
          extra: [
            ["detected_level", "x"],
            ["trace_id", "y"],
          ],
        }),
      ],
    },
    {
      name: "an id that is said to stand beyond the line's end",
      lines: [testLine("short", { ids: [{ id: Buffer.alloc(16, 7), at: 100 }, null, null, null] })],
    },
    {
      name: "500 names, each in one line",
      lines: Array.from({ length: 500 }, (_, i) => testLine(`${i}`, { extra: [[`name-${i}`, `${i}`]] })),
    },
    {
      name: "values that are all different",
      lines: Array.from({ length: 300 }, (_, i) => testLine(`${i}`, { extra: [["n", `v${i}`]] })),
    },
    {
      name: "values that are all different, in some lines, out of order",
      lines: Array.from({ length: 300 }, (_, i) =>
        testLine(`${i}`, { sec: 1000 - (i % 7), extra: i % 3 === 0 ? [["n", `v${i}`]] : [] }),
      ),
    },
    {
      name: "levels that change, and none",
      lines: ["info", "", "warn", "info", "x".repeat(200), ""].map((level, i) => testLine(`${i}`, { level })),
    },
    {
      name: "a labels text of 20 KB",
      lines: [
        testLine("a", { labels: { a: "ž".repeat(10_000) } }),
        testLine("b", { labels: { a: "ž".repeat(10_000) } }),
      ],
    },
  ])("brings back $name", ({ lines }) => {
    roundTrip(lines);
  });

  test("brings back whatever lines streams have", () => {
    const random = new Random(SEED);
    for (let round = 0; round < 120; round++) {
      const habit = drawHabit(random);
      const count = 1 + random.below(random.pick([3, 50, 700]));
      const lines = Array.from({ length: count }, (_, i) => drawLine(random, habit, { app: "x" }, "t", i));
      try {
        roundTrip(lines, random.pick([4096, 20_000, undefined]));
      } catch (error) {
        throw new Error(`seed ${SEED}, round ${round}, habit ${JSON.stringify(habit)}`, { cause: error });
      }
    }
  });

  test("finds rows by id as a look at each row does, open and read", () => {
    const random = new Random(SEED);
    for (let round = 0; round < 40; round++) {
      const habit = { ...drawHabit(random), ids: random.pick(["in line", "raw", "mixed"] as const) };
      const lines = Array.from({ length: 1 + random.below(200) }, (_, i) =>
        drawLine(random, habit, { app: "x" }, "t", i),
      );
      const { block, taken } = openBlock(lines);
      const open = OpenBlockView.of(streamOf(lines[0]), block);
      const moved = OpenBlockView.from(structuredClone(open.pack(true)));
      const read = parseBlock(sealBlock(block, lines[0]));
      for (let slot = 0; slot < ID_SLOTS; slot++) {
        const wanted = lines.slice(0, taken).find(({ ids }) => ids[slot] !== null)?.ids[slot]?.id;
        const low8 = wanted === undefined ? random.bytes(8) : wanted.subarray(wanted.length - 8);
        const has = lines.slice(0, taken).map(({ ids }) => ids[slot]?.id.subarray(-8).equals(low8) ?? false);
        expect(open.rowsWithId(slot, low8), `seed ${SEED} round ${round}`).toEqual(
          [...has.keys()].filter((i) => has[i]),
        );
        expect(moved.rowsWithId(slot, low8), `seed ${SEED} round ${round}`).toEqual(open.rowsWithId(slot, low8));
        const found = read.rowsWithId(slot, low8).map((row) => rowsOf(read)[row]);
        expect(found, `seed ${SEED} round ${round}`).toEqual(
          inOrder(
            lines
              .slice(0, taken)
              .filter((_, i) => has[i])
              .map(rowOf),
          ),
        );
        expect(read.rowsWithId(slot, random.bytes(8))).toEqual([]);
      }
    }
  });

  test("an id's offset costs next to nothing when it is the same for all lines", () => {
    const random = new Random(1);
    const lines = Array.from({ length: 500 }, (_, i) => {
      const id = random.bytes(16);
      return testLine(`{"trace_id":"${id.toString("hex")}","msg":"${"x".repeat(i % 50)}"}`, {
        ids: [{ id, at: 13 }, null, null, null],
      });
    });
    const tail = lines
      .map((line) => ({
        ...line,
        bytes: Buffer.concat([Buffer.alloc(random.below(90), "y"), line.bytes.subarray(0, 46)]),
      }))
      .map((line) => ({ ...line, ids: [{ id: line.ids[0]!.id, at: line.bytes.length - 33 }, null, null, null] }));
    const raw = lines.map((line) => ({ ...line, ids: [{ id: line.ids[0]!.id, at: -1 }, null, null, null] }));
    const headerOf = (some: TestLine[]) => {
      roundTrip(some);
      return sealBlock(openBlock(some).block, some[0]).readUInt16LE(10);
    };
    expect(headerOf(raw) - headerOf(lines)).toBe(500 * 16 - 2);
    expect(headerOf(tail)).toBe(headerOf(lines));
  });

  test("closes a block before its text or its header is full, and takes a first line whatever it is", () => {
    const long = testLine(Buffer.alloc(300_000, "x"));
    expect(openBlock([long, testLine("x")]).taken).toBe(1);
    expect(openBlock([testLine("x"), long]).taken).toBe(1);
    expect(openBlock(Array.from({ length: 3000 }, () => testLine("x".repeat(99)))).block.textBytes).toBe(2621 * 100);
  });

  test.each<{ name: string; line: (i: number, random: Random) => Partial<TestLine> & { text?: string } }>([
    {
      name: "ids that are not in the line",
      line: (_, r) => ({
        ids: [
          { id: r.bytes(16), at: -1 },
          { id: r.bytes(8), at: -1 },
          { id: r.bytes(8), at: -1 },
          { id: r.bytes(16), at: -1 },
        ],
      }),
    },
    {
      name: "empty lines with times far apart",
      line: (i, r) => ({ text: "", sec: i * 90_000_000, nsec: r.below(1e9) }),
    },
    {
      name: "empty lines with times far apart and out of order",
      line: (_, r) => ({ text: "", sec: r.below(2 ** 40), nsec: r.below(1e9) }),
    },
    { name: "newlines in empty lines", line: () => ({ text: "\n" }) },
    { name: "a newline that comes late", line: (i) => ({ text: i > 9000 ? "\n" : "" }) },
    { name: "long values, all different", line: (i) => ({ extra: [["k", `${i}${"v".repeat(400)}`]] }) },
    { name: "values of three UTF-8 bytes a character", line: (i) => ({ extra: [["k", `${i}${"€".repeat(300)}`]] }) },
    { name: "another name in each line", line: (i) => ({ extra: [[`k${i}`, `${i}`]] }) },
    {
      name: "20 names in each line",
      line: () => ({ extra: Array.from({ length: 20 }, (_, n): [string, string] => [`k${n}`, "v"]) }),
    },
    {
      name: "another shared set in each line",
      line: (i) => ({
        shared: {
          pairs: [
            ["pod", `p${i}`],
            ["x", "y".repeat(i % 300)],
          ],
        },
      }),
    },
    { name: "another level in each line", line: (i) => ({ level: `l${i}` }) },
    {
      name: "a thousand shared sets, from half on",
      line: (i) => ({ text: "", shared: i < 3000 ? NO_SHARED : SETS[i % 1000] }),
    },
    {
      name: "everything at once",
      line: (i, r) => ({
        text: "\n",
        sec: r.below(2 ** 33),
        nsec: r.below(1e9),
        level: `${i % 40}`,
        ids: [{ id: r.bytes(16), at: -1 }, null, null, null],
        extra: [
          ["a", `${r.u32()}`],
          [`b${i % 90}`, "c"],
        ],
        shared: { pairs: [["p", `${i}`]] },
      }),
    },
  ])("fills a header with $name and never overflows it", ({ line }) => {
    const random = new Random(SEED);
    const lines = Array.from({ length: 14_000 }, (_, i) => {
      const { text = "0123456789", ...more } = line(i, random);
      return testLine(text, more);
    });
    const { block, taken } = openBlock(lines);
    const bytes = sealBlock(block, lines[0]);
    const view = parseBlock(bytes);
    expect(bytes.toString("latin1", 12, 14), "no overflow member").toBe("WB");
    expect(bytes.readUInt16LE(10) - 16).toBeLessThanOrEqual(block.headerBytesMax());
    expectRows(inOrder(rowsOf(view)), inOrder(lines.slice(0, taken).map(rowOf)));
    // The bound is of use only if it is not far too careful.
    if (taken < lines.length) expect(bytes.readUInt16LE(10)).toBeGreaterThan(MEMBER_DATA_MAX / 4);
  });

  test("stores a line whose metadata is larger than any header", () => {
    const extra = Array.from({ length: 128 }, (_, i): [string, string] => [
      `name-${i}`,
      `${i}`.repeat(32_000).slice(0, 65_536),
    ]);
    const lines = [
      testLine("before"),
      testLine("big\nline", { extra, level: "error", ids: [{ id: Buffer.alloc(16, 3), at: -1 }, null, null, null] }),
      testLine("after"),
    ];
    const { views, bytes } = throughBlocks(lines);
    expect(views.map(({ rows }) => rows)).toEqual([1, 1, 1]);
    expect(bytes.map((block) => block.toString("latin1", 12, 14))).toEqual(["WB", "WX", "WB"]);
    expect(views.flatMap(rowsOf)).toEqual(lines.map(rowOf));
    for (const cut of [100, 65_000, 66_000, bytes[1].length - 70_000]) {
      expect(() => parseBlock(bytes[1].subarray(0, cut))).toThrow(/cut/);
    }
    // A member missing in front, or the block without any, is noticed.
    const first = bytes[1].readUInt32LE(20);
    expect(() => parseBlock(bytes[1].subarray(first))).toThrow(/members in front of the block: got \d+, want \d+/);
  });

  test("stores labels that are larger than any header", () => {
    const labels = { app: "x".repeat(70_000) };
    roundTrip([testLine("a", { labels }), testLine("b", { labels })]);
  });

  test("a view of an open block stays as it was while the block grows", () => {
    const random = new Random(SEED);
    const habit = { ...drawHabit(random), ids: "mixed" as const, extras: 3 };
    const lines = Array.from({ length: 800 }, (_, i) => drawLine(random, habit, { app: "x" }, "t", i));
    const { block } = openBlock(lines.slice(0, 1));
    const line = new Line();
    const views: { view: OpenBlockView; count: number }[] = [];
    for (let i = 1; i < lines.length; i++) {
      if (i % 97 === 0 || i < 20) views.push({ view: OpenBlockView.of(streamOf(lines[0]), block), count: i });
      if (!block.append(fill(line, lines[i]))) break;
    }
    for (const { view, count } of views) {
      const rows = lines.slice(0, count).map(rowOf);
      expect(rowsOf(view), `seed ${SEED}`).toEqual(rows);
      const moved = structuredClone(view.pack(true), { transfer: [] });
      expect(rowsOf(OpenBlockView.from(moved)), `seed ${SEED}`).toEqual(rows);
    }
  });

  test("bytes that are cut or changed give block_corrupt, never another line", () => {
    const random = new Random(SEED);
    const habit = { ...drawHabit(random), newlines: true, ids: "mixed" as const, extras: 3, order: "random" as const };
    const lines = Array.from({ length: 40 }, (_, i) => drawLine(random, habit, { app: "x" }, "t", i));
    const bytes = sealBlock(openBlock(lines).block, lines[0]);
    const want = rowsOf(parseBlock(bytes));
    const read = (damaged: Buffer) => rowsOf(parseBlock(damaged, { key: "some/key", offset: 1000 }));
    for (let length = 0; length < bytes.length; length++) {
      expect(() => read(bytes.subarray(0, length)), `cut at ${length}`).toThrow(
        expect.objectContaining({ code: "block_corrupt" }),
      );
    }
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << random.below(8);
      let got: unknown;
      try {
        got = read(damaged);
      } catch (error) {
        expect(error, `byte ${at}, seed ${SEED}`).toMatchObject({
          code: "block_corrupt",
          message: expect.stringMatching(/ at byte \d+ of some\/key/),
        });
        continue;
      }
      // Deflate has bits that mean nothing (padding after the last code); lines are right all the same.
      expect(got, `byte ${at}, seed ${SEED}`).toEqual(want);
    }
  });

  test("the header alone says what a query asks first, and a section of an unknown type is skipped", () => {
    const lines = [
      testLine("a", { sec: 5, ids: [{ id: Buffer.alloc(16, 1), at: -1 }, null, null, null] }),
      testLine("bc", { sec: 9, nsec: 7 }),
    ];
    const bytes = sealBlock(openBlock(lines).block, lines[0]);
    const view = parseBlock(bytes.subarray(0, 12 + bytes.readUInt16LE(10)));
    expect(view).toMatchObject({
      rows: 2,
      textBytes: 5,
      hasNewlines: false,
      timeMinNs: 5_000_000_000n,
      timeMaxNs: 9_000_000_007n,
      canonical: '{"app":"web"}',
      tenant: "fake",
    });
    expect([...view.sec]).toEqual([5, 9]);
    expect(() => view.text).toThrow(/block, cut/);
  });
});
