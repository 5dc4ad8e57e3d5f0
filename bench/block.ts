import zlib from "node:zlib";
import { inflateWithNode, inflateWithZlibSync } from "../src/codec/inflate.ts";
import { canonicalLabels } from "../src/core/labels.ts";
import { ID_ABSENT, Line, REQUEST_ID, type SharedMetadata, SPAN_ID, TRACE_ID } from "../src/core/line.ts";
import { type EncodedBlock, encodeBlock, encodeStream, finishBlock } from "../src/store/block-encode.ts";
import { parseBlock } from "../src/store/block-view.ts";
import { OpenBlock } from "../src/store/open-block.ts";
import { TextBuffers } from "../src/store/text-buffers.ts";
import { makeLine, makeSources, Random } from "./lines.ts";

/*
 * What blocks cost, one core, CPU seconds for 10^9 bytes of lines: appending, writing headers, compressing at each level,
 * and reading. Run it with: npm run build && node dist/bench/block.js [MB]
 */
const BYTES = Number(process.argv[2] ?? 60) * 1e6;
/** So many that one of them is not disturbed by what else the machine does. */
const TRIES = 15;
const LINES_A_CHUNK = 40;
const BLOCK_BYTES = 256 * 1024;

interface Sample {
  readonly bytes: Buffer;
  readonly count: number;
  readonly stream: Uint16Array;
  readonly start: Float64Array;
  readonly sec: Float64Array;
  readonly nsec: Uint32Array;
  readonly idAt: Int32Array;
  /** Sixteen words a line, as `Line.ids` has them. */
  readonly ids: Uint32Array;
  readonly shared: readonly SharedMetadata[];
  readonly level: readonly string[];
}

/** Lines as the pipeline hands them over: chunks of one stream, its ids found where they stand in the line. */
function makeSample(random: Random, size: number): { sample: Sample; canonical: string[] } {
  const sources = makeSources(random);
  const bytes = Buffer.allocUnsafeSlow(size + 4096);
  const most = Math.ceil(size / 100);
  const stream = new Uint16Array(most);
  const start = new Float64Array(most + 1);
  const sec = new Float64Array(most);
  const nsec = new Uint32Array(most);
  const idAt = new Int32Array(most * 4).fill(ID_ABSENT);
  const ids = Buffer.from(new ArrayBuffer(most * 64));
  const shared: SharedMetadata[] = [];
  const level: string[] = [];
  const pods = sources.map(({ pods, node }) =>
    pods.map(
      (pod): SharedMetadata => ({
        pairs: [
          ["pod", pod],
          ["node", node],
        ],
      }),
    ),
  );
  let at = 0;
  let count = 0;
  let ms = 1_714_554_000_000;
  let below = 0;
  while (at < size) {
    const s = random.below(sources.length);
    const pod = random.pick(pods[s]);
    for (let n = 0; n < LINES_A_CHUNK && at < size; n++) {
      const step = random.below(3);
      // Nanoseconds count up within a millisecond, so that each chunk is in order, as agents send them.
      below = step === 0 ? below + random.below(1000) : random.below(500_000);
      ms += step;
      const text = makeLine(random, sources[s], ms, random.hex(4));
      stream[count] = s;
      start[count] = at;
      sec[count] = Math.floor(ms / 1000);
      nsec[count] = (ms % 1000) * 1e6 + below;
      for (const [slot, pattern] of PATTERNS) {
        const found = pattern.exec(text);
        if (found === null) continue;
        idAt[count * 4 + slot] = found.index + found[0].length - found[1].length;
        ids.write(found[1].replaceAll("-", ""), count * 64 + slot * 16, "hex");
      }
      shared.push(pod);
      level.push(/"level":"(\w+)"/.exec(text)?.[1] ?? /(INFO|WARN|ERROR|DEBUG)/.exec(text)?.[1].toLowerCase() ?? "");
      at += bytes.write(text, at, "latin1");
      count++;
    }
  }
  start[count] = at;
  const canonical = sources.map(({ namespace, app, container }) => canonicalLabels({ namespace, app, container }));
  return {
    sample: { bytes, count, stream, start, sec, nsec, idAt, ids: new Uint32Array(ids.buffer), shared, level },
    canonical,
  };
}

