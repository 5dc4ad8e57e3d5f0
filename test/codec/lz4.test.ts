import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import lz4 from "lz4js";
import { describe, expect, test } from "vitest";
import { inflateBounded, inflateBoundedSync } from "../../src/codec/bounded-inflate.ts";
import { lz4Pieces } from "../../src/codec/lz4.ts";
import { Xxh32, xxh32 } from "../../src/codec/xxh32.ts";
import { messageOf, WeirError } from "../../src/core/errors.ts";
import { SEED } from "../random.ts";

const MIB = 1 << 20;

/** What test/fixtures/lz4/make.sh compresses. */
const LINES = Buffer.from(
  Array.from(
    { length: 6000 },
    (_, i) => `${i} GET /item/${(i * 7919) % 10007} ${200 + (i % 5)} ${(i * i) % 8191} ms\n`,
  ).join(""),
);

const file = (name: string): Buffer =>
  readFileSync(path.resolve(import.meta.dirname, "../fixtures/lz4", `${name}.lz4`));

/** A frame of the given blocks (with their heads), blocks of 64 KiB at most, linked or not, without checksums of content. */
function frame(blocks: readonly Buffer[], flags = 0x60): Buffer {
  const descriptor = Buffer.of(flags, 0x40);
  const sum = Buffer.of((xxh32(descriptor) >>> 8) & 0xff);
  return Buffer.concat([Buffer.from("04224d18", "hex"), descriptor, sum, ...blocks, Buffer.alloc(4)]);
}

function block(bytes: readonly number[] | Buffer, isStored = false): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32LE((bytes.length | (isStored ? 0x8000_0000 : 0)) >>> 0);
  return Buffer.concat([head, Buffer.from(bytes)]);
}

const inflate = (bytes: Buffer, limit = 64 * MIB): Buffer => inflateBoundedSync(bytes, "lz4", limit);

function reasonOf(bytes: Buffer, limit?: number): string {
  try {
    return `${inflate(bytes, limit).length} bytes`;
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    return String(error.context.reason);
  }
}

describe("XXH32", () => {
  // Values of the reference implementation (xxhsum -H32, lz4's own frames).
  test.each([
    { text: "", hash: 0x02cc5d05 },
    { text: "a", hash: 0x550d7456 },
    { text: "abc", hash: 0x32d153ff },
    { text: "Nobody inspects the spammish repetition", hash: 0xe2293b2f },
  ])("of $text", ({ text, hash }) => expect(xxh32(Buffer.from(text))).toBe(hash));

  test("is the same whatever pieces the bytes come in", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 70 })), (pieces) => {
        const hash = new Xxh32();
        for (const piece of pieces) hash.update(piece);
        expect(hash.digest()).toBe(xxh32(Buffer.concat(pieces)));
      }),
      { seed: SEED },
    );
  });
});

