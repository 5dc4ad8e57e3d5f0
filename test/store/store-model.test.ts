import { describe, expect, test } from "vitest";
import { ID_BYTES, ID_NAMES, ID_SLOTS, REQUEST_ID, TRACE_ID } from "../../src/core/line.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { Compactor } from "../../src/store/compact/compactor.ts";
import { defaultCompactorOptions } from "../../src/store/compact/options.ts";
import { mayHoldLabels } from "../../src/store/label-filter.ts";
import { OpenBlockView } from "../../src/store/open-view.ts";
import { rebuildCatalog } from "../../src/store/rebuild.ts";
import { verifyStore } from "../../src/store/verify.ts";
import type { BlockView } from "../../src/store/view.ts";
import { walkSegment } from "../../src/store/walk.ts";
import { Random, SEED } from "../random.ts";
import {
  allSegments,
  expectRows,
  idTextOf,
  inOrder,
  type Row,
  rowOf,
  rowsOf,
  type TestLine,
  TestStore,
  testLine,
} from "./support.ts";

/** One takes a second or so. */
const ROUNDS = Number(process.env.ROUNDS ?? 3);

const EXTREME = [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, -62_135_596_801, 253_402_300_800, -1, 0, 1];
const BLOCK_BYTES = 4096;

/** How all lines of a round are made; each kind goes for another limit. */
type Kind = (random: Random, i: number) => Partial<TestLine> & { readonly text?: string | Buffer };

const ID_AT_END = (slot: number, id: Buffer, text: Buffer) => {
  const bytes = Buffer.concat([text, Buffer.from(idTextOf(slot, id)), Buffer.from("}")]);
  return { bytes, at: text.length };
};

const KINDS: Record<string, Kind> = {
  "times of all ages": (r, i) => ({
    text: `${i}`,
    sec: r.chance(0.5) ? r.pick(EXTREME) : r.below(2 ** 31) - 2 ** 30,
    nsec: r.pick([0, 1, 999_999_999, 500_000_000, r.below(1e9)]),
  }),
  "one time for all": (r, i) => ({ text: `${i}${"x".repeat(r.below(40))}`, sec: 86_400, nsec: 7 }),
  "empty lines": (r) => ({ text: "", sec: r.below(3) }),
  "newlines alone": (r) => ({ text: "\n".repeat(r.below(4)), sec: r.below(100) }),
  "bytes of any kind": (r) => ({ text: r.bytes(r.below(200)), sec: r.below(1000), nsec: r.below(1e9) }),
  "huge lines beside tiny ones": (r, i) => ({
    text: r.chance(0.05)
      ? Buffer.alloc(r.pick([BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 300_000]), `${i} ab\n`)
      : `${i}`,
    sec: r.below(200_000),
  }),
  "lines at a block's bound": (r) => ({
    text: Buffer.alloc(r.pick([0, 1, BLOCK_BYTES / 2 - 1, BLOCK_BYTES / 2, BLOCK_BYTES - 2, BLOCK_BYTES - 1]), "q"),
    sec: r.below(10),
  }),
  "a name of its own for each line": (r, i) => ({ text: "t", sec: r.below(50), extra: [[`k${i}`, `${i}`]] }),
  "many names": (r, i) => ({
    text: `${i}`,
    sec: i,
    extra: Array.from({ length: r.below(60) }, (): [string, string] => [
      `k${r.below(3000)}`,
      r.pick(["", "v", "žluť\0"]),
    ]),
  }),
  "values beyond a header": (r, i) => ({
    text: `${i}`,
    sec: r.below(100),
    extra: r.chance(0.1)
      ? [["big", `${i}`.padEnd(r.pick([60_000, 65_519, 70_000, 200_000]), "€")]]
      : [["small", `${i % 3}`]],
  }),
  "shared sets that come and go": (r, i) => ({
    text: `${i}`,
    sec: r.below(30),
    shared: { pairs: Array.from({ length: r.below(4) }, (_, n): [string, string] => [`n${n}`, `${r.below(5)}`]) },
    level: r.pick(["", "info", "error"]),
  }),
  "ids of all kinds": (r, i) => {
    let bytes = Buffer.from(`{"n":${i},`);
    const ids: TestLine["ids"][number][] = [];
    for (let slot = 0; slot < ID_SLOTS; slot++) {
      const id = r.chance(0.3) ? Buffer.alloc(ID_BYTES[slot], r.below(2)) : r.bytes(ID_BYTES[slot]);
      const way = r.below(4);
      if (way === 0) ids.push(null);
      else if (way === 1) ids.push({ id, at: -1 });
      else if (way === 2) ids.push({ id, at: 1_000_000 });
      else {
        const placed = ID_AT_END(slot, id, bytes);
        bytes = placed.bytes;
        ids.push({ id, at: placed.at });
      }
    }
    const alt = Array.from({ length: r.below(3) }, () => r.bytes(16).toString("hex"));
    return { text: bytes, sec: r.below(1000), ids, extra: alt.length > 0 ? [["trace_id_alt", alt.join(",")]] : [] };
  },
};

