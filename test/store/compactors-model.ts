import { setImmediate as nextTurn } from "node:timers/promises";
import { DEFAULT_TENANT } from "../../src/core/labels.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { putEntry } from "../../src/store/commit.ts";
import { Compactor } from "../../src/store/compact/compactor.ts";
import type { mergeSegments } from "../../src/store/compact/merge.ts";
import { type CompactorOptions, defaultCompactorOptions } from "../../src/store/compact/options.ts";
import { compactedKey, segmentKey } from "../../src/store/keys.ts";
import type { SegmentInfo } from "../../src/store/view.ts";
import type { Random } from "../random.ts";

const DAY_START_SEC = 1_767_225_600; // 2026-01-01
const NS = 1_000_000_000n;

/** Time that goes on when all that take part wait for it: work in the order of a simulated clock, however fast this machine is. */
class Clock {
  ms = 0;
  private readonly waiting: { readonly at: number; readonly wake: () => void }[] = [];
  private running = 0;

  /** Somebody who takes part, and never waits for anything but `wait` and what needs no time. */
  async run(work: () => Promise<void>): Promise<void> {
    this.running++;
    try {
      await work();
    } finally {
      this.running--;
    }
  }

  wait(ms: number): Promise<void> {
    return new Promise((wake) => this.waiting.push({ at: this.ms + ms, wake }));
  }

  /** Until nobody runs any more. */
  async go(): Promise<void> {
    while (this.running > 0) {
      if (this.waiting.length < this.running) {
        await nextTurn();
        continue;
      }
      this.waiting.sort((a, b) => a.at - b.at);
      const [first] = this.waiting.splice(0, 1);
      this.ms = Math.max(this.ms, first.at);
      first.wake();
      await nextTurn();
    }
  }
}

export interface ModelOptions {
  readonly compactors: number;
  readonly partitions: number;
  /** Every 5 s each partition has a new segment, for so many minutes. */
  readonly minutes: number;
  /** Seconds that a merge takes for each MB of its inputs. */
  readonly secondsAMb: number;
}

export interface ModelResult {
  /** Part of the time of all merges that was spent on those that were dropped. */
  readonly lost: number;
  readonly merges: number;
  /** Segments that were there at the end. */
  readonly segments: number;
  /** Flushed segments that are not merged yet, in the mean of all minutes. */
  readonly waiting: number;
}

const FLUSH_MS = 5000;
const FLUSH_BYTES = 1_000_000;

/** Compactors, each with its own catalog, on one store that is filled meanwhile; merges take simulated time, and give what real ones would. */
export async function runModel(
  random: Random,
  { compactors, partitions, minutes, secondsAMb }: ModelOptions,
): Promise<ModelResult> {
  const clock = new Clock();
  const now = () => DAY_START_SEC * 1000 + clock.ms;
  const objects = new MemoryStore(now);
  const endMs = minutes * 60_000;
  const merges: { readonly output: string; ms: number }[] = [];
  let names = 0;
  const put = async (info: SegmentInfo) => {
    await objects.put(info.key, [Buffer.from("x")]);
    return info;
  };

  const merge: typeof mergeSegments = async (segments, { segmentBytes }, { pace }) => {
    const bytes = segments.reduce((sum, info) => sum + info.bytes, 0);
    const [first] = segments;
    const covers = {
      partition: first.partition,
      firstOffset: Math.min(...segments.map(({ firstOffset }) => firstOffset)),
      nextOffset: Math.max(...segments.map(({ nextOffset }) => nextOffset)),
    };
    const name = (names++).toString(16).padStart(12, "0");
    const count = Math.max(1, Math.round(bytes / segmentBytes));
    const keyOf = (output: number) => compactedKey(first.tenant, DAY_START_SEC, covers, { merge: name, output });
    const job = { output: keyOf(0), ms: 0 };
    merges.push(job);
    const takesMs = (bytes / 1e6) * secondsAMb * 1000 * (0.5 + random.below(1000) / 1000);
    while (job.ms < takesMs) {
      const stepMs = Math.min(4000, takesMs - job.ms);
      await clock.wait(stepMs);
      job.ms += stepMs;
      await pace.turn();
    }
    const outputs: SegmentInfo[] = [];
    for (let output = 0; output < count; output++) {
      const level = Math.max(...segments.map((info) => info.level)) + 1;
      const { timeMinNs } = first;
      const timeMaxNs = segments.reduce((max, info) => (info.timeMaxNs > max ? info.timeMaxNs : max), first.timeMaxNs);
      const info = { ...first, ...covers, level, timeMinNs, timeMaxNs, bytes: Math.round(bytes / count) };
      outputs.push(await put({ ...info, key: keyOf(output) }));
    }
    const none = { blocksRead: 0, blocksCopied: 0, bytesCopied: 0, textBytesRewritten: 0 };
    const stats = { lines: 0, bytesRead: bytes, bytesWritten: bytes, ...none };
    return { inputs: segments, outputs, removed: new Map(), stats };
  };

  const options: CompactorOptions = { ...defaultCompactorOptions, cpu_share: 1 };
  const catalogs = await Promise.all(
    Array.from({ length: compactors + 1 }, () => openCatalog(objects, new Metrics(), silentLogger, { now })),
  );
  const watcher = catalogs[compactors];
  const looks: number[] = [];
  const flushing = clock.run(async () => {
    for (let flush = 0; clock.ms < endMs; flush++) {
      for (let partition = 0; partition < partitions; partition++) {
        const covers = { partition, firstOffset: flush, nextOffset: flush + 1 };
        const fromSec = DAY_START_SEC + (flush * FLUSH_MS) / 1000;
        const info = await put({
          ...covers,
          key: segmentKey(DEFAULT_TENANT, fromSec, covers),
          tenant: DEFAULT_TENANT,
          bytes: FLUSH_BYTES,
          timeMinNs: BigInt(fromSec) * NS,
          timeMaxNs: BigInt(fromSec + 5) * NS - 1n,
          lines: 1000,
          textBytes: 4 * FLUSH_BYTES,
          streams: 10,
          level: 0,
          labelFilter: null,
        });
        await putEntry(objects, { partition, first: flush, next: flush + 1, segments: [info] });
      }
      if (flush % 12 === 11) looks.push((await all()).filter(({ level }) => level === 0).length);
      await clock.wait(FLUSH_MS);
    }
  });
  const all = async () => {
    await watcher.refresh();
    return watcher.view().segments({ tenant: DEFAULT_TENANT, startNs: 0n, endNs: 2n ** 62n });
  };
  const working = catalogs.slice(0, compactors).map((catalog) =>
    clock.run(async () => {
      const compactor = new Compactor(options, {
        ...{ objects, catalog, blockBytes: 262_144, removals: null, metrics: new Metrics(), log: silentLogger },
        ...{ now, sleep: (ms: number) => clock.wait(ms), signal: new AbortController().signal, merge },
        ticks: () => clock.ms,
      });
      while (clock.ms < endMs) {
        await clock.wait(options.interval_ms * (0.8 + random.below(400) / 1000));
        await compactor.pass({ removals: false });
      }
    }),
  );
  await Promise.all([clock.go(), flushing, ...working]);
  const kept = new Set<string>();
  for await (const { key } of objects.list("segments/")) kept.add(key);
  const sum = (some: readonly { readonly ms: number }[]) => some.reduce((ms, one) => ms + one.ms, 0);
  return {
    lost: 1 - sum(merges.filter(({ output }) => kept.has(output))) / sum(merges),
    merges: merges.length,
    segments: (await all()).length,
    waiting: looks.reduce((count, look) => count + look, 0) / looks.length,
  };
}
