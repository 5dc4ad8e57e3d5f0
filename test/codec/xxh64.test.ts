import { describe, expect, test } from "vitest";
import { Xxh64 } from "../../src/codec/xxh64.ts";
import { Random } from "../random.ts";

function hashOf(...pieces: Uint8Array[]): string {
  const hash = new Xxh64();
  for (const piece of pieces) hash.update(piece);
  return hash.digest().toString(16).padStart(16, "0");
}

/** The bytes of xxHash's own sanity check: the upper byte of a number that is multiplied by itself. */
function sanityBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 2654435761n;
  for (let i = 0; i < length; i++) {
    bytes[i] = Number(state >> 56n);
    state = BigInt.asUintN(64, state * 11400714785074694797n);
  }
  return bytes;
}

/** XXH64 as its specification says it, all at once and in BigInt. */
function plainly(bytes: Uint8Array): string {
  const [p1, p2, p3, p4, p5] = [
    0x9e3779b185ebca87n,
    0xc2b2ae3d27d4eb4fn,
    0x165667b19e3779f9n,
    0x85ebca77c2b2ae63n,
    0x27d4eb2f165667c5n,
  ];
  const u = (x: bigint) => x & 0xffff_ffff_ffff_ffffn;
  const rol = (x: bigint, n: bigint) => u((x << n) | (x >> (64n - n)));
  const round = (acc: bigint, lane: bigint) => u(rol(u(acc + lane * p2), 31n) * p1);
  const read = (at: number, size: number) => {
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = value * 256n + BigInt(bytes[at + i]);
    return value;
  };
  let acc = p5;
  let at = 0;
  if (bytes.length >= 32) {
    const v = [u(p1 + p2), p2, 0n, u(-p1)];
    for (; at + 32 <= bytes.length; at += 32) for (let i = 0; i < 4; i++) v[i] = round(v[i], read(at + i * 8, 8));
    acc = u(rol(v[0], 1n) + rol(v[1], 7n) + rol(v[2], 12n) + rol(v[3], 18n));
    for (const lane of v) acc = u((acc ^ round(0n, lane)) * p1 + p4);
  }
  acc = u(acc + BigInt(bytes.length));
  for (; at + 8 <= bytes.length; at += 8) acc = u(rol(acc ^ round(0n, read(at, 8)), 27n) * p1 + p4);
  for (; at + 4 <= bytes.length; at += 4) acc = u(rol(acc ^ u(read(at, 4) * p1), 23n) * p2 + p3);
  for (; at < bytes.length; at++) acc = u(rol(acc ^ u(read(at, 1) * p5), 11n) * p1);
  acc = u((acc ^ (acc >> 33n)) * p2);
  acc = u((acc ^ (acc >> 29n)) * p3);
  return (acc ^ (acc >> 32n)).toString(16).padStart(16, "0");
}

describe("XXH64", () => {
  // Published values: xxHash's sanity check (lengths 0, 1, 14, 222 of its bytes), and the texts that its ports are tested with.
  test.each([
    { name: "nothing", bytes: Buffer.alloc(0), want: "ef46db3751d8e999" },
    { name: "a", bytes: Buffer.from("a"), want: "d24ec4f1a98c6e5b" },
    { name: "abc", bytes: Buffer.from("abc"), want: "44bc2cf5ad770999" },
    {
      name: "39 characters",
      bytes: Buffer.from("Nobody inspects the spammish repetition"),
      want: "fbcea83c8a378bf1",
    },
    { name: "1 byte of xxHash's own", bytes: sanityBytes(1), want: "e934a84adb052768" },
    { name: "14 bytes of xxHash's own", bytes: sanityBytes(14), want: "8282dcc4994e35c8" },
    { name: "222 bytes of xxHash's own", bytes: sanityBytes(222), want: "b641ae8cb691c174" },
  ])("of $name", ({ bytes, want }) => {
    expect(hashOf(bytes)).toBe(want);
    expect(plainly(bytes)).toBe(want);
  });

  test("of every length, and in any pieces, is what the specification says", () => {
    const random = new Random();
    for (let length = 0; length < 300; length++) {
      const bytes = Buffer.from(Array.from({ length }, () => random.below(256)));
      const want = plainly(bytes);
      expect(hashOf(bytes)).toBe(want);
      expect(hashOf(...[...bytes].map((byte) => Uint8Array.of(byte)))).toBe(want);
      const first = random.below(length + 1);
      const second = first + random.below(length - first + 1);
      const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
      expect(hashOf(...pieces), `seed ${random.seed}, ${length}: ${first}, ${second}`).toBe(want);
    }
  });

  test("of bytes whose sums and products carry", () => {
    for (const fill of [0x00, 0x7f, 0x80, 0xff]) {
      const bytes = Buffer.alloc(1000, fill);
      expect(hashOf(bytes), `${fill}`).toBe(plainly(bytes));
    }
  });

  test("may be asked for in between", () => {
    const hash = new Xxh64();
    hash.update(Buffer.from("a"));
    expect(hash.digest()).toBe(0xd24ec4f1a98c6e5bn);
    hash.update(Buffer.from("bc"));
    expect(hash.digest()).toBe(0x44bc2cf5ad770999n);
  });
});
