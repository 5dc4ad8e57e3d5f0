import { execFileSync } from "node:child_process";
import zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { inflate, inflateWithNode, inflateWithZlibSync } from "../../src/codec/inflate.ts";

const ways = [
  { name: "node:zlib", inflate: inflateWithNode },
  // Where the optional package could not be built there is only the first.
  ...(inflateWithZlibSync === null ? [] : [{ name: "zlib-sync", inflate: inflateWithZlibSync }]),
  { name: "the one that blocks are read with", inflate },
];

describe.each(ways)("inflating with $name", ({ inflate }) => {
  const text = Buffer.from(Array.from({ length: 5000 }, (_, i) => `line ${i * 7919}\n`).join(""));
  const deflated = zlib.deflateRawSync(text);

  test.each([0, 1, 63, 64, 65, 4096, 65_536])("%i bytes", (size) => {
    const some = text.subarray(0, size);
    expect(inflate(zlib.deflateRawSync(some), size).equals(some)).toBe(true);
  });

  test("incompressible and highly compressible bytes", () => {
    const noise = Buffer.from(Array.from({ length: 30_000 }, (_, i) => Math.imul(i, 2654435761) >>> 24));
    for (const bytes of [noise, Buffer.alloc(1 << 20)]) {
      expect(inflate(zlib.deflateRawSync(bytes, { level: 9 }), bytes.length).equals(bytes)).toBe(true);
    }
  });

  test("a plain Uint8Array that is part of a larger one", () => {
    const larger = new Uint8Array(deflated.length + 20);
    larger.set(deflated, 10);
    expect(inflate(larger.subarray(10, 10 + deflated.length), text.length).equals(text)).toBe(true);
  });

  test.each([
    { name: "cut", bytes: deflated.subarray(0, deflated.length - 1), size: text.length },
    { name: "cut early", bytes: deflated.subarray(0, 10), size: 20 },
    { name: "nothing", bytes: Buffer.alloc(0), size: 5 },
    { name: "no deflate data", bytes: Buffer.alloc(1000, 0xff), size: 1000 },
    { name: "longer than it says", bytes: deflated, size: text.length - 1 },
    { name: "shorter than it says", bytes: deflated, size: text.length + 1 },
    { name: "a bomb that says it is small", bytes: zlib.deflateRawSync(Buffer.alloc(50 << 20)), size: 100 },
    { name: "a claim that deflate cannot fulfil", bytes: deflated, size: 2 ** 31 },
  ])("refuses data: $name", ({ bytes, size }) => {
    expect(() => inflate(bytes, size)).toThrow(expect.objectContaining({ code: "bad_deflate" }));
  });
});

test("without zlib-sync everything is inflated by node:zlib", () => {
  // A module loader that does not find the package, as on a machine that could not build it.
  const code = `
    import { Module } from "node:module";
    const load = Module._load;
    Module._load = (name, ...rest) => { if (name === "zlib-sync") throw new Error("not built"); return load(name, ...rest); };
    const { inflate, inflateWithZlibSync } = await import(process.argv[1]);
    const { deflateRawSync } = await import("node:zlib");
    console.log(inflateWithZlibSync === null, inflate(deflateRawSync(Buffer.from("hello")), 5).toString());`;
  const built = new URL("../../dist/src/codec/inflate.js", import.meta.url).href;
  const out = execFileSync(process.execPath, ["--input-type=module", "-e", code, built], { encoding: "utf8" });
  expect(out.trim()).toBe("true hello");
});
