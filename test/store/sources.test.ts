import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../src/objects/memory.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { readPackedIndex } from "../../src/store/compact/packed-index.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import { buildSegment } from "../../src/store/segment.ts";
import { decodeSources, encodeSources, envelopeOf, newMerge, type SegmentSources } from "../../src/store/sources.ts";
import { openBlock, sealBlock, testLine } from "./support.ts";

/** A day of ten partitions, flushed every five seconds, merged into one: more ranges than a call takes arguments. */
const COVERS = Array.from({ length: 172_800 }, (_, i) => {
  const firstOffset = (i % 17_280) * 1000;
  return { partition: Math.floor(i / 17_280), firstOffset, nextOffset: firstOffset + 1000 };
});
const DAY: SegmentSources = {
  level: 3,
  merge: "0123456789ab",
  output: 0,
  last: false,
  inputs: ["segments/fake/2024-05-01/0-00000000000000000000-0123456789ab.gz"],
  covers: COVERS,
  absorbed: ["ba9876543210.0"],
};
const PLACE = { key: "some/key", offset: 0 };

describe("what a segment says of its sources", () => {
  test("may be of any number of flushes", () => {
    const inputs = [0, 1, 2].map((output) => ({
      key: `segment ${output}`,
      ...COVERS[0],
      readSources: () => ({ ...DAY, output, last: output === 2 }),
    }));
    const late = { partition: 3, firstOffset: 99_000_000, nextOffset: 99_000_001 };
    const merged = newMerge([...inputs, { key: "late", ...late, readSources: () => null }]);
    const after = COVERS.findIndex(({ partition }) => partition === 4);
    expect(merged.covers.length).toBe(COVERS.length + 1);
    expect(merged.covers[after]).toEqual(late);
    expect([...merged.absorbed].sort()).toEqual([
      "0123456789ab.0",
      "0123456789ab.1",
      "0123456789ab.2",
      "ba9876543210.0",
    ]);
    expect(envelopeOf(merged.covers)).toEqual({ partition: 0, firstOffset: 0, nextOffset: 17_280_000 });
    expect(envelopeOf(Array.from(COVERS, (range) => ({ ...range, partition: 7 })))).toMatchObject({ partition: 7 });
  });

  test("comes back, and is refused by name where a range is none", () => {
    expect(decodeSources(encodeSources(DAY), PLACE)).toEqual(DAY);
    for (const range of [null, 5, [], [1, 2], [1, 2, 3, 4], [1, 2, -3], [1, 2, 0.5], ["1", 2, 3], [1, 2, 2 ** 53]]) {
      const text = JSON.stringify({ ...DAY, covers: [[0, 1, 2], range] });
      expect(() => decodeSources(Buffer.from(text), PLACE), text).toThrow(
        `index, section sources, covers[1]: got ${JSON.stringify(range)}, want [partition, first, next], at byte 0 of some/key`,
      );
    }
    for (const covers of [undefined, 7, {}]) {
      const text = Buffer.from(JSON.stringify({ ...DAY, covers }));
      expect(() => decodeSources(text, PLACE)).toThrow(expect.objectContaining({ code: "segment_corrupt" }));
    }
  });

  test("is not read by queries, which never ask for it, nor kept with indexes", async () => {
    const line = testLine("x");
    const bytes = sealBlock(openBlock([line]).block, line);
    const { canonical, sec, ids, rows, textBytes } = parseBlock(bytes);
    const times = { minSec: sec[0], minNsec: 0, maxSec: sec[0], maxNsec: 0 };
    const block = { canonical, bytes, rows, textBytes, metadataBytes: 0, ids, ...times };
    // JSON that could not be read.
    const broken = { ...DAY, covers: [{ partition: -1, firstOffset: 0, nextOffset: 1 }] };
    const { parts } = buildSegment("fake", [block], COVERS[0], broken);
    const objects = new MemoryStore();
    await objects.put("key", parts);
    const reader = new SegmentReader(objects, { cacheBytes: 1 << 20 });
    const index = await reader.index({ key: "key" });
    expect(index.blocks).toHaveLength(1);
    expect(() => index.sources).toThrow(/covers\[0\]: got \[-1,0,1\].* of key/);
    await expect(reader.inspect("key")).rejects.toMatchObject({ code: "segment_corrupt" });
    const packed = await readPackedIndex(objects, "key", async () => {});
    expect(() => packed.readSources()).toThrow(expect.objectContaining({ code: "segment_corrupt" }));
  });
});
