import zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { crc32 } from "../../src/codec/crc32.ts";
import { WeirError } from "../../src/core/errors.ts";
import { ID_SLOTS, Line } from "../../src/core/line.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { readPackedIndex } from "../../src/store/compact/packed-index.ts";
import { RowSource, SharedSetTable } from "../../src/store/compact/row-source.ts";
import { FOOTER_BYTES, parseFooter } from "../../src/store/footer.ts";
import { emptyMembers, MEMBER_HEADER_BYTES, sealMember } from "../../src/store/member.ts";
import { SegmentReader } from "../../src/store/reader.ts";
import { joinIndex } from "../../src/store/segment.ts";
import { walkSegment } from "../../src/store/walk.ts";
import { Random, SEED } from "../random.ts";
import { drawFlushes, putFlush } from "./compact-support.ts";
import { drawHabit, drawLine } from "./random-lines.ts";
import { openBlock, rowsOf, sealBlock, testLine } from "./support.ts";

/** Damaged bytes that are looked at are ten times as many. */
const ROUNDS = Number(process.env.ROUNDS ?? 15);
/** What a look at a block of some KB may take. */
const MEMORY_MAX = 200e6;

/** Bytes that make other numbers of varints and lengths. */
const NUMBERS = [0, 1, 0x7f, 0x80, 0xff];
function mutate(random: Random, bytes: Buffer, from: number, to: number): void {
  for (let times = 1 + random.below(3); times > 0; times--) {
    const at = from + random.below(to - from);
    const way = random.below(4);
    if (way === 0) bytes[at] ^= 1 << random.below(8);
    else if (way === 1) bytes[at] = random.pick(NUMBERS);
    else if (way === 2) bytes[at] = random.below(256);
    else for (let i = at; i < Math.min(to, at + 4); i++) bytes[i] = random.pick([0, 0xff, random.below(256)]);
  }
}

/** Every way to read a block; each may find something wrong, and must say so. */
function readBlock(bytes: Buffer): void {
  orCorrupt(() => {
    const view = parseBlock(bytes, { key: "some/key", offset: 1000 });
    const ways: (() => unknown)[] = [
      () => rowsOf(view),
      () => view.metadataCodes(null)?.pairs(0),
      () => view.metadataCodes(new Set(["pod", "detected_level"])),
      () => Array.from({ length: ID_SLOTS }, (_, slot) => view.rowsWithId(slot, Buffer.alloc(8, 1))),
      () => view.walkTimes()?.passTo(1e12),
      () => [view.tenant, view.labels, view.ids, view.timeMinNs, view.timeMaxNs],
      () => {
        const source = new RowSource(view, new SharedSetTable());
        const line = new Line();
        for (let row = 0; row < view.rows; row++) source.fill(line, row);
      },
    ];
    for (const way of ways) orCorrupt(way);
  });
}

/** Whatever happens is an answer, or an error that names object and byte; and it takes no memory to speak of. */
function orCorrupt(work: () => unknown): void {
  const before = process.memoryUsage().arrayBuffers;
  try {
    work();
  } catch (error) {
    checkError(error);
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MEMORY_MAX);
}

function checkError(error: unknown): void {
  if (!(error instanceof WeirError) || !/^(block|segment)_corrupt$/.test(error.code)) throw error;
  expect(error.message).toMatch(/, at byte \d+ of \S/);
}

/** Changes the data of some of a block's members, and makes their checks hold. */
function damagedBlock(random: Random, good: Buffer): Buffer {
  const bytes = Buffer.from(good);
  for (let at = 0; at < bytes.length; ) {
    const end = at + 12 + bytes.readUInt16LE(at + 10);
    const length = bytes.readUInt32LE(at + 20);
    if (random.chance(0.7)) {
      mutate(random, bytes, at + MEMBER_HEADER_BYTES, end);
      sealMember(bytes, at, length);
    }
    at += length;
  }
  return bytes;
}

/** Changes sections of an index, before they are deflated, and perhaps what stands around them. */
function damagedIndex(random: Random, index: Buffer): Buffer {
  if (random.chance(0.3)) {
    const out = Buffer.from(index);
    mutate(random, out, 0, out.length);
    return out;
  }
  const sections: Buffer[] = [];
  for (let at = 0; at < index.length; ) {
    const head = Buffer.from(index.subarray(at, at + 6));
    let data = Buffer.from(index.subarray(at + 6, at + 6 + head.readUInt32LE(2)));
    at += 6 + data.length;
    if (head[1] === 1) {
      const raw = zlib.inflateRawSync(data.subarray(4));
      if (random.chance(0.5)) mutate(random, raw, 0, raw.length);
      const length = Buffer.from(data.subarray(0, 4));
      if (random.chance(0.1)) length.writeUInt32LE(random.pick([0, 1, 0xfffffff, 0xffffffff]));
      data = Buffer.concat([length, zlib.deflateRawSync(raw)]);
    } else if (random.chance(0.5) && data.length > 0) mutate(random, data, 0, data.length);
    head.writeUInt32LE(data.length, 2);
    sections.push(head, data);
  }
  return Buffer.concat(sections);
}

