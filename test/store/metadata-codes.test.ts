import { describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { combineParts, type MetadataCodes, setsPart } from "../../src/store/metadata-codes.ts";
import type { BlockView } from "../../src/store/view.ts";
import { makeStore, SECOND, T0 } from "../query/run/harness.ts";
import { SEED } from "../random.ts";

type Pairs = readonly (readonly [string, string])[];

const inOrder = (pairs: Pairs): Pairs => [...pairs].sort(([a], [b]) => (a < b ? -1 : 1));

function pairsOf({ codes, pairs }: MetadataCodes, row: number): Pairs {
  return inOrder(pairs(codes === null ? 0 : codes[row]));
}

/** Blocks with metadata of few and of many values, in all rows and in some, shared and not. */
async function blocks(random: Random): Promise<{ views: BlockView[]; close: () => Promise<void> }> {
  const store = await makeStore();
  const span = random.pick([1n, 1000n, SECOND / 7n, SECOND]);
  let ns = T0;
  for (let i = 0; i < 700; i++) {
    const metadata: Record<string, string> = { pod: `p${Math.floor(i / 100)}` };
    if (i % 3 !== 0) metadata.level = random.pick(["info", "warn", ""]);
    if (i % 50 === 0) metadata.rare = "x";
    if (random.below(2) === 0) metadata.user = `u${random.below(1000)}`;
    ns += BigInt(random.below(5)) * span;
    store.append({ labels: { app: "a" }, ns, text: `line ${i}`, metadata });
    if (i === 400) await store.flush();
  }
  const [segment] = await store.catalog.view().segments({ tenant: "fake", startNs: 0n, endNs: 2n ** 62n });
  const index = await store.reader.index(segment);
  const stored = await Promise.all(index.blocks.map((block) => store.reader.openBlock(segment, block)));
  const { open } = store.writer.snapshot(() => true);
  return { views: [...stored, ...open], close: () => store.close() };
}

describe("metadata by code", () => {
  test("is the metadata of each row, as far as its names are asked for, and inflates nothing", async () => {
    const { views, close } = await blocks(new Random(SEED));
    expect(views.length).toBeGreaterThan(1);
    for (const view of views) {
      const wasInflated = view.inflated;
      for (const names of [
        null,
        [],
        ["level"],
        ["level", "pod"],
        ["rare"],
        ["user", "level", "pod", "rare"],
        ["none"],
      ]) {
        const wanted = names === null ? null : new Set(names);
        const codes = view.metadataCodes(wanted);
        if (codes === null) throw new Error("there are no ids here");
        expect(codes.count).toBeGreaterThan(0);
        for (let row = 0; row < view.rows; row++) {
          const all = view.metadata(row).filter(([name]) => wanted === null || wanted.has(name));
          expect(pairsOf(codes, row), `seed ${SEED}, ${names}, row ${row}`).toEqual(inOrder(all));
        }
      }
      expect(view.inflated).toBe(wasInflated);
    }
    await close();
  });

  test("is not there for ids, which may stand in lines", async () => {
    const store = await makeStore();
    store.append({ labels: { app: "a" }, ns: T0, text: "x", trace: "0af7651916cd43dd8448eb211c80319c" });
    await store.flush();
    const [segment] = await store.catalog.view().segments({ tenant: "fake", startNs: 0n, endNs: 2n ** 62n });
    const [block] = (await store.reader.index(segment)).blocks;
    const view = await store.reader.openBlock(segment, block);
    expect(view.metadataCodes(null)).toBeNull();
    expect(view.metadataCodes(new Set(["trace_id"]))).toBeNull();
    expect(view.metadataCodes(new Set(["level"]))?.count).toBe(1);
    await store.close();
  });

  test("combines columns, few values or many", () => {
    const random = new Random(SEED + 1);
    for (const sizes of [
      [3, 4],
      [1, 5],
      [1, 1],
      [2, 2, 2],
      [400, 400],
      [300, 2, 300],
    ]) {
      const rows = 500;
      const parts = sizes.map((count, column) => ({
        codes: Uint32Array.from({ length: rows }, () => random.below(count)),
        count,
        pairs: (code: number): Pairs => [[`c${column}`, `v${code}`]],
      }));
      const codes = combineParts(rows, parts);
      for (let row = 0; row < rows; row++) {
        expect(pairsOf(codes, row), `${sizes}`).toEqual(parts.flatMap((part) => part.pairs(part.codes[row])));
      }
    }
  });

  test("of sets is the same for those that differ in other names only", () => {
    const sets: Pairs[] = [
      [["a", "1"]],
      [],
      [
        ["a", "1"],
        ["b", "2"],
      ],
    ];
    const part = setsPart(4, Uint32Array.of(0, 1, 2, 0), sets, (name) => name === "a");
    expect([...part.codes].map((code) => part.pairs(code))).toEqual([[["a", "1"]], [], [["a", "1"]], [["a", "1"]]]);
    expect(part.count).toBe(2);
    expect(setsPart(4, null, sets, (name) => name === "b")).toMatchObject({ count: 1 });
  });
});

describe("walking through times", () => {
  test("passes the rows that the times say", async () => {
    const random = new Random(SEED + 2);
    for (let round = 0; round < 4; round++) {
      const { views, close } = await blocks(random);
      for (const view of views) {
        const walk = view.walkTimes();
        if (walk === null) continue;
        const since = (row: number) => (view.sec[row] - view.sec[0]) * 1e9 + view.nsec[row] - view.nsec[0];
        while (walk.row < view.rows) {
          expect(walk.since, `seed ${SEED}`).toBe(since(walk.row));
          const to = walk.since + random.pick([-1, 0, 1, 5, 1000, 5e9]);
          const passed = walk.passTo(to);
          let want = walk.row;
          while (want > 0 && since(want - 1) > to) want--;
          expect(passed).toBe(want);
          if (passed < view.rows) expect(since(passed)).toBeGreaterThan(to);
          if (to < walk.since) walk.passTo(walk.since);
        }
      }
      await close();
    }
  });
});
