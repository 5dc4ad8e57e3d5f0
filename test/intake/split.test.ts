import { gzipSync } from "node:zlib";
import { ExtData, encode } from "@msgpack/msgpack";
import { describe, expect, test } from "vitest";
import { PushBatchCursor, PushBatchWriter } from "../../src/codec/push-batch.ts";
import { splitForward } from "../../src/intake/split-forward.ts";
import { keepLines, splitPush } from "../../src/intake/split-push.ts";
import { eventsOf } from "../forward/events.ts";
import { Random } from "../random.ts";

const random = new Random();

const pack = (value: unknown) => Buffer.from(encode(value, { useBigInt64: true }));

function eventTime(sec: number, nsec: number): ExtData {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(sec >>> 0, 0);
  bytes.writeUInt32BE(nsec, 4);
  return new ExtData(0, bytes);
}

const text = (bytesMax: number) => "x".repeat(random.below(bytesMax)) + random.below(1e9);

/** Entries as agents write them: with and without metadata, in groups and outside, times of every sort. */
function randomEntries(count: number): { entries: unknown[]; largest: number } {
  const entries: unknown[] = [];
  let inGroup = false;
  let group = 0;
  for (let i = 0; i < count; i++) {
    if (random.below(12) === 0) {
      if (inGroup && random.below(2) === 0) {
        entries.push([[eventTime(0xfffffffe, 0), {}], {}]);
        inGroup = false;
      } else {
        entries.push([[eventTime(0xffffffff, 0), { resource: random.below(5) }], { attributes: text(60) }]);
        inGroup = true;
      }
    }
    const record = { log: text(300), n: i };
    const time = random.pick([eventTime(1_700_000_000 + i, i), 1_700_000_000 + i, 1_700_000_000.5]);
    entries.push(
      random.below(2) === 0 ? [time, record] : [[time, random.below(2) === 0 ? {} : { m: text(20) }], record],
    );
  }
  if (inGroup) group = pack(entries.find((one) => JSON.stringify(one).includes("attributes")) ?? {}).length;
  return { entries, largest: Math.max(...entries.map((one) => pack(one).length)) + group + 400 };
}

function messageOf(entries: readonly unknown[], mode: "forward" | "packed" | "compressed"): Buffer {
  const tag = random.pick(["t", "kube.var.log.containers.x", "tag with \u00e4", "t".repeat(60)]);
  const options = random.pick([undefined, { chunk: "c1", size: entries.length }]);
  const packed = Buffer.concat(entries.map((entry) => pack(entry)));
  const body = mode === "forward" ? entries : mode === "packed" ? packed : gzipSync(packed);
  const given = mode === "compressed" ? { ...options, compressed: "gzip" } : options;
  return pack(given === undefined ? [tag, body] : [tag, body, given]);
}

describe("a forward message split in parts", () => {
  test("has the same events in the same order, each part within its limit", () => {
    for (let round = 0; round < 40; round++) {
      const { entries, largest } = randomEntries(1 + random.below(60));
      const payload = messageOf(entries, random.pick(["forward", "packed", "compressed"] as const));
      const bytesMax = largest + 100 + random.below(random.pick([10, 1000, 10_000]));
      const parts = splitForward(payload, bytesMax);
      for (const part of parts) expect(part.length).toBeLessThanOrEqual(bytesMax);
      expect(parts.flatMap((part) => eventsOf(part))).toEqual(eventsOf(payload));
      // As full as can be: no part could have taken the one after it.
      for (let i = 1; i < parts.length; i++)
        expect(parts[i - 1].length + parts[i].length).toBeGreaterThan(bytesMax - 600);
      // A chunk that is sent again becomes the same parts.
      expect(splitForward(payload, bytesMax)).toEqual(parts);
    }
  });

  test.each([
    { name: "a single event in message mode", payload: pack(["t", 1_700_000_000, { log: "x".repeat(2000) }]) },
    {
      name: "one large event among small ones",
      payload: pack([
        "t",
        [
          [1, { a: 1 }],
          [2, { a: "x".repeat(2000) }],
        ],
      ]),
    },
  ])("refuses $name", ({ payload }) => {
    expect(() => splitForward(payload, 1500)).toThrow(expect.objectContaining({ code: "intake_entry_too_large" }));
  });
});

interface PlainLine {
  readonly stream: string;
  readonly sec: number;
  readonly nsec: number;
  readonly metadata: string;
  readonly line: string;
  readonly id: string;
}

