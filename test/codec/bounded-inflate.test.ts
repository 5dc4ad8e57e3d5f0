import { readFileSync } from "node:fs";
import path from "node:path";
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, test, vi } from "vitest";
import {
  type Compression,
  inflateBounded,
  inflateBoundedSync,
  inflateInPool,
} from "../../src/codec/bounded-inflate.ts";
import { Xxh64 } from "../../src/codec/xxh64.ts";
import { WeirError } from "../../src/core/errors.ts";
import { Random } from "../random.ts";

const MIB = 1 << 20;

/** What test/fixtures/zstd/make.sh compresses. */
const LINES = Buffer.from(
  Array.from(
    { length: 6000 },
    (_, i) => `${i} GET /item/${(i * 7919) % 10007} ${200 + (i % 5)} ${(i * i) % 8191} ms\n`,
  ).join(""),
);

function zst(name: string): Buffer {
  return readFileSync(path.resolve(import.meta.dirname, "../fixtures/zstd", `${name}.zst`));
}

/** Both ways must agree: the one that rejects and the one that throws. */
async function inflate(bytes: Buffer, compression: Compression, limit = 64 * MIB): Promise<Buffer | WeirError> {
  const attempt = async (run: () => Buffer | Promise<Buffer>): Promise<Buffer | WeirError> => {
    try {
      return await run();
    } catch (error) {
      if (error instanceof WeirError) return error;
      throw error;
    }
  };
  const slow = await attempt(() => inflateBounded(bytes, compression, limit));
  const fast = await attempt(() => inflateBoundedSync(bytes, compression, limit));
  if (slow instanceof WeirError || fast instanceof WeirError) {
    expect(fast).toEqual(slow);
    return slow;
  }
  expect(fast.equals(slow)).toBe(true);
  return slow;
}

async function reasonOf(bytes: Buffer, compression: Compression, limit?: number): Promise<unknown> {
  const result = await inflate(bytes, compression, limit);
  return result instanceof WeirError ? [result.code, result.context.reason] : `${result.length} bytes`;
}

describe("gzip", () => {
  const members = [LINES.subarray(0, 10), LINES.subarray(10, 90_000), LINES.subarray(90_000)];
  test.each([
    { name: "one member", bytes: gzipSync(LINES), gives: LINES },
    { name: "three members", bytes: Buffer.concat(members.map((part) => gzipSync(part))), gives: LINES },
    { name: "an empty member", bytes: gzipSync(Buffer.alloc(0)), gives: Buffer.alloc(0) },
    {
      name: "empty members between",
      bytes: Buffer.concat([gzipSync(""), gzipSync("a"), gzipSync("")]),
      gives: Buffer.from("a"),
    },
    {
      name: "more than one piece of output",
      bytes: gzipSync(Buffer.alloc(9 * MIB, "ab")),
      gives: Buffer.alloc(9 * MIB, "ab"),
    },
  ])("$name", async ({ bytes, gives }) => {
    const result = await inflate(bytes, "gzip");
    expect(result instanceof WeirError ? result : result.equals(gives)).toBe(true);
  });

  test("the limit is the most that comes out, with one member and with many", async () => {
    for (const bytes of [gzipSync(LINES), Buffer.concat(members.map((part) => gzipSync(part)))]) {
      expect(await reasonOf(bytes, "gzip", LINES.length)).toBe(`${LINES.length} bytes`);
      expect(await reasonOf(bytes, "gzip", LINES.length - 1)).toEqual(["bad_message", "inflated_too_long"]);
    }
  });

  test("a lie about the size changes nothing", async () => {
    for (const claim of [0, 1, 1000, 0xffffffff]) {
      const bytes = gzipSync(LINES);
      bytes.writeUInt32LE(claim, bytes.length - 4);
      // The size is part of what a member's end must match.
      expect(await reasonOf(bytes, "gzip")).toEqual(["bad_message", "inflate"]);
    }
  });

  test.each([
    { name: "nothing at all", bytes: Buffer.alloc(0) },
    { name: "something else", bytes: Buffer.from("hello, world, this is no gzip") },
    { name: "zlib's own format", bytes: deflateRawSync(LINES) },
    { name: "something else behind", bytes: Buffer.concat([gzipSync(LINES), Buffer.from("x")]) },
    { name: "half a member behind", bytes: Buffer.concat([gzipSync(LINES), gzipSync(LINES).subarray(0, 500)]) },
  ])("refuses $name", async ({ bytes }) => {
    expect(await reasonOf(bytes, "gzip")).toEqual(["bad_message", "inflate"]);
  });

  test("refuses every truncation", async () => {
    const bytes = gzipSync(LINES.subarray(0, 500));
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(await reasonOf(bytes.subarray(0, cut), "gzip")).toEqual(["bad_message", "inflate"]);
    }
  });

  test("a bomb costs the limit, not what it would become", async () => {
    // 2 GB of zeros in 2 MB, in members of 64 MB.
    const member = gzipSync(Buffer.alloc(64 * MIB));
    const bomb = Buffer.concat(Array.from({ length: 32 }, () => member));
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
    }, 2);
    await expect(inflateBounded(bomb, "gzip", 16 * MIB)).rejects.toMatchObject({
      context: { reason: "inflated_too_long" },
    });
    clearInterval(watch);
    expect(peak).toBeLessThan(64 * MIB);
  });

  test.each([
    { name: "gzip", inflate: (bytes: Buffer) => inflateBounded(gzipSync(bytes), "gzip", 16 * MIB) },
    { name: "zlib", inflate: (bytes: Buffer) => inflateInPool("zlib", deflateSync(bytes), 16 * MIB) },
    { name: "raw", inflate: (bytes: Buffer) => inflateInPool("raw", deflateRawSync(bytes), 16 * MIB) },
  ])("$name: what comes in many pieces is not put together in one go", async ({ inflate }) => {
    const text = Buffer.alloc(15 * MIB, "line after line, and each of them is another: 0123456789\n");
    const concat = vi.spyOn(Buffer, "concat");
    // Each look at the clock finds a slice over: after each piece others have a turn.
    let ms = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => (ms += 10));
    try {
      const out = await inflate(text);
      expect(out.equals(text)).toBe(true);
      const joinedAtOnce = concat.mock.calls.map(([pieces]) => pieces.reduce((sum, { length }) => sum + length, 0));
      expect(Math.max(0, ...joinedAtOnce)).toBeLessThanOrEqual(4 * MIB);
      expect(ms).toBeGreaterThan(30);
    } finally {
      concat.mockRestore();
      clock.mockRestore();
    }
  });

  test.each([
    { name: "zlib", pack: deflateSync },
    { name: "raw", pack: deflateRawSync },
  ] as const)("$name: the limit is the most that comes out, and a cut body is an error", async ({ name, pack }) => {
    const text = Buffer.alloc(MIB, "abcdefg\n");
    const packed = pack(text);
    expect((await inflateInPool(name, packed, MIB)).equals(text)).toBe(true);
    await expect(inflateInPool(name, packed, MIB - 1)).rejects.toMatchObject({ code: "ERR_BUFFER_TOO_LARGE" });
    for (let end = 0; end < packed.length; end += 37) {
      await expect(inflateInPool(name, packed.subarray(0, end), MIB)).rejects.toThrow("unexpected end of file");
    }
  });
});