const LABELS: readonly TestLine["labels"][] = [
  { app: "web" },
  { app: "web", "": "\ud800" },
  {},
  { __proto__x: "1", žluť: "kůň" },
];

/** Two partitions have no time in common: which of their lines comes first is nobody's business. */
function drawLines(random: Random, kinds: readonly Kind[], count: number, from: number, partition: number): TestLine[] {
  return Array.from({ length: count }, (_, n) => {
    const { text = "", nsec = 0, ...more } = random.pick(kinds)(random, from + n);
    return testLine(text, {
      tenant: random.pick(["fake", "fake", "ž/..\\ "]),
      labels: random.pick(LABELS),
      nsec: nsec - (nsec % 2) + partition,
      ...more,
    });
  });
}

/** What each way to ask a view says, held to its rows one by one. */
function checkView(random: Random, view: BlockView, mayHold: (slot: number, low8: Uint8Array) => boolean): void {
  const pairs = Array.from({ length: view.rows }, (_, row) => view.metadata(row));
  for (const slot of [TRACE_ID, REQUEST_ID, 1]) {
    const row = random.below(view.rows);
    const own = pairs[row].find(([name]) => name === ID_NAMES[slot])?.[1];
    const alt =
      slot === TRACE_ID
        ? pairs[row]
            .find(([name]) => name === "trace_id_alt")?.[1]
            .split(",")
            .at(-1)
        : undefined;
    const text = (random.chance(0.5) ? own : alt) ?? own ?? alt;
    if (text === undefined) continue;
    const low = text.replaceAll("-", "").slice(-16);
    const low8 = Buffer.from(low, "hex");
    expect(mayHold(slot, low8), `${ID_NAMES[slot]} ${text}`).toBe(true);
    const has = ([name, value]: readonly [string, string]) =>
      (name === ID_NAMES[slot] && value.replaceAll("-", "").endsWith(low)) ||
      (slot === TRACE_ID && name === "trace_id_alt" && value.split(",").some((id) => id.endsWith(low)));
    const want = [...pairs.keys()].filter((i) => pairs[i].some(has));
    expect(view.rowsWithId(slot, low8)).toEqual(want);
  }
  const name = pairs[random.below(view.rows)].at(-1)?.[0] ?? "none";
  for (const names of [null, new Set([name, "detected_level"]), new Set<string>()]) {
    const coded = view.metadataCodes(names);
    if (coded === null) continue;
    for (let row = 0; row < view.rows; row += 1 + random.below(5)) {
      const got = coded.pairs(coded.codes === null ? 0 : coded.codes[row]);
      const want = pairs[row].filter(([one]) => names === null || names.has(one));
      expect(got.map(String).sort()).toEqual(want.map(String).sort());
    }
  }
  const walk = view.walkTimes();
  if (walk !== null) {
    const ns = (view.sec[view.rows >> 1] - view.sec[0]) * 1e9 + view.nsec[view.rows >> 1] - view.nsec[0];
    const upTo = Array.from(
      { length: view.rows },
      (_, row) => (view.sec[row] - view.sec[0]) * 1e9 + view.nsec[row] - view.nsec[0],
    );
    expect(walk.passTo(ns)).toBe(upTo.filter((since) => since <= ns).length);
  }
}

const metadataBytes = (rows: readonly Row[]) =>
  rows.reduce(
    (sum, { metadata }) => sum + metadata.reduce((all, pair) => all + Buffer.byteLength(pair.join("")), 0),
    0,
  );

/** The rows of some writers' stores, partition by partition, with every view of them checked. */
async function readAll(random: Random, stores: readonly TestStore[]): Promise<Row[]> {
  const out: Row[] = [];
  const [{ catalog, reader, objects }] = stores;
  for (const store of stores) await store.catalog.refresh();
  for (const segment of await allSegments(catalog.view())) {
    const index = await reader.index(segment);
    const bytes = await reader.readBlocks(segment, index.blocks);
    for (const { labels } of index.streams) {
      const wanted = Object.entries(labels).map(([name, value]) => ({ name, values: ["no", value] }));
      expect(mayHoldLabels(segment.labelFilter, wanted)).toBe(true);
    }
    const walked = [...walkSegment(await objects.get(segment.key), segment.key)].filter(
      (part) => part.kind === "block",
    );
    expect(walked.map(({ offset }) => offset)).toEqual(index.blocks.map(({ offset }) => offset));
    for (const [i, info] of index.blocks.entries()) {
      const view = parseBlock(bytes[i], { key: segment.key, offset: info.offset });
      const rows = rowsOf(view);
      const { timeMinNs, timeMaxNs, length, textBytes } = view;
      expect(info).toMatchObject({ timeMinNs, timeMaxNs, length, textBytes, rows: rows.length });
      expect(info.metadataBytes).toBe(metadataBytes(rows));
      checkView(random, view, (slot, low8) => index.mayHoldId(i, slot, low8));
      out.push(...rows);
    }
  }
  for (const { writer } of stores) {
    const { pending, open } = writer.snapshot();
    for (const block of pending) {
      const view = parseBlock(block.bytes);
      expect(block.info.metadataBytes).toBe(metadataBytes(rowsOf(view)));
      checkView(random, view, (slot, low8) => block.mayHoldId(slot, low8));
      out.push(...rowsOf(view));
    }
    for (const view of open) {
      if (!(view instanceof OpenBlockView)) throw new Error("an open block of another kind");
      const moved = OpenBlockView.from(structuredClone(view.pack(true)));
      const rows = rowsOf(view);
      expectRows(rowsOf(moved), rows);
      expect([view.metadataBytes, moved.metadataBytes]).toEqual([metadataBytes(rows), metadataBytes(rows)]);
      checkView(random, view, () => true);
      checkView(random, moved, () => true);
      out.push(...rows);
    }
  }
  return inOrder(out);
}

