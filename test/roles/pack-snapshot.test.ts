import { describe, expect, test } from "vitest";
import { TRACE_ID } from "../../src/core/line.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { WantedLines } from "../../src/query/snapshots.ts";
import { packSnapshots, unpackPart } from "../../src/roles/pack-snapshot.ts";
import type { SnapshotPart } from "../../src/roles/worker-messages.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { rowsOf, TestStore, testLine } from "../store/support.ts";

const EVERYTHING: WantedLines = {
  tenant: "t",
  selectors: [],
  startNs: -(2n ** 63n),
  endNs: 2n ** 63n - 1n,
  ids: null,
  withText: true,
};
const ns = (sec: number) => BigInt(sec) * 1_000_000_000n;

/** A store with a compressed block of times 1,000 to 1,009 and an open one of 2,000 to 2,009. */
async function storeWithBoth(): Promise<TestStore> {
  const store = await TestStore.open(new MemoryStore(), { block_bytes: 4096 });
  // Ten fill a block, so the eleventh closes it.
  const lines = (from: number) =>
    Array.from({ length: 10 }, (_, i) => testLine(`line ${from + i} ${"x".repeat(390)}`, { sec: from + i }));
  store.append([...lines(1000), ...lines(2000)]);
  await expect.poll(() => store.writer.snapshot().pending.length).toBe(1);
  return store;
}

/** What comes out at the other end. */
async function moved(store: TestStore, wanted: Partial<WantedLines>) {
  const parts: SnapshotPart[] = [];
  await packSnapshots([store.writer.snapshot()], { ...EVERYTHING, ...wanted }, (part, memory) => {
    parts.push(structuredClone(part, { transfer: memory }));
  });
  const blocks = parts.map(unpackPart);
  return { pending: blocks.flatMap(({ pending }) => pending), open: blocks.flatMap(({ open }) => open) };
}

describe("a snapshot for another thread", () => {
  test("has the same lines, and leaves those here as they are", async () => {
    const store = await storeWithBoth();
    const here = store.writer.snapshot();
    for (let round = 0; round < 2; round++) {
      const { pending, open } = await moved(store, {});
      expect(pending.flatMap(({ bytes }) => rowsOf(parseBlock(bytes)))).toEqual(
        here.pending.flatMap(({ bytes }) => rowsOf(parseBlock(bytes))),
      );
      expect(open.flatMap(rowsOf)).toEqual(here.open.flatMap(rowsOf));
      expect(open.flatMap(rowsOf)).toHaveLength(10);
      expect(pending.map(({ info }) => info)).toEqual(here.pending.map(({ info }) => info));
    }
  });

  test.each([
    { name: "from the last line of the older block on", startNs: ns(1009), endNs: ns(9999), pending: 1, open: 1 },
    { name: "after it", startNs: ns(1010), endNs: ns(9999), pending: 0, open: 1 },
    { name: "before the newer one", startNs: ns(0), endNs: ns(2000), pending: 1, open: 0 },
    { name: "where nothing is", startNs: ns(1500), endNs: ns(1600), pending: 0, open: 0 },
  ])("has blocks by time: $name", async ({ startNs, endNs, pending, open }) => {
    const got = await moved(await storeWithBoth(), { startNs, endNs });
    expect([got.pending.length, got.open.length]).toEqual([pending, open]);
  });

  test("leaves out compressed blocks without a wanted id", async () => {
    const ids = [{ slot: TRACE_ID, low8: new Uint8Array(8).fill(7), texts: null }];
    const got = await moved(await storeWithBoth(), { ids });
    expect([got.pending.length, got.open.length]).toEqual([0, 1]);
  });

  test("without text has times and sizes alone", async () => {
    const store = await storeWithBoth();
    const here = store.writer.snapshot();
    const { pending, open } = await moved(store, { withText: false });
    expect(pending.map(({ bytes }) => bytes.length)).toEqual([0]);
    expect(pending.map(({ info }) => info)).toEqual(here.pending.map(({ info }) => info));
    expect(open.map(({ rows, textBytes, labels }) => [rows, textBytes, labels])).toEqual(
      here.open.map(({ rows, textBytes, labels }) => [rows, textBytes, labels]),
    );
    expect(open.map(({ sec, rows }) => sec[rows - 1])).toEqual([2009]);
    expect(open.map(({ text }) => text.length)).toEqual([0]);
  });
});