function linesOf(payload: Buffer, ids: Buffer): PlainLine[] {
  const cursor = new PushBatchCursor(payload);
  const lines: PlainLine[] = [];
  while (cursor.next()) {
    lines.push({
      stream: payload.toString("utf8", cursor.streamStart, cursor.streamEnd),
      sec: cursor.sec,
      nsec: cursor.nsec,
      metadata: payload.toString("hex", cursor.metadataStart, cursor.metadataEnd),
      line: payload.toString("utf8", cursor.lineStart, cursor.lineEnd),
      id: ids.toString("hex", lines.length * 16, (lines.length + 1) * 16),
    });
  }
  return lines;
}

function randomPush(): { payload: Buffer; ids: Buffer } {
  const writer = new PushBatchWriter(100);
  const ids: Buffer[] = [];
  for (let stream = 0; stream <= random.below(8); stream++) {
    writer.stream(JSON.stringify({ app: `a${stream}`, long: "l".repeat(random.below(40)) }));
    for (let line = 0; line < random.below(40); line++) {
      writer.line(
        1_700_000_000 + line,
        line,
        pack(random.below(2) === 0 ? {} : { k: text(30) }),
        Buffer.from(text(200)),
      );
      ids.push(Buffer.from(Array.from({ length: 16 }, () => random.below(256))));
    }
  }
  return { payload: writer.finish(), ids: Buffer.concat(ids) };
}

describe("a push split in parts", () => {
  test("has every line once, by its stream's partition, in order, within the limit", () => {
    for (let round = 0; round < 300; round++) {
      const { payload, ids } = randomPush();
      const partitions = 1 + random.below(4);
      const partitionOf = (stream: string) => stream.charCodeAt(9) % partitions;
      const bytesMax = 700 + random.below(5000);
      const parts = splitPush(payload, ids, bytesMax, partitionOf);
      const all = linesOf(payload, ids);
      for (let partition = 0; partition < partitions; partition++) {
        const mine = parts.filter((part) => part.partition === partition);
        expect(mine.flatMap((part) => linesOf(part.payload, part.lineIds))).toEqual(
          all.filter(({ stream }) => partitionOf(stream) === partition),
        );
      }
      for (const { payload: part, lineIds, stream } of parts) {
        expect(part.length + lineIds.length + stream.length).toBeLessThanOrEqual(bytesMax);
        expect(linesOf(part, lineIds)[0].stream).toBe(stream);
      }
    }
  });

  test("has the tag that pipelines are chosen by in each part, and in what is kept of one", () => {
    const writer = new PushBatchWriter(100);
    writer.tag("kafka.otlp");
    for (const stream of ['{"a":"1"}', '{"a":"2"}']) {
      writer.stream(stream);
      for (let i = 0; i < 5; i++) writer.line(1, i, pack({}), Buffer.alloc(300, "x"));
    }
    const payload = writer.finish();
    const parts = splitPush(payload, Buffer.alloc(160), 800, (stream) => Number(stream.at(-3)));
    expect(parts.length).toBeGreaterThan(4);
    const tags = parts.map((part) => new PushBatchCursor(part.payload).tag);
    expect(new Set(tags)).toEqual(new Set(["kafka.otlp"]));
    for (const { payload: part, lineIds } of parts) expect(part.length + lineIds.length).toBeLessThanOrEqual(800);
    expect(new PushBatchCursor(keepLines(payload, new Uint8Array(10).fill(1))).tag).toBe("kafka.otlp");
  });

  test("refuses a single line that is too large", () => {
    const writer = new PushBatchWriter(100);
    writer.stream("{}");
    writer.line(1, 2, pack({}), Buffer.alloc(3000, "x"));
    expect(() => splitPush(writer.finish(), Buffer.alloc(16), 2000, () => 0)).toThrow(
      expect.objectContaining({ code: "intake_entry_too_large" }),
    );
  });

  test("keeps the lines that are new, and none else", () => {
    for (let round = 0; round < 100; round++) {
      const { payload, ids } = randomPush();
      const all = linesOf(payload, ids);
      const isNew = Uint8Array.from(all, () => random.below(2));
      const kept = linesOf(keepLines(payload, isNew), Buffer.alloc(0)).map(({ id: _, ...line }) => line);
      expect(kept).toEqual(all.filter((_, i) => isNew[i] === 1).map(({ id: _, ...line }) => line));
    }
  });
});
