import { WeirError } from "../core/errors.ts";
import { formatLabels, type Labels } from "../core/labels.ts";
import { Slices } from "../core/slices.ts";
import type { BlockSum } from "../query/engine.ts";
import { sortedInSlices } from "../query/sliced-sort.ts";
import { seconds } from "./samples.ts";

/*
 * What is stored, by the indexes of segments. Source: "Loki's HTTP contract", 7. Bytes are those of the lines and of their metadata. Of a
 * block that reaches out of the range as large a part counts as of its time lies within.
 */

const MS = 1_000_000n;

/** `index/stats`. */
export class IndexStats {
  private readonly streams = new Set<string>();
  private chunks = 0;
  private bytes = 0;
  private entries = 0;
  private readonly startNs: bigint;
  private readonly endNs: bigint;

  constructor(startNs: bigint, endNs: bigint) {
    this.startNs = startNs;
    this.endNs = endNs;
  }

  add(block: BlockSum): void {
    const part = partWithin(block, this.startNs, this.endNs);
    this.streams.add(block.canonical);
    this.chunks++;
    this.bytes += bytesOf(block) * part;
    this.entries += block.rows * part;
  }

  toJson(): Record<string, number> {
    const { streams, chunks, bytes, entries } = this;
    return { streams: streams.size, chunks, bytes: Math.round(bytes), entries: Math.round(entries) };
  }
}

export interface VolumeRequest {
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** Length of a bucket; null: the whole range is one. */
  readonly stepNs: bigint | null;
  readonly limit: number;
  /** Labels to group by; null: all of a stream. */
  readonly by: readonly string[] | null;
  /** Whether only streams with all of `by` count. */
  readonly mustHaveAll: boolean;
  /** One element for each label's name, rather than for each set of labels. */
  readonly names: boolean;
  /** Most memory that the sums may take. */
  readonly bytesMax: number;
}

interface Group {
  readonly labels: Labels;
  total: number;
  /** Bytes by the bucket's number; null without buckets. */
  readonly buckets: Map<number, number> | null;
}

/** Memory that a bucket takes, and a group beside its labels, about. */
const BUCKET_BYTES = 64;
const GROUP_BYTES = 500;
/** Buckets, or groups, between two looks at the clock; and of those that make one piece of text. */
const ITEMS_A_SLICE = 256;

/** `index/volume` and `index/volume_range`. */
export class Volumes {
  private readonly request: VolumeRequest;
  private readonly groups = new Map<string, Group>();
  /** The groups of each stream, since a stream has many blocks. */
  private readonly ofStream = new Map<string, readonly Group[]>();
  private held = 0;

  constructor(request: VolumeRequest) {
    this.request = request;
  }

  /** Bytes of memory that the sums take, about. */
  get bytes(): number {
    return this.held;
  }

  /** Throws `query_partial_size` when the sums take more memory than they may. */
  add(block: BlockSum): void {
    const groups = this.groupsOf(block);
    if (groups.length === 0) return;
    const bytes = bytesOf(block);
    const { startNs, endNs, stepNs } = this.request;
    if (stepNs === null) {
      const part = partWithin(block, startNs, endNs);
      for (const group of groups) group.total += bytes * part;
      return;
    }
    // From the range's beginning, as numbers: exact for 104 days, and a range may have thousands of buckets for each block.
    const blockFrom = Number(block.timeMinNs - startNs);
    const blockTo = Number(block.timeMaxNs - startNs) + 1;
    const length = Number(endNs - startNs);
    const step = Number(stepNs);
    const from = Math.max(0, blockFrom);
    const to = Math.min(length, blockTo);
    if (to <= from) return;
    for (let bucket = Math.floor(from / step); bucket * step < to; bucket++) {
      const within = Math.min(to, (bucket + 1) * step) - Math.max(from, bucket * step);
      this.addTo(groups, bucket, (bytes * within) / (blockTo - blockFrom));
    }
  }

  private addTo(groups: readonly Group[], bucket: number, bytes: number): void {
    for (const group of groups) {
      group.total += bytes;
      const known = group.buckets?.get(bucket);
      if (known === undefined) this.hold(BUCKET_BYTES);
      group.buckets?.set(bucket, (known ?? 0) + bytes);
    }
  }

  private hold(bytes: number): void {
    this.held += bytes;
    const { bytesMax } = this.request;
    if (this.held <= bytesMax) return;
    throw new WeirError(
      "query_partial_size",
      `the volumes need too much memory (got: ${this.held}B, limit: ${bytesMax}B); consider fewer labels or streams, a larger step, or a shorter time range`,
    );
  }

  /** The answer's text, in pieces: totals, or buckets; the largest first. In slices, as there may be as many as streams. */
  async answer(): Promise<Iterable<string>> {
    const slices = new Slices();
    const largest = await this.largest(slices);
    const { stepNs } = this.request;
    return stepNs === null ? this.vector(largest) : this.matrix(await withBuckets(largest, slices), stepNs);
  }