describe("a store, held to a plain list of its lines", () => {
  test("in memory, flushed, merged, rebuilt and verified", { timeout: ROUNDS * 60_000 }, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const random = new Random(SEED + round);
      const names = Object.keys(KINDS).filter(() => random.chance(0.25));
      if (names.length === 0) names.push(random.pick(Object.keys(KINDS)));
      const hint = `WEIR_TEST_SEED=${SEED + round} ROUNDS=1: ${names.join(", ")}`;
      try {
        await live(
          random,
          names.map((name) => KINDS[name]),
          hint,
        );
      } catch (error) {
        throw new Error(hint, { cause: error });
      }
    }
  });
});

async function live(random: Random, kinds: readonly Kind[], hint: string): Promise<void> {
  const objects = new MemoryStore();
  const options = { block_bytes: BLOCK_BYTES, level: random.pick([1, 9]), compress_parallel: 1 + random.below(3) };
  const stores = await Promise.all([0, 1].map((partition) => TestStore.open(objects, options, { partition })));
  const lines: TestLine[][] = [[], []];
  const want = () => inOrder(lines.flat().map(rowOf));
  const compact = async () => {
    const catalog = await openCatalog(objects, new Metrics(), silentLogger);
    await catalog.fold();
    const compactor = new Compactor(
      {
        ...defaultCompactorOptions,
        settle_ms: 0,
        fan_in: 2 + random.below(3),
        fan_in_above: 2,
        level: 1,
        cpu_share: 1,
        grace_ms: 0,
        segment_bytes: random.pick([64 * 1024, 1 << 20]),
        full_part: random.pick([0.2, 0.5, 1]),
      },
      {
        objects,
        catalog,
        blockBytes: random.pick([BLOCK_BYTES, 4 * BLOCK_BYTES]),
        removals: null,
        metrics: new Metrics(),
        log: silentLogger,
        now: () => 253_402_300_799_000,
        sleep: async () => {},
        signal: new AbortController().signal,
      },
    );
    await compactor.pass({ removals: false });
    await compactor.collect();
  };
  for (let step = 3 + random.below(7); step > 0; step--) {
    const p = random.below(2);
    const drawn = drawLines(random, kinds, 1 + random.below(random.pick([5, 60, 300])), lines[p].length, p);
    stores[p].append(drawn);
    lines[p].push(...drawn);
    expectRows(await readAll(random, stores), want(), `${hint}, in memory`);
    if (random.chance(0.7)) {
      await stores[p].writer.flush(stores[p].catalog.chainEnd(p) + 1);
      expectRows(await readAll(random, stores), want(), `${hint}, flushed`);
    }
    if (random.chance(0.3)) {
      await compact();
      expectRows(await readAll(random, stores), want(), `${hint}, merged`);
    }
  }
  for (const [p, { writer, catalog }] of stores.entries()) {
    await writer.flush(catalog.chainEnd(p) + 1);
  }
  expect(stores.map(({ writer }) => writer.memoryBytes())).toEqual([0, 0]);
  await compact();
  const verified = async (what: string) => {
    const problems: string[] = [];
    const report = await verifyStore(objects, { indexOnly: false, onProblem: (problem) => problems.push(problem) });
    expect({ problems, lines: report.lines }, `${hint}, ${what}`).toEqual({ problems: [], lines: lines.flat().length });
  };
  await verified("verified");
  for (const prefix of ["manifest/", "pages/", "catalog/"]) {
    const keys: string[] = [];
    for await (const { key } of objects.list(prefix)) keys.push(key);
    await objects.deleteMany(keys);
  }
  const report = await rebuildCatalog(objects, { dryRun: false, force: true, now: Date.now });
  expect(report, hint).toMatchObject({ damaged: [], lines: lines.flat().length });
  await verified("rebuilt");
  const again = await TestStore.open(objects);
  expectRows(await readAll(random, [again]), want(), `${hint}, rebuilt`);
  await compact();
  expectRows(await readAll(random, [await TestStore.open(objects)]), want(), `${hint}, merged after a rebuild`);
}
