import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { decodeMulti } from "@msgpack/msgpack";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type LineChunk, LineChunker, openSource } from "../../src/cli/line-chunks.ts";

const START_MS = 1_714_554_000_123;

async function chunksOf(pieces: readonly Buffer[], { live = false, chunker = new LineChunker(() => START_MS) } = {}) {
  const chunks: LineChunk[] = [];
  const stream = Readable.from(pieces, { objectMode: true });
  for await (const chunk of chunker.chunksOf({ name: "x", stream, progress: null, live })) chunks.push(chunk);
  return chunks;
}

interface Event {
  line: Buffer;
  ns: bigint;
}

/** Reads entries by hand, because a str that is not UTF-8 has to come back as bytes. */
function eventsOf({ entries }: LineChunk): Event[] {
  const events: Event[] = [];
  let at = 0;
  while (at < entries.length) {
    expect(entries.subarray(at, at + 3).toString("hex")).toBe("92d700");
    const ns = BigInt(entries.readUInt32BE(at + 3)) * 1_000_000_000n + BigInt(entries.readUInt32BE(at + 7));
    expect(entries.subarray(at + 11, at + 16).toString("hex")).toBe("81a36c6f67");
    at += 16;
    const c = entries[at] ?? 0;
    const [head, length] =
      c < 0xc0
        ? [1, c & 0x1f]
        : c === 0xd9
          ? [2, entries.readUInt8(at + 1)]
          : c === 0xda
            ? [3, entries.readUInt16BE(at + 1)]
            : [5, entries.readUInt32BE(at + 1)];
    events.push({ ns, line: entries.subarray(at + head, at + head + length) });
    at += head + length;
  }
  return events;
}

const linesOf = (chunks: LineChunk[]): string[] =>
  chunks.flatMap((c) => eventsOf(c).map(({ line }) => line.toString("latin1")));

