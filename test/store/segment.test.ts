import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { crc32 } from "../../src/codec/crc32.ts";
import { writeVarint } from "../../src/codec/varint.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { readPackedIndex } from "../../src/store/compact/packed-index.ts";
import { encodeFooter, FOOTER_BYTES } from "../../src/store/footer.ts";
import {
  INDEX_BLOCKS,
  INDEX_FILTERS,
  INDEX_STREAMS,
  INDEX_TENANT,
  indexSection,
} from "../../src/store/index-tables.ts";
import { emptyMembers, type Member, readMember, sealMember } from "../../src/store/member.ts";
import { walkSegment, walkSegmentFile } from "../../src/store/walk.ts";
import { Random, SEED } from "../random.ts";
import { drawHabit, drawLine } from "./random-lines.ts";
import { inOrder, type Row, rowOf, rowsOf, type TestLine, TestStore, testLine } from "./support.ts";

/** One segment of these lines, and the store that holds it. */
async function segmentOf(
  lines: readonly TestLine[],
  options = {},
): Promise<{ store: TestStore; bytes: Buffer; key: string }> {
  const store = await TestStore.open(new MemoryStore(), options);
  store.append(lines);
  await store.writer.flush(1);
  const [{ key }] = store.catalog.tail();
  return { store, bytes: await store.objects.get(key), key };
}

function drawSegment(random: Random, streams: number, count: number): TestLine[] {
  const habits = Array.from({ length: streams }, () => drawHabit(random));
  return Array.from({ length: count }, (_, i) =>
    drawLine(random, habits[i % streams], { s: `${i % streams}` }, "fake", i),
  );
}

/** What the segment's lines are, one after the other, each with its LF: by stream, then by block, then by time. */
function plainText(rows: readonly Row[]): Buffer {
  return Buffer.concat(rows.map(({ line }) => Buffer.from(`${line}\n`, "latin1")));
}

describe("a segment is a gzip file", () => {
  let folder = "";
  let file = "";
  let text: Buffer = Buffer.alloc(0);
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "weir-segment-"));
    const random = new Random(SEED);
    const lines = drawSegment(random, 7, 3000);
    // A block of a single line with metadata beyond any header, and one of a long line.
    lines.push(
      testLine("big", { labels: { s: "0" }, extra: [["k", "v".repeat(200_000)]] }),
      testLine(Buffer.alloc(1 << 20, "long ")),
    );
    const { bytes, key } = await segmentOf(lines, { block_bytes: 16_384 });
    const rows: Row[] = [];
    for (const part of walkSegment(bytes, key)) if (part.kind === "block") rows.push(...rowsOf(part.block));
    expect(inOrder(rows)).toEqual(inOrder(lines.map(rowOf)));
    text = plainText(rows);
    file = path.join(folder, "segment.gz");
    writeFileSync(file, bytes);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each([
    { name: "zcat", command: "zcat", args: () => [file] },
    { name: "gzip -dc", command: "gzip", args: () => ["-dc", file] },
    {
      name: "Python's gzip",
      command: "python3",
      args: () => ["-c", "import gzip,sys,shutil; shutil.copyfileobj(gzip.open(sys.argv[1]), sys.stdout.buffer)", file],
    },
    {
      name: "Perl's IO::Uncompress",
      command: "perl",
      args: () => ["-MIO::Uncompress::Gunzip=gunzip", "-e", 'gunzip($ARGV[0] => "-", MultiStream => 1) or die', file],
    },
  ])("$name prints exactly its lines", ({ command, args }) => {
    const { error, status, stdout, stderr } = spawnSync(command, args(), { maxBuffer: 1 << 26 });
    // Where the tool is not installed there is nothing to try; gzip itself is everywhere.
    if (error !== undefined && command !== "gzip") return;
    expect(stderr.toString()).toBe("");
    expect(status).toBe(0);
    expect(stdout.equals(text)).toBe(true);
  });

  test("gzip -t finds nothing to complain about, and node:zlib reads it as one file", async () => {
    expect(spawnSync("gzip", ["-t", file]).status).toBe(0);
    const parts: Buffer[] = [];
    for await (const part of walkSegmentFile(file)) if (part.kind === "block") parts.push(part.block.text);
    expect(Buffer.concat(parts).equals(text)).toBe(true);
    const { stdout } = spawnSync("cat", [file], { maxBuffer: 1 << 26 });
    expect(zlib.gunzipSync(stdout).equals(text)).toBe(true);
  });

  test("segments put one after the other are still a gzip file", () => {
    const { stdout } = spawnSync("sh", ["-c", `cat "${file}" "${file}" | gzip -dc`], { maxBuffer: 1 << 27 });
    expect(stdout.equals(Buffer.concat([text, text]))).toBe(true);
  });
});

