import { describe, expect, test } from "vitest";
import { canonicalLabels } from "../../src/core/labels.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { OpenBlockView } from "../../src/store/open-view.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import { Random, SEED } from "../random.ts";
import { drawFlushes, mergeIn, metadataBytesOf, putFlush } from "./compact-support.ts";
import { metadataOf, openBlock, type TestLine, TestStore, testLine } from "./support.ts";

/** Counted from what went in. */
const wanted = (lines: readonly TestLine[]): number =>
  lines
    .flatMap((line) => metadataOf(line))
    .reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);

const trace = Buffer.from("0af7651916cd43dd8448eb211c80319c", "hex");

describe("bytes of metadata", () => {
  test.each<{ name: string; lines: TestLine[]; bytes: number }>([
    { name: "none", lines: [testLine("a"), testLine("b")], bytes: 0 },
    { name: "a level", lines: [testLine("a", { level: "info" }), testLine("b")], bytes: 14 + 4 },
    {
      name: "an id, wherever it stands",
      lines: [
        testLine(`x ${trace.toString("hex")}`, { ids: [{ id: trace, at: 2 }, null, null, null] }),
        testLine("y", { ids: [{ id: trace, at: -1 }, null, null, null] }),
        testLine("z", { ids: [null, null, null, { id: trace, at: -1 }] }),
      ],
      bytes: 2 * (8 + 32) + (10 + 36),
    },
    {
      name: "sets that lines share, letters of two bytes, a name twice",
      lines: [
        testLine("a", { shared: { pairs: [["pod", "é"]] } }),
        testLine("b", {
          shared: { pairs: [["pod", "longer"]] },
          extra: [
            ["ž", "1"],
            ["ž", "22"],
          ],
        }),
      ],
      bytes: 5 + 9 + 3 + 4,
    },
  ])("of $name", ({ lines, bytes }) => {
    expect(wanted(lines)).toBe(bytes);
    const { block } = openBlock(lines);
    const { labels } = lines[0];
    const view = OpenBlockView.of({ tenant: "fake", labels, canonical: canonicalLabels(labels) }, block);
    expect(view.metadataBytes).toBe(bytes);
    for (const withContent of [true, false]) {
      expect(OpenBlockView.from(structuredClone(view.pack(withContent))).metadataBytes).toBe(bytes);
    }
  });

  test("are the same in memory, on the way, in a segment, and in one that compaction made", async () => {
    for (let round = 0; round < 15; round++) {
      const random = new Random(SEED + round);
      const flushes = drawFlushes(random, 2, 200);
      const store = await TestStore.open(new MemoryStore(), { block_bytes: random.pick([4096, 65_536]) });
      store.append(flushes[0]);
      const { pending, open } = store.writer.snapshot();
      const inMemory =
        pending.reduce((sum, { info }) => sum + info.metadataBytes, 0) +
        open.reduce((sum, view) => sum + (view.metadataBytes ?? Number.NaN), 0);
      expect(inMemory).toBe(wanted(flushes[0]));

      const objects = new MemoryStore();
      const flushed = [];
      for (const [i, lines] of flushes.entries()) flushed.push(await putFlush(objects, lines, 0, i * 10, 2048));
      const { outputs } = await mergeIn(objects, flushed, { blockBytes: random.pick([512, 4096, 65_536]) });
      const reader = new SegmentReader(objects, { cacheBytes: 0 });
      let all = 0;
      for (const info of outputs) {
        for (const block of (await reader.index(info)).blocks) {
          expect(block.metadataBytes).toBe(metadataBytesOf(await reader.openBlock(info, block)));
          all += block.metadataBytes;
        }
      }
      expect(all).toBe(wanted(flushes.flat()));
    }
  });
});