const PATTERNS: readonly (readonly [number, RegExp])[] = [
  [TRACE_ID, /"trace_id":"([0-9a-f]{32})/],
  [SPAN_ID, /"span_id":"([0-9a-f]{16})/],
  [REQUEST_ID, /"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"/],
];

function setLine(line: Line, sample: Sample, i: number): void {
  line.start = sample.start[i];
  line.end = sample.start[i + 1];
  line.sec = sample.sec[i];
  line.nsec = sample.nsec[i];
  line.shared = sample.shared[i];
  line.level = sample.level[i];
  for (let slot = 0; slot < 4; slot++) line.idAt[slot] = sample.idAt[i * 4 + slot];
  const ids = sample.ids;
  for (let word = 0; word < 16; word++) lineIds[word] = ids[i * 16 + word];
}

function cpuOf(act: () => void): number {
  const before = process.cpuUsage();
  act();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

/** The least of several tries, in CPU seconds: others on the machine can only make it longer. */
function leastOf(tries: number, act: () => void): number {
  return Math.min(...Array.from({ length: tries }, () => cpuOf(act)));
}

const { sample, canonical } = makeSample(new Random(1), BYTES);
const total = sample.start[sample.count];
const perGb = (seconds: number) => `${((seconds * 1e9) / total).toFixed(2)} s/GB`;
const perLine = (seconds: number) => `${((seconds * 1e9) / sample.count).toFixed(0)} ns/line`;
const streams = canonical.map((text) => encodeStream({ tenant: "fake", labels: {}, canonical: text }));
const line = new Line();
const lineIds = new Uint32Array(line.ids.buffer);
line.bytes = sample.bytes;
console.log(
  `${(total / 1e6).toFixed(0)} MB, ${sample.count} lines of ${(total / sample.count).toFixed(0)} bytes, ${streams.length} streams`,
);

const setting = leastOf(TRIES, () => {
  for (let i = 0; i < sample.count; i++) setLine(line, sample, i);
});
// The same copying into as many buffers as there are streams, which is what the caches have to bear in either case.
const targets = streams.map(() => Buffer.allocUnsafeSlow(BLOCK_BYTES).fill(1));
const copying = leastOf(TRIES, () => {
  const at = streams.map(() => 0);
  for (let i = 0; i < sample.count; i++) {
    setLine(line, sample, i);
    const s = sample.stream[i];
    if (at[s] > BLOCK_BYTES - 1000) at[s] = 0;
    at[s] += sample.bytes.copy(targets[s], at[s], line.start, line.end);
  }
});

function appendAll(done: (stream: number, block: OpenBlock) => void): void {
  const buffers = new TextBuffers(BLOCK_BYTES);
  const open: (OpenBlock | null)[] = streams.map(() => null);
  const close = (s: number, block: OpenBlock) => {
    done(s, block);
    buffers.giveBack(block.text);
  };
  for (let i = 0; i < sample.count; i++) {
    setLine(line, sample, i);
    const s = sample.stream[i];
    let block = open[s];
    if (block === null) {
      block = new OpenBlock(buffers, streams[s].length, 0);
      open[s] = block;
    }
    if (!block.append(line)) {
      const { rows } = block;
      close(s, block);
      block = new OpenBlock(buffers, streams[s].length, rows);
      open[s] = block;
      block.append(line);
    }
  }
  open.forEach((block, s) => {
    if (block !== null) close(s, block);
  });
}

const appending = leastOf(TRIES, () => appendAll(() => {}));
const encoding = leastOf(TRIES, () => appendAll((s, block) => encodeBlock(block, streams[s])));
console.log(`set the line (the bench itself)  ${perLine(setting)}`);
console.log(`copy bytes only                  ${perLine(copying - setting)}`);
console.log(
  `append                           ${perGb(appending - setting)}  ${perLine(appending - setting)}, ${perLine(appending - copying)} beyond the copy`,
);
console.log(`write headers                    ${perGb(encoding - appending)}  ${perLine(encoding - appending)}`);

const blocks: { encoded: EncodedBlock; text: Buffer }[] = [];
appendAll((s, block) => {
  const encoded = encodeBlock(block, streams[s]);
  blocks.push({ encoded, text: Buffer.from(encoded.text) });
});
const textBytes = blocks.reduce((sum, { text }) => sum + text.length, 0);
const headBytes = blocks.reduce((sum, { encoded }) => sum + encoded.head.length, 0);
const filterBytes = blocks.reduce((sum, { encoded }) => sum + (encoded.ids.filter?.length ?? 0), 0);
console.log(
  `${blocks.length} blocks of ${(textBytes / blocks.length / 1024).toFixed(0)} KiB; headers ${(headBytes / total).toFixed(4)} bytes a byte (filters ${(filterBytes / total).toFixed(4)}, once more in the index)`,
);
for (let level = 1; level <= 6; level++) {
  let stored = 0;
  const seconds = leastOf(3, () => {
    stored = 0;
    for (const { encoded, text } of blocks) {
      stored += finishBlock(encoded, zlib.gzipSync(text, { level, chunkSize: Math.ceil(text.length / 2) })).length;
    }
  });
  console.log(
    `level ${level}: compress ${perGb(seconds)}, with append and headers ${perGb(seconds + encoding - setting)}; stored ${((stored + filterBytes) / total).toFixed(4)} bytes a byte`,
  );
}

function reading(name: string, size: number): void {
  const texts = blocks
    .map(({ text }) => text.subarray(0, size))
    .filter((text) => text.length === size)
    .slice(0, Math.ceil(16e6 / size));
  const packed = texts.map((text) => zlib.deflateRawSync(text, { level: 6 }));
  const bytes = size * texts.length;
  for (const [way, inflate] of [
    ["node:zlib", inflateWithNode],
    ["zlib-sync", inflateWithZlibSync],
  ] as const) {
    if (inflate === null || texts.length === 0) continue;
    const seconds = leastOf(7, () => {
      for (const deflated of packed) inflate(deflated, size);
    });
    console.log(
      `inflate ${name} with ${way}: ${(bytes / 1e9 / seconds).toFixed(3)} GB/s, ${((seconds * 1e6) / texts.length).toFixed(0)} us a block`,
    );
  }
}
reading("256 KiB", 255 * 1024);
reading("64 KiB", 64 * 1024);
reading("16 KiB", 16 * 1024);
reading("4 KiB", 4096);
reading("1 KiB", 1024);

const members = blocks.map(({ encoded, text }) => finishBlock(encoded, zlib.gzipSync(text, { level: 1 })));
const rows = blocks.reduce((sum, { encoded }) => sum + encoded.rows, 0);
const perThousand = (seconds: number) => `${((seconds * 1e9) / rows).toFixed(1)} us a 1,000 rows`;
let sink = 0;
const parsing = leastOf(7, () => {
  for (const bytes of members) sink += parseBlock(bytes).rows;
});
const times = leastOf(7, () => {
  for (const bytes of members) sink += parseBlock(bytes).sec[0];
});
const views = members.map((bytes) => parseBlock(bytes));
for (const view of views) sink += view.text.length;
const starts = cpuOf(() => {
  for (const view of views) sink += view.lineStarts[1];
});
const metadata = leastOf(3, () => {
  for (const view of views) for (let row = 0; row < view.rows; row++) sink += view.metadata(row).length;
});
const low8 = Buffer.from("0123456789abcdef", "hex");
const searching = leastOf(7, () => {
  for (const view of views) sink += view.rowsWithId(SPAN_ID, low8).length;
});
console.log(`read a header                    ${perThousand(parsing)}`);
console.log(`  and its times                  ${perThousand(times)}`);
console.log(`find lines in inflated text      ${perThousand(starts)}`);
console.log(`metadata of every row            ${perThousand(metadata)}`);
console.log(`search a span id in inflated text ${perThousand(searching)}  (${sink > 0 ? "done" : ""})`);