describe("LineChunker", () => {
  test.each([
    { name: "the last line needs no newline", text: "a\nb", lines: ["a", "b"] },
    { name: "a newline at the end begins no line", text: "a\nb\n", lines: ["a", "b"] },
    { name: "empty lines count", text: "\n\na\n\n", lines: ["", "", "a", ""] },
    { name: "a CR is part of the line", text: "a\r\nb\r", lines: ["a\r", "b\r"] },
    { name: "bytes that are not UTF-8, and NUL", text: "\xff\xfe\x00\n\x80", lines: ["\xff\xfe\x00", "\x80"] },
    { name: "nothing", text: "", lines: [] },
  ])("$name", async ({ text, lines }) => {
    expect(linesOf(await chunksOf(text === "" ? [] : [Buffer.from(text, "latin1")]))).toEqual(lines);
  });

  test("any bytes in any pieces come back as the lines that they are", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        fc.boolean(),
        async (parts, cuts, live) => {
          // Bytes below 24 become newlines, so that there are lines of all lengths.
          const all = Buffer.concat(parts).map((byte) => (byte < 24 ? 0x0a : byte)) as Buffer;
          const pieces: Buffer[] = [];
          for (let at = 0, i = 0; at < all.length; i++) {
            const end = at + (cuts[i % cuts.length] ?? 1);
            pieces.push(Buffer.from(all.subarray(at, end)));
            at = end;
          }
          const want = Buffer.from(all).toString("latin1").split("\n");
          if (want.at(-1) === "") want.pop();
          const chunks = await chunksOf(pieces, { live });
          expect(linesOf(chunks)).toEqual(want);
          expect(chunks.reduce((sum, { lines }) => sum + lines, 0)).toBe(want.length);
          expect(chunks.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(want.join("").length);
        },
      ),
    );
  });

  test("an independent decoder reads the entries", async () => {
    const [chunk] = await chunksOf([Buffer.from(`short\n${"m".repeat(200)}\n${"l".repeat(70_000)}\n`)]);
    const decoded = [...decodeMulti(chunk?.entries ?? Buffer.alloc(0))];
    expect(decoded.map((entry) => (entry as [unknown, { log: string }])[1].log.length)).toEqual([5, 200, 70_000]);
  });

  test("times are the clock's, each later than the one before, over a full second too", async () => {
    let ms = START_MS;
    const chunker = new LineChunker(() => ms);
    const first = await chunksOf([Buffer.from("a\nb\n")], { chunker });
    ms += 5000;
    const later = await chunksOf([Buffer.from("c\n")], { chunker });
    ms -= 10_000; // A clock that is set back does not turn the lines round.
    const back = await chunksOf([Buffer.from("d\n")], { chunker });
    expect([...first, ...later, ...back].flatMap(eventsOf).map(({ ns }) => ns - BigInt(START_MS) * 1_000_000n)).toEqual(
      [0n, 1n, 5_000_000_000n, 5_000_000_001n],
    );
  });

  test("a chunk is closed at half a MiB; a longer line is a chunk of its own", async () => {
    const line = `${"x".repeat(100_000)}\n`;
    const chunks = await chunksOf([Buffer.from(line.repeat(12)), Buffer.from(`${"y".repeat(2_000_000)}\nz\n`)]);
    expect(chunks.map(({ lines }) => lines)).toEqual([5, 5, 2, 1, 1]);
    for (const { entries } of chunks.slice(0, 3)) expect(entries.length).toBeLessThanOrEqual(512 * 1024);
  });

  test("a chunk has no more lines than it may", async () => {
    const chunks = await chunksOf([Buffer.from("a\nb\nc\nd\ne")], { chunker: new LineChunker(() => START_MS, 2) });
    expect(chunks.map(({ lines }) => lines)).toEqual([2, 2, 1]);
  });

  test("ids differ within a run and between runs", async () => {
    const text = [Buffer.from(`${"x".repeat(400_000)}\n`.repeat(3))];
    const ids = [...(await chunksOf(text)), ...(await chunksOf(text))].map(({ id }) => id);
    expect(new Set(ids).size).toBe(6);
  });

  test("what comes live is not kept back", async () => {
    expect(
      (await chunksOf([Buffer.from("a\nb\nc"), Buffer.from("d\n"), Buffer.from("e")], { live: true })).map(
        (c) => c.lines,
      ),
    ).toEqual([2, 1, 1]);
  });

  test("a line without an end is refused, with its number", async () => {
    const pieces = [Buffer.from("a\nb\n"), ...Array.from({ length: 17 }, () => Buffer.alloc(1 << 20, 0x61))];
    await expect(chunksOf(pieces)).rejects.toThrow("x:3: no newline within 16777216 bytes; is this a file of lines?");
  });
});

describe("openSource", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-send-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function linesIn(name: string): Promise<string[]> {
    const chunks: LineChunk[] = [];
    for await (const chunk of new LineChunker(Date.now).chunksOf(openSource(join(folder, name)))) chunks.push(chunk);
    return linesOf(chunks);
  }

  test("a .gz file of several members is inflated", async () => {
    await writeFile(join(folder, "a.gz"), Buffer.concat([gzipSync("one\ntw"), gzipSync("o\n")]));
    expect(await linesIn("a.gz")).toEqual(["one", "two"]);
  });

  test("a .gz file that is none, or is cut", async () => {
    await writeFile(join(folder, "b.gz"), "plain");
    await writeFile(join(folder, "c.gz"), gzipSync("one\ntwo\n").subarray(0, 20));
    await expect(linesIn("b.gz")).rejects.toThrow(/^cannot read .*b\.gz: incorrect header check$/);
    await expect(linesIn("c.gz")).rejects.toThrow(/^cannot read .*c\.gz: unexpected end of file$/);
  });

  test("a file that is not there", async () => {
    await expect(linesIn("none.log")).rejects.toThrow(/^cannot read .*none\.log: ENOENT/);
    await expect(linesIn("none.gz")).rejects.toThrow(/^cannot read .*none\.gz: ENOENT/);
  });
});
