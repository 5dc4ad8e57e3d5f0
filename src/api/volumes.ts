import { formatLabels, type Labels } from "../core/labels.ts";
import type { BlockSum } from "../query/engine.ts";
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
  /** Length of a bucket; the whole range is one without. */
  readonly stepNs: bigint;
  readonly limit: number;
  /** Labels to group by; null: all of a stream. */
  readonly by: readonly string[] | null;
  /** Whether only streams with all of `by` count. */
  readonly mustHaveAll: boolean;
  /** One element for each label's name, rather than for each set of labels. */
  readonly names: boolean;
}

interface Group {
  readonly labels: Labels;
  total: number;
  /** Bytes by the bucket's number. */
  readonly buckets: Map<number, number>;
}

/** `index/volume` and `index/volume_range`. */
export class Volumes {
  private readonly request: VolumeRequest;
  private readonly groups = new Map<string, Group>();
  /** The groups of each stream, since a stream has many blocks. */
  private readonly ofStream = new Map<string, readonly Group[]>();

  constructor(request: VolumeRequest) {
    this.request = request;
  }

  add(block: BlockSum): void {
    const groups = this.groupsOf(block);
    if (groups.length === 0) return;
    const { startNs, endNs, stepNs } = this.request;
    const from = block.timeMinNs < startNs ? startNs : block.timeMinNs;
    const last = block.timeMaxNs >= endNs ? endNs - 1n : block.timeMaxNs;
    for (let bucket = (from - startNs) / stepNs; startNs + bucket * stepNs <= last; bucket++) {
      const begin = startNs + bucket * stepNs;
      const end = begin + stepNs < endNs ? begin + stepNs : endNs;
      const bytes = bytesOf(block) * partWithin(block, begin, end);
      for (const group of groups) {
        group.total += bytes;
        group.buckets.set(Number(bucket), (group.buckets.get(Number(bucket)) ?? 0) + bytes);
      }
    }
  }

  /** A vector of totals, the largest first. */
  vector(): unknown {
    const time = seconds(this.request.endNs);
    const result = this.largest().map(({ labels, total }) => ({ metric: labels, value: [time, text(total)] }));
    return { resultType: "vector", result };
  }

  /** A matrix of buckets; a vector, as Loki has it, when no series has more than one. */
  matrix(): unknown {
    const { startNs, endNs, stepNs } = this.request;
    const at = (bucket: number) => {
      const end = startNs + BigInt(bucket + 1) * stepNs;
      return seconds(end < endNs ? end - MS : endNs);
    };
    const all = this.largest().map(({ labels, buckets }) => ({
      metric: labels,
      // Of a block that goes on into a bucket by a nanosecond nothing is there.
      values: [...buckets]
        .filter(([, bytes]) => Math.round(bytes) > 0)
        .sort(([a], [b]) => a - b)
        .map(([bucket, bytes]) => [at(bucket), text(bytes)] as const),
    }));
    const series = all.filter(({ values }) => values.length > 0);
    if (series.some(({ values }) => values.length > 1)) return { resultType: "matrix", result: series };
    return { resultType: "vector", result: series.map(({ metric, values: [value] }) => ({ metric, value })) };
  }

  private largest(): Group[] {
    const sorted = [...this.groups.values()]
      .filter(({ total }) => Math.round(total) > 0)
      .map((group) => ({ group, name: formatLabels(group.labels) }))
      .sort((a, b) => b.group.total - a.group.total || (a.name < b.name ? -1 : 1));
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
      group = { labels, total: 0, buckets: new Map() };
      this.groups.set(key, group);
    }
    return group;
  }
}

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
