import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { inflate, inflateBy, inflateWithNode, inflateWithZlibSync } from "../../src/codec/inflate.ts";

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

describe("the way that is chosen", () => {
  test.each([
    { way: undefined, is: inflateWithNode },
    { way: "", is: inflateWithNode },
    { way: "auto", is: inflateWithNode },
    { way: "node", is: inflateWithNode },
    ...(inflateWithZlibSync === null ? [] : [{ way: "zlib-sync", is: inflateWithZlibSync }]),
  ])("by $way", ({ way, is }) => {
    expect(inflateBy(way)).toBe(is);
  });

  test.each(["zlib", "Node", " node", "zlib_sync"])("is refused when it is %j", (way) => {
    expect(() => inflateBy(way)).toThrow(
      expect.objectContaining({
        code: "bad_setting",
        message: `WEIR_INFLATE: got "${way}", want auto, node, zlib-sync`,
      }),
    );
  });

  /** What a process of its own makes of the setting, in its main thread and in a worker. */
  function inProcess(wanted: string | undefined, hasZlibSync: boolean): string {
    // Without zlib-sync the module loader does not find the package, as on a machine that could not build it.
    const code = `
      import { Module } from "node:module";
      import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
      import { deflateRawSync } from "node:zlib";
      let made = 0;
      const load = Module._load;
      Module._load = (name, ...rest) => {
        if (name !== "zlib-sync") return load(name, ...rest);
        if (!${hasZlibSync}) throw new Error("not built");
        const { Inflate, ...others } = load(name, ...rest);
        return { ...others, Inflate: class { constructor(options) { made++; return new Inflate(options); } } };
      };
      const { inflate } = await import(${JSON.stringify(new URL("../../dist/src/codec/inflate.js", import.meta.url).href)});
      let said;
      try {
        said = inflate(deflateRawSync(Buffer.from("hello")), 5).toString() + " by " + (made > 0 ? "zlib-sync" : "node:zlib");
      } catch (error) { said = error.message; }
      if (isMainThread) {
        const worker = new Worker(process.argv[1]);
        worker.on("message", (text) => console.log(said + "; " + text));
      } else parentPort.postMessage(said);`;
    const folder = mkdtempSync(path.join(tmpdir(), "weir-inflate-"));
    try {
      const file = path.join(folder, "main.mjs");
      writeFileSync(file, code);
      const { WEIR_INFLATE: _, ...env } = process.env;
      if (wanted !== undefined) env.WEIR_INFLATE = wanted;
      return execFileSync(process.execPath, [file], { encoding: "utf8", env }).trim();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  test.each([
    { wanted: undefined, hasZlibSync: false, says: "hello by node:zlib" },
    { wanted: "auto", hasZlibSync: false, says: "hello by node:zlib" },
    { wanted: "node", hasZlibSync: false, says: "hello by node:zlib" },
    {
      wanted: "zlib-sync",
      hasZlibSync: false,
      says: "WEIR_INFLATE wants zlib-sync, which could not be built here; want auto or node",
    },
    ...(inflateWithZlibSync === null
      ? []
      : [
          { wanted: "auto", hasZlibSync: true, says: "hello by node:zlib" },
          { wanted: "zlib-sync", hasZlibSync: true, says: "hello by zlib-sync" },
        ]),
  ])(
    "is $wanted, zlib-sync there: $hasZlibSync, in all threads (needs npm run build)",
    ({ wanted, hasZlibSync, says }) => {
      expect(inProcess(wanted, hasZlibSync)).toBe(`${says}; ${says}`);
    },
  );
});