/** Segments that are forged: each takes some milliseconds. */
const FORGED = 1500;

function membersOf(bytes: Buffer): Member[] {
  const found: Member[] = [];
  for (let at = 0; at < bytes.length; at += found[found.length - 1].length) {
    found.push(readMember(bytes, at, { key: "forged", offset: 0 }, "segment_corrupt"));
  }
  return found;
}

/** Makes the footer vouch for the index as it is now. */
function sealIndex(bytes: Buffer, members: readonly Member[]): void {
  const index = members.filter(({ kind }) => kind === "WI");
  const data = Buffer.concat(index.map(({ dataStart, dataEnd }) => bytes.subarray(dataStart, dataEnd)));
  const footer = members[members.length - 1];
  bytes.writeUInt32LE(crc32(data), footer.dataStart + 16);
  sealMember(bytes, footer.start, footer.length);
}

describe("a damaged segment", () => {
  /** All rows by way of the index, and all by walking. */
  async function readAll(store: TestStore, bytes: Buffer, key: string): Promise<Row[][]> {
    await store.objects.put(key, [bytes]);
    const fresh = await TestStore.open(store.objects);
    const index = await fresh.reader.index({ key });
    const byIndex: Row[] = [];
    for (const info of index.blocks) byIndex.push(...rowsOf(await fresh.reader.openBlock({ key }, info)));
    const byWalk: Row[] = [];
    for (const part of walkSegment(bytes, key)) if (part.kind === "block") byWalk.push(...rowsOf(part.block));
    return [byIndex, byWalk];
  }

  const error = expect.objectContaining({
    code: expect.stringMatching(/^(segment_corrupt|block_corrupt|object_range)$/),
  });

  test("cut at any length gives a named error, never fewer lines", async () => {
    const { store, bytes, key } = await segmentOf(drawSegment(new Random(SEED), 3, 30));
    await expect(readAll(store, bytes, key)).resolves.toHaveLength(2);
    for (let length = 0; length < bytes.length; length += length < 300 || length > bytes.length - 300 ? 1 : 13) {
      const cut = bytes.subarray(0, length);
      await expect(readAll(store, cut, key), `cut at ${length}, seed ${SEED}`).rejects.toEqual(error);
      // An empty file has no member, so a walk sees nothing wrong; the index does.
      if (length > 0) expect(() => [...walkSegment(cut, key)], `cut at ${length}`).toThrow(error);
    }
  });

  test("with any byte changed gives a named error or the right lines", async () => {
    const random = new Random(SEED);
    const { store, bytes, key } = await segmentOf(drawSegment(random, 3, 30));
    const want = (await readAll(store, bytes, key))[0];
    let errors = 0;
    for (let at = 0; at < bytes.length; at += 1 + random.below(3)) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << random.below(8);
      try {
        for (const rows of await readAll(store, damaged, key)) expect(rows, `byte ${at}, seed ${SEED}`).toEqual(want);
      } catch (caught) {
        expect(caught, `byte ${at}, seed ${SEED}`).toEqual(error);
        expect(String(caught)).toContain(key);
        errors++;
      }
    }
    expect(errors).toBeGreaterThan(bytes.length / 4);
  });

  test("with any byte changed under checks that hold, as an enemy would, gives a named error or some lines", async () => {
    const random = new Random(SEED);
    const { store, bytes, key } = await segmentOf(drawSegment(random, 3, 30));
    const members = membersOf(bytes);
    let errors = 0;
    for (let i = 0; i < FORGED; i++) {
      const forged = Buffer.from(bytes);
      const { kind, start, dataStart, dataEnd } = members[random.below(members.length)];
      const place = dataStart + random.below(dataEnd - dataStart);
      // A bit, or the most that a number may say.
      if (random.chance(0.5)) forged[place] ^= 1 << random.below(8);
      else forged.fill(0xff, place, Math.min(dataEnd, place + 1 + random.below(8)));
      sealMember(forged, start, forged.readUInt32LE(start + 20));
      if (kind === "WI") sealIndex(forged, members);
      const where = `${kind}, byte ${place}, number ${i}, seed ${SEED}`;
      for (const read of [readAll, readPacked]) {
        try {
          await read(store, forged, key);
        } catch (caught) {
          expect(caught, where).toEqual(error);
          errors++;
        }
      }
    }
    expect(errors).toBeGreaterThan(FORGED / 4);
  });

  test("with a forged number of rows is refused before anything is made for them", async () => {
    const { bytes, key } = await segmentOf(drawSegment(new Random(SEED), 1, 30));
    const block = membersOf(bytes).find(({ kind }) => kind === "WB");
    if (block === undefined) throw new Error("a segment without a block");
    // Text and rows stand at the beginning of its data.
    bytes.fill(0xff, block.dataStart, block.dataStart + 8);
    sealMember(bytes, block.start, block.length);
    expect(() => [...walkSegment(bytes, key)].map((part) => part.kind === "block" && part.block.sec)).toThrow(error);
  });

  async function readPacked(store: TestStore, bytes: Buffer, key: string): Promise<void> {
    await store.objects.put(key, [bytes]);
    await readPackedIndex(store.objects, key, async () => {});
  }

  test.each([
    { name: "an empty object", bytes: Buffer.alloc(0), message: /segment, cut: got 0, want at least 126 bytes/ },
    {
      name: "another gzip file",
      bytes: zlib.gzipSync(Buffer.from("x".repeat(9)), { level: 0 }),
      message: /segment, cut/,
    },
    {
      name: "a longer gzip file",
      bytes: zlib.gzipSync(Buffer.alloc(9000), { level: 0 }),
      message: /gzip header: got [0-9a-f]+, want 1f8b08040+ff/,
    },
    { name: "text", bytes: Buffer.from("hello world\n".repeat(50)), message: /gzip header: got/ },
  ])("that is $name is refused with what was found and where", async ({ bytes, message }) => {
    const store = await TestStore.open(new MemoryStore());
    await store.objects.put("some/key.gz", [bytes]);
    await expect(store.reader.index({ key: "some/key.gz" })).rejects.toMatchObject({
      code: "segment_corrupt",
      message,
    });
    await expect(store.reader.index({ key: "some/key.gz" })).rejects.toThrow(/at byte \d+ of some\/key\.gz/);
    if (bytes.length > 0) expect(() => [...walkSegment(bytes, "k")]).toThrow(/of k$/);
  });
});

