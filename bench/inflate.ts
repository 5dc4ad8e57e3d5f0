import zlib from "node:zlib";
import { type Crc32, crc32ByNode, crc32ByPackage, crc32ByTable } from "../src/codec/crc32.ts";
import { type Inflate, inflateWithNode, inflateWithZlibSync } from "../src/codec/inflate.ts";
import { makeLine, makeSources, Random } from "./lines.ts";

/*
 * Inflating members of blocks with node:zlib and with zlib-sync, and checking their text, one core, by size of the text. All take turns,
 * so that what else the machine does hits all; the figures are medians. Run it with:
 * npm run build && node dist/bench/inflate.js [TURNS]
 */
const TURNS = Number(process.argv[2] ?? 41);
/** Text that one turn inflates: some 20 ms, in which a clock is exact enough. */
const BYTES_A_TURN = 8e6;
const SIZES = [1, 2, 4, 16, 64, 128, 256].map((kib) => kib * 1024);
const LEVELS = [1, 6];

/** Members of one stream's lines each, a third of them JSON, a third access lines, a third plain text. */
function makeMembers(size: number, level: number): Buffer[] {
  const random = new Random(7);
  const sources = makeSources(random);
  const texts = sources.slice(0, 30).map((source) => {
    let text = "";
    for (let ms = 1_714_554_000_000; text.length < size; ms += 250)
      text += `${makeLine(random, source, ms, random.hex(4))}\n`;
    return Buffer.from(text.slice(0, size), "latin1");
  });
  return texts.map((text) => zlib.deflateRawSync(text, { level }));
}

function secondsOf(inflate: Inflate, members: readonly Buffer[], size: number): number {
  const count = Math.ceil(BYTES_A_TURN / size);
  const before = process.cpuUsage();
  for (let i = 0; i < count; i++) inflate(members[i % members.length], size);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6 / (count * size);
}

function checkSecondsOf(crc32: Crc32, text: Buffer): number {
  const count = Math.ceil(BYTES_A_TURN / text.length);
  const before = process.cpuUsage();
  for (let i = 0; i < count; i++) crc32(text);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6 / (count * text.length);
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];

const zlibSync = inflateWithZlibSync;
if (zlibSync === null) {
  console.log("zlib-sync is not there: nothing to compare");
} else {
  console.log("GB of text a CPU second  node:zlib  zlib-sync  ratio");
  for (const level of LEVELS) {
    for (const size of SIZES) {
      const members = makeMembers(size, level);
      const turns = Array.from({ length: TURNS }, () => ({
        node: secondsOf(inflateWithNode, members, size),
        sync: secondsOf(zlibSync, members, size),
      })).slice(2);
      const speed = (way: "node" | "sync") => (1e-9 / median(turns.map((turn) => turn[way]))).toFixed(3).padStart(9);
      const ratio = median(turns.map(({ node, sync }) => node / sync)).toFixed(2);
      console.log(
        `level ${level}, ${String(size / 1024).padStart(3)} KiB${speed("node").padStart(19)}  ${speed("sync")}   ${ratio}`,
      );
    }
  }
}

const checks = Object.entries({ "@node-rs/crc32": crc32ByPackage, "node:zlib": crc32ByNode, "a table": crc32ByTable });
console.log("\nGB of text a CPU second, CRC-32");
for (const size of SIZES) {
  const text = Buffer.alloc(size, "2026-01-01T00:00:00.000Z INFO request served in 12 ms\n");
  const seconds = new Map<string, number[]>();
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [name, crc32] of checks) {
      if (crc32 !== null) seconds.set(name, [...(seconds.get(name) ?? []), checkSecondsOf(crc32, text)]);
    }
  }
  const figures = [...seconds].map(([name, all]) => `${name} ${(1e-9 / median(all)).toFixed(2)}`);
  console.log(`${String(size / 1024).padStart(3)} KiB  ${figures.join("  ")}`);
}