describe("lz4", () => {
  test.each(["independent", "linked", "checked", "unchecked"])(
    "reads what the reference tool wrote: %s",
    async (name) => {
      expect(inflate(file(name)).equals(LINES)).toBe(true);
      expect((await inflateBounded(file(name), "lz4", LINES.length)).equals(LINES)).toBe(true);
      expect(reasonOf(file(name), LINES.length - 1)).toBe("inflated_too_long");
    },
  );

  test.each([
    { name: "a stored block", bytes: file("tiny"), gives: Buffer.from("tiny") },
    { name: "nothing in a frame", bytes: file("empty"), gives: Buffer.alloc(0) },
    { name: "runs of one byte", bytes: file("zeros"), gives: Buffer.alloc(20_000_000) },
    {
      name: "several frames",
      bytes: Buffer.concat([file("tiny"), file("linked"), file("empty"), file("checked")]),
      gives: Buffer.concat([Buffer.from("tiny"), LINES, LINES]),
    },
    {
      name: "skippable frames",
      bytes: Buffer.concat([
        Buffer.from("502a4d1803000000616263", "hex"),
        file("tiny"),
        Buffer.from("5f2a4d1800000000", "hex"),
      ]),
      gives: Buffer.from("tiny"),
    },
    {
      name: "a copy that reaches into what it makes",
      bytes: frame([block([0x1f, 0x61, 1, 0, 5, 0x10, 0x62])]),
      gives: Buffer.from(`${"a".repeat(25)}b`),
    },
    {
      name: "a copy from the block before",
      bytes: frame([block(Buffer.from("abcdefgh"), true), block([0x00, 8, 0, 0x10, 0x21])], 0x40),
      gives: Buffer.from("abcdefghabcd!"),
    },
  ])("reads $name", ({ bytes, gives }) => expect(inflate(bytes).equals(gives)).toBe(true));

  test("reads what the library compresses", () => {
    const words = fc.array(fc.constantFrom("error ", "GET /index.html ", "\n", "200 ", "é"), { maxLength: 3000 });
    fc.assert(
      fc.property(
        words.map((all) => Buffer.from(`${all.join("")}!`)),
        (given) => {
          const bytes = Buffer.from(lz4.compress(given));
          // It writes blocks of 4 MiB and a checksum of the head.
          expect(inflate(bytes).equals(given)).toBe(true);
        },
      ),
      { seed: SEED },
    );
  });

  test.each([
    { name: "nothing at all", bytes: Buffer.alloc(0) },
    { name: "something else", bytes: Buffer.from("hello, world, this is no lz4") },
    { name: "something else behind", bytes: Buffer.concat([file("tiny"), Buffer.from("x")]) },
    { name: "the legacy format", bytes: file("legacy") },
    { name: "a block that is larger than the frame says", bytes: frame([block(Buffer.alloc(65_537), true)]) },
    {
      name: "a block that makes more than the frame says",
      bytes: frame([block([0x1f, 0x61, 1, 0, ...Buffer.alloc(258, 255), 0, 0x00])]),
    },
    { name: "an offset of nothing", bytes: frame([block([0x10, 0x61, 0, 0, 0x10, 0x62])]) },
    { name: "an offset from before the beginning", bytes: frame([block([0x10, 0x61, 2, 0, 0x10, 0x62])]) },
    {
      name: "an offset into another block, where blocks are independent",
      bytes: frame([block(Buffer.from("abcdefgh"), true), block([0x00, 8, 0, 0x10, 0x21])]),
    },
    {
      name: "an offset into another frame",
      bytes: Buffer.concat([file("tiny"), frame([block([0x00, 4, 0, 0x10, 0x21])], 0x40)]),
    },
    { name: "literals beyond the block", bytes: frame([block([0x50, 0x61])]) },
    { name: "a length that does not end", bytes: frame([block([0xf0, 255, 255])]) },
    { name: "a match at a block's end", bytes: frame([block([0x10, 0x61, 1, 0])]) },
    { name: "half an offset", bytes: frame([block([0x10, 0x61, 1])]) },
    { name: "a reserved bit", bytes: frame([], 0x62) },
    { name: "a dictionary", bytes: frame([], 0x61) },
    { name: "another version", bytes: frame([], 0x80) },
  ])("refuses $name", ({ bytes }) => expect(reasonOf(bytes)).toBe("inflate"));

  test("refuses every truncation", () => {
    for (const name of ["tiny", "linked", "checked", "independent"]) {
      const bytes = file(name);
      const step = Math.max(1, Math.floor(bytes.length / 100));
      for (let cut = 0; cut < bytes.length; cut += step) expect(reasonOf(bytes.subarray(0, cut))).toBe("inflate");
    }
  });

  test("lets no changed byte through where there are checksums", () => {
    const checked = file("checked");
    fc.assert(
      fc.property(fc.nat(checked.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Buffer.from(checked);
        bytes[at] ^= change;
        try {
          expect(inflate(bytes, MIB).equals(LINES)).toBe(true);
        } catch (error) {
          if (!(error instanceof WeirError)) throw error;
          expect(messageOf(error)).toMatch(/^forward: (?:lz4|entries inflate)/);
        }
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  test("changed bytes end in an error or in bytes within the limit", () => {
    const inputs = [file("unchecked"), frame([block([0x1f, 0x61, 1, 0, 5, 0x10, 0x62])]), file("zeros")];
    fc.assert(
      fc.property(
        fc.constantFrom(...inputs),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (input, changes) => {
          const bytes = Buffer.from(input);
          for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
          expect(["inflate", "inflated_too_long", expect.stringMatching(/ bytes$/)]).toContainEqual(
            reasonOf(bytes, MIB),
          );
        },
      ),
      { seed: SEED, numRuns: 1000 },
    );
  });

  test("a bomb costs the limit", () => {
    const bombs = Buffer.concat(Array.from({ length: 500 }, () => file("zeros")));
    const before = process.memoryUsage().arrayBuffers;
    expect(reasonOf(bombs, 32 * MIB)).toBe("inflated_too_long");
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(128 * MIB);
  });

  test.each([
    { name: "frames", bytes: () => Buffer.concat(Array.from({ length: 200_000 }, () => file("tiny"))) },
    { name: "blocks", bytes: () => frame(Array.from({ length: 400_000 }, () => block([0x10, 0x61]))) },
    { name: "blocks of nothing", bytes: () => frame(Array.from({ length: 400_000 }, () => block([], true))) },
    {
      name: "skippable frames",
      bytes: () =>
        Buffer.concat([...Array.from({ length: 400_000 }, () => Buffer.from("502a4d1800000000", "hex")), file("tiny")]),
    },
  ])("very many tiny $name let others have a turn", ({ bytes }) => {
    let turns = 0;
    for (const _ of lz4Pieces(bytes(), 64 * MIB)) turns++;
    expect(turns).toBeGreaterThan(700);
  });
});