describe("zstd", () => {
  test.each([
    { name: "level 1", bytes: zst("level1"), gives: LINES },
    { name: "level 19", bytes: zst("level19"), gives: LINES },
    { name: "a checksum", bytes: zst("checksum"), gives: LINES },
    { name: "no content size", bytes: zst("unsized"), gives: LINES },
    { name: "a raw block", bytes: zst("tiny"), gives: Buffer.from("tiny") },
    { name: "nothing in a frame", bytes: zst("empty"), gives: Buffer.alloc(0) },
    { name: "runs of one byte", bytes: zst("zeros"), gives: Buffer.alloc(20_000_000) },
    {
      name: "several frames",
      bytes: Buffer.concat([zst("tiny"), zst("level1"), zst("empty"), zst("tiny"), zst("checksum")]),
      gives: Buffer.concat([Buffer.from("tiny"), LINES, Buffer.from("tiny"), LINES]),
    },
    {
      name: "a skippable frame",
      bytes: Buffer.concat([
        Buffer.from("502a4d1803000000616263", "hex"),
        zst("tiny"),
        Buffer.from("5f2a4d1800000000", "hex"),
      ]),
      gives: Buffer.from("tiny"),
    },
  ])("$name", async ({ bytes, gives }) => {
    const result = await inflate(bytes, "zstd");
    expect(result instanceof WeirError ? result : result.equals(gives)).toBe(true);
  });

  test("the limit is the most that comes out", async () => {
    for (const name of ["level1", "level19", "checksum", "unsized"]) {
      expect(await reasonOf(zst(name), "zstd", LINES.length)).toBe(`${LINES.length} bytes`);
      expect(await reasonOf(zst(name), "zstd", LINES.length - 1)).toEqual(["bad_message", "inflated_too_long"]);
    }
    expect(await reasonOf(Buffer.concat([zst("tiny"), zst("tiny")]), "zstd", 7)).toEqual([
      "bad_message",
      "inflated_too_long",
    ]);
    expect(await reasonOf(zst("zeros"), "zstd", 1000)).toEqual(["bad_message", "inflated_too_long"]);
  });

  test("many bombs of a few bytes cost the limit", async () => {
    const bombs = Buffer.concat(Array.from({ length: 1000 }, () => zst("zeros")));
    const before = process.memoryUsage().arrayBuffers;
    expect(await reasonOf(bombs, "zstd", 32 * MIB)).toEqual(["bad_message", "inflated_too_long"]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(256 * MIB);
  });

  test("very many tiny frames", async () => {
    const bytes = Buffer.concat(Array.from({ length: 20_000 }, () => zst("tiny")));
    expect(await reasonOf(bytes, "zstd")).toBe("80000 bytes");
  });

  test.each([
    { name: "nothing at all", bytes: Buffer.alloc(0) },
    { name: "something else", bytes: Buffer.from("hello, world, this is no zstd") },
    { name: "a window of 128 MiB", bytes: zst("window") },
    { name: "something else behind", bytes: Buffer.concat([zst("tiny"), Buffer.from("x")]) },
    { name: "a dictionary", bytes: Buffer.from("28b52ffd21010461000074696e79", "hex") },
    { name: "a content size that is not met", bytes: Buffer.from("28b52ffd20052100007465737421".slice(0, 26), "hex") },
    { name: "a block of the reserved type", bytes: Buffer.from("28b52ffd2004270000", "hex") },
  ])("refuses $name", async ({ bytes }) => {
    expect(await reasonOf(bytes, "zstd")).toEqual(["bad_message", "inflate"]);
  });

  test("refuses every truncation", async () => {
    for (const name of ["tiny", "level1", "checksum"]) {
      const bytes = zst(name);
      const step = Math.max(1, Math.floor(bytes.length / 100));
      for (let cut = 0; cut < bytes.length; cut += step) {
        expect(await reasonOf(bytes.subarray(0, cut), "zstd")).toEqual(["bad_message", "inflate"]);
      }
    }
  });
});

describe("zstd's checksums", () => {
  test("refuses another content, wherever a bit of it or of the checksum changed", async () => {
    const tiny = Buffer.from("28b52ffd0458210000", "hex"); // Raw block of 4 bytes, last, with a checksum.
    const content = Buffer.from("weir");
    const checksum = Buffer.alloc(4);
    const hash = new Xxh64();
    hash.update(content);
    checksum.writeUInt32LE(Number(BigInt.asUintN(32, hash.digest())));
    const frame = Buffer.concat([tiny, content, checksum]);
    expect((await inflate(frame, "zstd")).toString()).toBe("weir");
    for (let bit = tiny.length * 8; bit < frame.length * 8; bit++) {
      const bytes = Buffer.from(frame);
      bytes[bit >> 3] ^= 1 << (bit & 7);
      const result = await inflate(bytes, "zstd");
      expect(result).toMatchObject({ code: "bad_message", context: { reason: "inflate" } });
      expect((result as WeirError).message).toContain("content's checksum is ");
    }
  });

  test("are looked at in every frame, and the bytes of one that is wrong count for nothing", async () => {
    const bad = Buffer.from(zst("checksum"));
    bad[bad.length - 1] ^= 1;
    for (const bytes of [bad, Buffer.concat([zst("tiny"), bad]), Buffer.concat([bad, zst("checksum")])]) {
      expect(await reasonOf(bytes, "zstd")).toEqual(["bad_message", "inflate"]);
    }
  });

  test("let no changed byte through", async () => {
    const random = new Random();
    const original = zst("checksum");
    let refused = 0;
    for (let i = 0; i < 150; i++) {
      const bytes = Buffer.from(original);
      bytes[random.below(bytes.length)] ^= 1 + random.below(255);
      const result = await inflate(bytes, "zstd", MIB);
      if (result instanceof WeirError) refused++;
      else expect(result.equals(LINES), `seed ${random.seed} round ${i}`).toBe(true);
    }
    expect(refused).toBeGreaterThan(140);
  });
});

test("changed bytes end in an error or in bytes within the limit", () => {
  const random = new Random();
  const inputs: [Compression, Buffer][] = [
    ["gzip", gzipSync(LINES.subarray(0, 3000))],
    ["zstd", zst("level1")],
    ["zstd", zst("tiny")],
    ["zstd", zst("zeros")],
  ];
  for (let i = 0; i < 800; i++) {
    const [compression, original] = random.pick(inputs);
    const bytes = Buffer.from(original);
    for (let n = random.below(4); n >= 0; n--) bytes[random.below(bytes.length)] = random.below(256);
    try {
      expect(inflateBoundedSync(bytes, compression, MIB).length).toBeLessThanOrEqual(MIB);
    } catch (error) {
      expect(error).toBeInstanceOf(WeirError);
    }
  }
});
