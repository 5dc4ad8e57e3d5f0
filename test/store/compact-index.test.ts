import { describe, expect, test } from "vitest";
import { codeOf } from "../../src/core/errors.ts";
import { splitNs } from "../../src/core/time.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { readPackedIndex } from "../../src/store/compact/packed-index.ts";
import { SegmentInput } from "../../src/store/compact/segment-input.ts";
import { StreamOrder } from "../../src/store/compact/stream-order.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import { Random, SEED } from "../random.ts";
import { drawFlushes, mergeIn, putFlush } from "./compact-support.ts";
import { testLine } from "./support.ts";

const turn = async () => {};

describe("the packed index of a segment", () => {
  test("says what the index says that queries read", async () => {
    for (let round = 0; round < 40; round++) {
      const random = new Random(SEED + round);
      const objects = new MemoryStore();
      const [lines] = drawFlushes(random, 1, 150);
      const flushed = await putFlush(objects, lines, 3, 70, random.pick([256, 4096]));
      const { outputs } = await mergeIn(objects, [flushed], { segmentBytes: 1 << 24 });
      for (const info of [flushed, ...outputs]) {
        const want = await new SegmentReader(objects, { cacheBytes: 0 }).index(info);
        const got = await readPackedIndex(objects, info.key, turn);
        const canonical = (s: number) => got.streamBytes.toString("utf8", got.streamStarts[s], got.streamEnds[s]);
        expect(Array.from(got.streamStarts, (_, s) => canonical(s))).toEqual(want.streams.map((it) => it.canonical));
        expect({ tenant: got.tenant, sources: got.readSources() }).toEqual({
          tenant: want.tenant,
          sources: want.sources,
        });
        const blocks = want.blocks.map((block) => {
          const [min, max] = [splitNs(block.timeMinNs), splitNs(block.timeMaxNs)];
          const sizes = [block.rows, block.textBytes, block.metadataBytes];
          return [block.offset, block.length, ...sizes, min.sec, min.nsec, max.sec, max.nsec];
        });
        const { offsets, lengths, rows, textBytes, metadataBytes, minSec, minNsec, maxSec, maxNsec } = got;
        const columns = [offsets, lengths, rows, textBytes, metadataBytes, minSec, minNsec, maxSec, maxNsec];
        expect(Array.from(offsets, (_, b) => columns.map((column) => column[b]))).toEqual(blocks);
        const streams = blocks.map((_, b) =>
          got.firstBlocks.findIndex((first, s) => first <= b && b < got.firstBlocks[s + 1]),
        );
        expect(streams).toEqual(want.blocks.map(({ stream }) => stream));
      }
    }
  });

  test("cut or changed anywhere it is a named error", async () => {
    const objects = new MemoryStore();
    const info = await putFlush(objects, [testLine("a"), testLine("b", { labels: { app: "other" } })], 0, 0, 4096);
    const bytes = await objects.get(info.key);
    const { footer } = await readPackedIndex(objects, info.key, turn);
    for (let at = footer.indexAt; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] ^= 0x55;
      for (const bad of [changed, bytes.subarray(0, at)]) {
        await objects.put(info.key, [bad]);
        const error: unknown = await readPackedIndex(objects, info.key, turn).then(
          () => null,
          (reason: unknown) => reason,
        );
        // The tail of an empty member is no data of anybody's.
        if (error !== null) expect(["segment_corrupt", "object_range"]).toContain(codeOf(error));
        else expect(bad).toBe(changed);
      }
    }
  });
});

test("streams of several segments come in order of their labels' bytes, with their parts in order of arrival", async () => {
  const objects = new MemoryStore();
  const random = new Random(SEED + 500);
  // UTF-16 puts a surrogate pair before U+FFEE, UTF-8 behind it.
  const names = ["a", "b", "\uffee", "\u{1f40e}", "zz", "ab"];
  const inputs: SegmentInput[] = [];
  const want: string[] = [];
  for (let i = 0; i < 12; i++) {
    const own = names.filter(() => random.chance(0.6)).concat(["a"]);
    for (const name of new Set(own)) want.push(`${name} ${String(i).padStart(2, "0")}`);
    const lines = own.map((name) => testLine("x", { labels: { name } }));
    const { key } = await putFlush(objects, lines, 0, i, 4096);
    inputs.push(new SegmentInput(objects, key, await readPackedIndex(objects, key, turn), i, 1000));
  }
  const order = new StreamOrder(inputs);
  const got: string[] = [];
  for (let parts = order.next(); parts !== null; parts = order.next()) {
    for (const { input, stream } of parts) {
      const { streamBytes, streamStarts, streamEnds } = input.index;
      const { name } = JSON.parse(streamBytes.toString("utf8", streamStarts[stream], streamEnds[stream])) as {
        name: string;
      };
      got.push(`${name} ${String(input.arrival).padStart(2, "0")}`);
    }
  }
  const byBytes = (a: string, b: string) =>
    Buffer.compare(Buffer.from(JSON.stringify(a)), Buffer.from(JSON.stringify(b)));
  const key = (text: string) => JSON.stringify({ name: text.slice(0, -3) });
  want.sort((a, b) => byBytes(key(a), key(b)) || byBytes(a, b));
  expect(got).toEqual(want);
});
