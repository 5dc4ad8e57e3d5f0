import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type Crc32, crc32, crc32ByNode, crc32ByPackage, crc32ByTable } from "../../src/codec/crc32.ts";
import { Random } from "../random.ts";

/** Bit by bit, as RFC 1952 defines it. */
function plainly(bytes: Uint8Array, seed = 0): number {
  let c = ~seed;
  for (const byte of bytes) {
    c ^= byte;
    for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (0xedb88320 & -(c & 1));
  }
  return ~c >>> 0;
}

const ways: { name: string; way: Crc32 }[] = [
  { name: "the one in use", way: crc32 },
  { name: "a table", way: crc32ByTable },
  ...(crc32ByNode === null ? [] : [{ name: "node:zlib", way: crc32ByNode }]),
  ...(crc32ByPackage === null ? [] : [{ name: "@node-rs/crc32", way: crc32ByPackage }]),
];

describe.each(ways)("CRC-32 by $name", ({ way }) => {
  test.each([
    { text: "", sum: 0 },
    { text: "a", sum: 0xe8b7be43 },
    { text: "123456789", sum: 0xcbf43926 },
    { text: "The quick brown fox jumps over the lazy dog", sum: 0x414fa339 },
  ])("of $text is $sum", ({ text, sum }) => {
    expect(way(Buffer.from(text))).toBe(sum);
  });

  test("is that of the definition for random bytes, lengths, places and cuts", () => {
    const random = new Random();
    for (let round = 0; round < 300; round++) {
      const memory = new Uint8Array(random.below(3000) + 16);
      for (let i = 0; i < memory.length; i++) memory[i] = random.below(256);
      // Vector code has its edges at multiples of 16 and 64 bytes, and at places that are not.
      const from = random.below(16);
      const bytes = memory.subarray(from, from + random.below(memory.length - from + 1));
      const wanted = plainly(bytes);
      expect(way(bytes), `seed ${random.seed}, round ${round}`).toBe(wanted);
      expect(way(Buffer.from(bytes))).toBe(wanted);
      const cut = random.below(bytes.length + 1);
      expect(way(bytes.subarray(cut), way(bytes.subarray(0, cut)))).toBe(wanted);
    }
  });

  test("sees every flipped bit of a block's text", () => {
    const bytes = Buffer.alloc(256 * 1024, "2026-01-01T00:00:00Z INFO a line\n");
    const sum = way(bytes);
    for (const at of [0, 1, 63, 64, 65_537, bytes.length - 1]) {
      bytes[at] ^= 1;
      expect(way(bytes)).not.toBe(sum);
      bytes[at] ^= 1;
    }
    expect(way(bytes)).toBe(sum);
  });
});

describe("the way that is used (needs npm run build)", () => {
  /** What a process of its own takes when `require("@node-rs/crc32")` gives the value of `package_`. */
  function inProcess(package_: string): string {
    const code = `
      import { Module } from "node:module";
      const load = Module._load;
      Module._load = (name, ...rest) => {
        if (name !== "@node-rs/crc32") return load(name, ...rest);
        return ${package_};
      };
      const { crc32, crc32ByPackage } = await import(${JSON.stringify(new URL("../../dist/src/codec/crc32.js", import.meta.url).href)});
      console.log(crc32ByPackage === null ? "other" : "package", crc32(Buffer.from("123456789")));`;
    const folder = mkdtempSync(path.join(tmpdir(), "weir-crc32-"));
    try {
      const file = path.join(folder, "main.mjs");
      writeFileSync(file, code);
      return execFileSync(process.execPath, [file], { encoding: "utf8" }).trim();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  test.each([
    { name: "is missing", package_: '(() => { throw new Error("Cannot find native binding"); })()' },
    { name: "has no such function", package_: "({})" },
    { name: "is nothing", package_: "undefined" },
    { name: "gives wrong sums", package_: "({ crc32: () => 1 })" },
    {
      name: "does not go on from a sum",
      package_: "({ crc32: () => 0xcbf43926 - (globalThis.calls = (globalThis.calls ?? 0) + 1) + 1 })",
    },
    { name: "throws", package_: '({ crc32: () => { throw new Error("illegal instruction"); } })' },
  ])("is another one when the package $name", ({ package_ }) => {
    expect(inProcess(package_)).toBe(`other ${0xcbf43926}`);
  });

  test.runIf(crc32ByPackage !== null)("is the package where there is a build of it", () => {
    expect(inProcess("load(name, ...rest)")).toBe(`package ${0xcbf43926}`);
  });
});