/** A footer for another index, with changes of its own perhaps. */
function damagedFooter(random: Random, good: Buffer, indexAt: number, indexBytes: number, index: Buffer): Buffer {
  const out = Buffer.from(good);
  if (random.chance(0.3)) mutate(random, out, MEMBER_HEADER_BYTES, FOOTER_BYTES - 10);
  if (random.chance(0.9)) out.writeBigUInt64LE(BigInt(indexAt), MEMBER_HEADER_BYTES);
  if (random.chance(0.9)) out.writeBigUInt64LE(BigInt(indexBytes), MEMBER_HEADER_BYTES + 8);
  out.writeUInt32LE(crc32(index), MEMBER_HEADER_BYTES + 16);
  sealMember(out, 0, FOOTER_BYTES);
  return out;
}

/** A block with features of all kinds. */
function drawBlock(random: Random): Buffer {
  const habit = { ...drawHabit(random), newlines: random.chance(0.5), extras: 3 };
  const lines = Array.from({ length: 1 + random.below(40) }, (_, i) => drawLine(random, habit, { app: "x" }, "t", i));
  const extra: [string, string][] = [
    ["big", "x".repeat(70_000)],
    ["trace_id_alt", "a".repeat(32)],
  ];
  if (random.chance(0.2)) lines[0] = testLine("x", { ...lines[0], extra });
  return sealBlock(openBlock(lines).block, lines[0]);
}

describe("bytes that are wrong under checks that hold", () => {
  test("of blocks", { timeout: 600_000 }, () => {
    const random = new Random(SEED);
    for (let round = 0; round < ROUNDS; round++) {
      const good = drawBlock(random);
      for (let n = 0; n < 10; n++) {
        const bytes = damagedBlock(random, good);
        try {
          readBlock(bytes);
        } catch (error) {
          throw new Error(`WEIR_TEST_SEED=${SEED} round ${round}.${n}`, { cause: error });
        }
      }
    }
  });

  test("of a block that says nothing of times, and has as many rows as there can be", () => {
    const line = testLine("x");
    const good = sealBlock(openBlock([line]).block, line);
    const times = good.indexOf(Buffer.from("020100000003", "hex"));
    expect(times).toBeGreaterThan(0);
    good[times] = 99;
    for (const at of [0, 4]) good.writeUInt32LE(0xffff_fff0, MEMBER_HEADER_BYTES + at);
    sealMember(good, 0, good.length);
    readBlock(good);
    expect(() => parseBlock(good)).toThrow(/^times section: got none/);
  });

  test("of indexes and footers", { timeout: 600_000 }, async () => {
    const random = new Random(SEED + 1);
    for (let round = 0; round < ROUNDS / 4; round++) {
      const objects = new MemoryStore();
      const [lines] = drawFlushes(random, 1, 200);
      const { key } = await putFlush(objects, lines, 0, 5, 4096);
      const good = await objects.get(key);
      const { indexAt, ...footer } = parseFooter(good, { key, offset: 0 });
      const members = good.subarray(indexAt, good.length - FOOTER_BYTES);
      const index = joinIndex(members, { indexAt, ...footer }, { key, offset: indexAt });
      for (let n = 0; n < 40; n++) {
        const changed = damagedIndex(random, index);
        const around = Buffer.concat(emptyMembers("WI", changed));
        const tail = damagedFooter(random, good.subarray(-FOOTER_BYTES), indexAt, around.length, changed);
        const bytes = Buffer.concat([good.subarray(0, indexAt), around, tail]);
        await objects.put(key, [bytes]);
        const ways = [
          async () => {
            const { index: read } = await new SegmentReader(objects, { cacheBytes: 0 }).inspect(key);
            read.blocks.forEach((_, i) => {
              read.mayHoldId(i, 0, Buffer.alloc(8, 1));
            });
          },
          () => readPackedIndex(objects, key, async () => {}),
          async () => [...walkSegment(bytes, key)],
        ];
        const before = process.memoryUsage().arrayBuffers;
        for (const way of ways) {
          try {
            await way().catch(checkError);
          } catch (error) {
            throw new Error(`WEIR_TEST_SEED=${SEED + 1} round ${round}.${n}`, { cause: error });
          }
        }
        expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MEMORY_MAX);
      }
    }
  });
});
