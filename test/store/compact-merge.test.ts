import { describe, expect, test } from "vitest";
import { codeOf } from "../../src/core/errors.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { StoredBlock } from "../../src/store/block-view.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import type { SegmentInfo } from "../../src/store/view.ts";
import { Random, SEED } from "../random.ts";
import { drawFlushes, inArrival, mergeIn, putFlush, readSegment, rowsIn } from "./compact-support.ts";
import { expectRows, inOrder, rowOf, rowsOf, testLine } from "./support.ts";

const MIDNIGHT_SEC = 1_700_006_400;
const DAY_NS = 86_400_000_000_000n;

describe("merging segments", () => {
  test("keeps every line, time, label and metadata, whatever is merged with what", async () => {
    for (let round = 0; round < 25; round++) {
      const random = new Random(SEED + round);
      const objects = new MemoryStore();
      const flushes = drawFlushes(random, 2 + random.below(8), 120);
      const textMax = random.pick([512, 4096, 16_384]);
      let segments: SegmentInfo[] = [];
      for (const [i, lines] of flushes.entries()) segments.push(await putFlush(objects, lines, 0, i * 10, textMax));
      const want = inOrder(flushes.flat().map(rowOf));
      expectRows(inOrder(await rowsIn(objects, segments)), want, `round ${round}, before`);
      for (let step = 0; step < 4 && segments.length > 0; step++) {
        const ordered = inArrival(segments);
        // Segments of one compaction stay together.
        const units = [...new Set(ordered.map(({ firstOffset }) => firstOffset))];
        const from = random.below(units.length);
        const some = new Set(units.slice(from, from + 1 + random.below(units.length - from)));
        const chosen = ordered.filter(({ firstOffset }) => some.has(firstOffset));
        const { inputs, outputs, stats } = await mergeIn(objects, chosen, {
          blockBytes: random.pick([1024, 4096, 65_536]),
          segmentBytes: random.pick([2048, 20_000, 1 << 20]),
          fullPart: random.pick([0.1, 0.5, 1]),
          indexMemoryBytes: random.pick([1, 1 << 20]),
          readMemoryBytes: random.pick([1, 1 << 20]),
        });
        const gone = new Set(inputs.map(({ key }) => key));
        segments = [...segments.filter(({ key }) => !gone.has(key)), ...outputs];
        expect(stats.lines).toBe(inputs.reduce((sum, { lines }) => sum + lines, 0));
        expectRows(inOrder(await rowsIn(objects, segments)), want, `round ${round}, step ${step}`);
      }
    }
  });

  test("gives blocks in order of stream and time, none overlapping, and no segment for lines of two days", async () => {
    let seen = 0;
    for (let round = 0; round < 12; round++) {
      const random = new Random(SEED + 1000 + round);
      const objects = new MemoryStore();
      const flushes = drawFlushes(random, 4, 200, { order: random.pick(["in order", "runs"]), sec: MIDNIGHT_SEC - 20 });
      const segments: SegmentInfo[] = [];
      for (const [i, lines] of flushes.entries()) segments.push(await putFlush(objects, lines, 0, i * 10, 2048));
      const { outputs } = await mergeIn(objects, segments, { segmentBytes: 10_000, blockBytes: 65_536, fullPart: 0.1 });
      const days = outputs.map(({ timeMinNs, timeMaxNs }) => [timeMinNs / DAY_NS, timeMaxNs / DAY_NS]);
      for (const [first, last] of days) expect(first).toBe(last);
      for (const info of outputs) {
        const { blocks } = await readSegment(objects, info);
        for (const [i, block] of blocks.slice(1).entries()) {
          const before = blocks[i];
          const order = Buffer.compare(Buffer.from(before.stream), Buffer.from(block.stream));
          expect(order).toBeLessThanOrEqual(0);
          if (order === 0) expect(before.maxNs <= block.minNs).toBe(true);
        }
      }
      seen += new Set(days.map(([day]) => day)).size;
    }
    expect(seen).toBeGreaterThan(12);
  });

  test("copies full blocks byte for byte, and merges small ones", async () => {
    const objects = new MemoryStore();
    const lines = (from: number, count: number, app: string) =>
      Array.from({ length: count }, (_, i) =>
        testLine(`${"x".repeat(90)} ${from + i}`, { sec: from + i, labels: { app } }),
      );
    const segments = [
      await putFlush(objects, [...lines(1000, 42, "full"), ...lines(1000, 5, "small")], 0, 0, 4096),
      await putFlush(objects, [...lines(1042, 42, "full"), ...lines(1005, 5, "small")], 0, 10, 4096),
      await putFlush(objects, [...lines(1084, 3, "full"), ...lines(1010, 5, "small")], 0, 20, 4096),
    ];
    const { outputs, stats } = await mergeIn(objects, segments);
    expect(outputs.length).toBe(1);
    expect(outputs[0]).toMatchObject({
      level: 1,
      lines: 102,
      streams: 2,
      firstOffset: 0,
      nextOffset: 30,
      partition: 0,
    });
    const { blocks } = await readSegment(objects, outputs[0]);
    expect(blocks.map(({ stream }) => stream)).toEqual([
      ...Array(blocks.length - 1).fill('{"app":"full"}'),
      '{"app":"small"}',
    ]);
    expect(stats.blocksCopied).toBe(blocks.length - 1);
    const after = await objects.get(outputs[0].key);
    const before = await objects.get(segments[0].key);
    const first = before.subarray(0, before.readUInt32LE(20));
    expect(after.subarray(0, first.length).equals(first)).toBe(true);
  });

  test("finds every id where it was before", async () => {
    const random = new Random(SEED + 3000);
    for (const ids of ["in line", "raw", "mixed"] as const) {
      const objects = new MemoryStore();
      const flushes = drawFlushes(random, 4, 80, { ids, order: "in order" });
      const segments: SegmentInfo[] = [];
      for (const [i, lines] of flushes.entries()) segments.push(await putFlush(objects, lines, 0, i * 10, 1024));
      const { outputs } = await mergeIn(objects, segments);
      const reader = new SegmentReader(objects, { cacheBytes: 1 << 20 });
      const blocks: { view: StoredBlock; lines: string[]; mayHold: (slot: number, low8: Uint8Array) => boolean }[] = [];
      for (const info of outputs) {
        const index = await reader.index(info);
        for (const [b, block] of index.blocks.entries()) {
          const view = await reader.openBlock(info, block);
          const lines = rowsOf(view).map(({ line }) => line);
          blocks.push({ view, lines, mayHold: (slot, low8) => index.mayHoldId(b, slot, low8) });
        }
      }
      for (const line of flushes.flat()) {
        for (const [slot, id] of line.ids.entries()) {
          if (id === null) continue;
          const low8 = id.id.subarray(id.id.length - 8);
          const found = blocks
            .filter(({ mayHold }) => mayHold(slot, low8))
            .flatMap(({ view, lines }) => view.rowsWithId(slot, low8).map((row) => lines[row]));
          if (!found.includes(line.bytes.toString("latin1"))) expect(found).toContain(line.bytes.toString("latin1"));
        }
      }
    }
  });

  test("damaged input is an error that names it, or makes no difference", async () => {
    const random = new Random(SEED + 4000);
    const objects = new MemoryStore();
    const flushes = drawFlushes(random, 3, 25);
    const segments: SegmentInfo[] = [];
    for (const [i, lines] of flushes.entries()) segments.push(await putFlush(objects, lines, 0, i * 10, 2048));
    const want = inOrder(flushes.flat().map(rowOf));
    const { key } = segments[1];
    const good = await objects.get(key);
    let errors = 0;
    for (let i = 0; i < 250; i++) {
      const bad = Buffer.from(good);
      bad[random.below(bad.length)] ^= 1 << random.below(8);
      await objects.put(key, [bad]);
      try {
        const { outputs } = await mergeIn(objects, segments, { fullPart: random.pick([0.05, 1]) });
        // A block that was copied brings its broken check along.
        expectRows(inOrder(await rowsIn(objects, outputs)), want);
      } catch (error) {
        expect(["block_corrupt", "segment_corrupt"]).toContain(codeOf(error));
        errors++;
      }
    }
    expect(errors).toBeGreaterThan(100);
  });
});