describe("walking", () => {
  test("a file and its bytes give the same parts, which cover every byte", async () => {
    const { store, bytes, key } = await segmentOf(drawSegment(new Random(SEED), 5, 800), { block_bytes: 4096 });
    const folder = mkdtempSync(path.join(tmpdir(), "weir-walk-"));
    try {
      const file = path.join(folder, "s.gz");
      writeFileSync(file, bytes);
      const walked = [...walkSegment(bytes, file)];
      let at = 0;
      let i = 0;
      for await (const part of walkSegmentFile(file)) {
        expect(part.offset).toBe(at);
        expect(part.kind).toBe(walked[i++].kind);
        if (part.kind === "block") at += part.block.length;
        else if (part.kind === "index") at += part.length;
        else at += FOOTER_BYTES;
      }
      expect(at).toBe(bytes.length);
      const { blocks } = await store.reader.index({ key });
      const found = walked.flatMap((part) => (part.kind === "block" ? [part] : []));
      expect(found.map(({ offset, block }) => [offset, block.length, block.rows])).toEqual(
        blocks.map(({ offset, length, rows }) => [offset, length, rows]),
      );
      writeFileSync(file, bytes.subarray(0, bytes.length - 5));
      await expect(async () => {
        for await (const _ of walkSegmentFile(file));
      }).rejects.toThrow(/member, cut/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("the index", () => {
  /** A segment of nothing but an index over one stream `{}` and one block, with such numbers in it, and a footer. */
  function forged({ streams = 1, blocks = 1, place = 0 }): Buffer {
    const varints = (...values: number[]) => {
      const out = Buffer.alloc(values.length * 10);
      return out.subarray(
        0,
        values.reduce((at, value) => writeVarint(out, at, value), 0),
      );
    };
    const tables = [
      { type: INDEX_TENANT, data: Buffer.from("fake") },
      { type: INDEX_STREAMS, data: Buffer.concat([varints(streams, 2), Buffer.from("{}")]) },
      { type: INDEX_BLOCKS, data: varints(blocks, place, 0, 0, 1, 1, 0, 0, 0, 0, 0) },
      { type: INDEX_FILTERS, data: varints(0) },
    ];
    const index = Buffer.concat(tables.flatMap((table) => indexSection({ ...table, deflate: false })));
    const members = emptyMembers("WI", index);
    const indexBytes = members.reduce((sum, { length }) => sum + length, 0);
    const times = { minSec: 0, minNsec: 0, maxSec: 0, maxNsec: 0 };
    const covers = { partition: 0, firstOffset: 0, nextOffset: 1 };
    const totals = { lines: 1, textBytes: 1, streams, blocks };
    return Buffer.concat([
      ...members,
      encodeFooter({ indexAt: 0, indexBytes, check: crc32(index), ...covers, ...totals, ...times }),
    ]);
  }

  test.each([
    { name: "as it should be", numbers: {}, error: null },
    { name: "with a block of a stream that it has not", numbers: { place: 1 }, error: /index, stream: got 1, want/ },
    { name: "with more streams than it has bytes", numbers: { streams: 2 ** 32 - 1 }, error: /index, streams/ },
    { name: "with more blocks than it has bytes", numbers: { blocks: 2 ** 32 - 1 }, error: /index, blocks/ },
  ])("forged, $name, is read or refused as soon as it is read", async ({ numbers, error }) => {
    const store = await TestStore.open(new MemoryStore());
    const bytes = forged(numbers);
    await store.objects.put("forged.gz", [bytes]);
    for (const read of [
      () => store.reader.index({ key: "forged.gz" }),
      () => readPackedIndex(store.objects, "forged.gz", async () => {}),
    ]) {
      if (error === null) await expect(read()).resolves.toMatchObject({ tenant: "fake" });
      else await expect(read()).rejects.toMatchObject({ code: "segment_corrupt", message: error });
    }
  });

  test("says which blocks may hold an id as the blocks themselves do", async () => {
    const random = new Random(SEED);
    const lines = drawSegment(random, 6, 1500);
    const { store, key } = await segmentOf(lines, { block_bytes: 4096 });
    const index = await store.reader.index({ key });
    let skipped = 0;
    for (const [i, info] of index.blocks.entries()) {
      const block = await store.reader.openBlock({ key }, info);
      expect(block.timeMinNs).toBe(info.timeMinNs);
      expect(block.timeMaxNs).toBe(info.timeMaxNs);
      for (const line of lines.slice(0, 150)) {
        for (const [slot, id] of line.ids.entries()) {
          if (id === null) continue;
          const low8 = id.id.subarray(-8);
          const rows = block.rowsWithId(slot, low8);
          if (rows.length > 0) expect(index.mayHoldId(i, slot, low8), `seed ${SEED}`).toBe(true);
          if (!index.mayHoldId(i, slot, low8)) skipped++;
        }
      }
    }
    expect(index.tenant).toBe("fake");
    if (lines.some(({ ids }) => ids[0] !== null)) expect(skipped).toBeGreaterThan(0);
  });

  test("of thousands of streams takes several members and is read in two requests", async () => {
    const lines = Array.from({ length: 6000 }, (_, i) =>
      testLine(`${i}`, {
        labels: { app: `${(i * 7919) % 10_007}-${i}` },
        ids: [{ id: Buffer.alloc(16, `${i}x`), at: -1 }, null, null, null],
      }),
    );
    const { store, bytes, key } = await segmentOf(lines);
    const parts = [...walkSegment(bytes, key)];
    expect(parts.filter(({ kind }) => kind === "index").length).toBeGreaterThan(1);
    const ranges: number[] = [];
    const objects = Object.create(store.objects) as MemoryStore;
    objects.getRange = (k, start, length) => {
      ranges.push(length);
      return store.objects.getRange(k, start, length);
    };
    const other = await TestStore.open(objects);
    const index = await other.reader.index({ key });
    expect(index.streams).toHaveLength(6000);
    expect(index.blocks).toHaveLength(6000);
    expect(ranges.length).toBeLessThanOrEqual(1);
  }, 600_000);
});