  private *vector(groups: readonly Group[]): Generator<string> {
    const time = seconds(this.request.endNs);
    yield head("vector");
    for (const [i, { labels, total }] of groups.entries()) yield valueJson(i, labels, time, total);
    yield TAIL;
  }

  /** A vector, as Loki has it, when no series has more than one bucket. */
  private *matrix(series: readonly Series[], stepNs: bigint): Generator<string> {
    const { startNs, endNs } = this.request;
    const at = (bucket: number) => {
      const end = startNs + BigInt(bucket + 1) * stepNs;
      return seconds(end < endNs ? end - MS : endNs);
    };
    const isMatrix = series.some(({ count }) => count > 1);
    yield head(isMatrix ? "matrix" : "vector");
    for (const [i, { labels, buckets }] of series.entries()) {
      const all = [...buckets].filter(isSeen).sort(([a], [b]) => a - b);
      if (!isMatrix) {
        for (const [bucket, bytes] of all) yield valueJson(i, labels, at(bucket), bytes);
        continue;
      }
      yield `${i === 0 ? "" : ","}{"metric":${JSON.stringify(labels)},"values":[`;
      for (let from = 0; from < all.length; from += ITEMS_A_SLICE) {
        const some = all.slice(from, from + ITEMS_A_SLICE).map(([bucket, bytes]) => `[${at(bucket)},"${text(bytes)}"]`);
        yield (from === 0 ? "" : ",") + some.join(",");
      }
      yield "]}";
    }
    yield TAIL;
  }

  private async largest(slices: Slices): Promise<readonly Group[]> {
    const seen: { readonly group: Group; readonly name: string }[] = [];
    let looked = 0;
    for (const group of this.groups.values()) {
      if (Math.round(group.total) > 0) seen.push({ group, name: formatLabels(group.labels) });
      if (++looked % ITEMS_A_SLICE === 0) await slices.turn();
    }
    const compare = (a: (typeof seen)[0], b: (typeof seen)[0]) =>
      b.group.total - a.group.total || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
    const sorted = await sortedInSlices(seen, compare, slices);
    return sorted.slice(0, this.request.limit).map(({ group }) => group);
  }

  private groupsOf({ canonical, labels }: BlockSum): readonly Group[] {
    let groups = this.ofStream.get(canonical);
    if (groups === undefined) {
      groups = this.labelSets(labels).map((set) => this.group(set));
      this.ofStream.set(canonical, groups);
    }
    return groups;
  }

  private labelSets(labels: Labels): Labels[] {
    const { by, mustHaveAll, names } = this.request;
    const wanted = by ?? Object.keys(labels);
    const found = wanted.filter((name) => Object.hasOwn(labels, name)).sort();
    if (mustHaveAll && found.length < wanted.length) return [];
    if (names) return found.map((name) => ({ [name]: "" }));
    return [Object.fromEntries(found.map((name) => [name, labels[name]]))];
  }

  private group(labels: Labels): Group {
    const key = formatLabels(labels);
    let group = this.groups.get(key);
    if (group === undefined) {
      this.hold(GROUP_BYTES + key.length);
      group = { labels, total: 0, buckets: this.request.stepNs === null ? null : new Map() };
      this.groups.set(key, group);
    }
    return group;
  }
}

/** A series with the number of its buckets that are shown. */
interface Series {
  readonly labels: Labels;
  readonly buckets: ReadonlyMap<number, number>;
  readonly count: number;
}

/** Of a block that goes on into a bucket by a nanosecond nothing is there. */
const isSeen = ([, bytes]: readonly [number, number]): boolean => Math.round(bytes) > 0;

/** Those that have any. */
async function withBuckets(groups: readonly Group[], slices: Slices): Promise<Series[]> {
  const series: Series[] = [];
  for (const { labels, buckets } of groups) {
    let count = 0;
    for (const bucket of buckets ?? []) if (isSeen(bucket)) count++;
    if (buckets !== null && count > 0) series.push({ labels, buckets, count });
    await slices.turn();
  }
  return series;
}

const head = (type: string): string => `{"status":"success","data":{"resultType":"${type}","result":[`;
const TAIL = '],"stats":{}}}\n';

const valueJson = (place: number, labels: Labels, time: number, bytes: number): string =>
  `${place === 0 ? "" : ","}{"metric":${JSON.stringify(labels)},"value":[${time},"${text(bytes)}"]}`;

/** Of lines without the newlines between them, and of their metadata. */
const bytesOf = ({ textBytes, rows, metadataBytes }: BlockSum): number => textBytes - rows + metadataBytes;

const text = (bytes: number): string => String(Math.round(bytes));

/** How much of a block lies in `[startNs, endNs)`, by its time: 0 to 1. */
function partWithin({ timeMinNs, timeMaxNs }: BlockSum, startNs: bigint, endNs: bigint): number {
  if (timeMinNs >= startNs && timeMaxNs < endNs) return 1;
  const from = timeMinNs > startNs ? timeMinNs : startNs;
  const to = timeMaxNs + 1n < endNs ? timeMaxNs + 1n : endNs;
  return to <= from ? 0 : Number(to - from) / Number(timeMaxNs + 1n - timeMinNs);
}
