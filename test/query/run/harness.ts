import { canonicalLabels, DEFAULT_TENANT, type Labels } from "../../../src/core/labels.ts";
import { ID_ELSEWHERE, Line, NO_METADATA, type SharedMetadata, TRACE_ID } from "../../../src/core/line.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { Metrics } from "../../../src/core/metrics.ts";
import { MemoryStore } from "../../../src/objects/memory.ts";
import { openObjectStore } from "../../../src/objects/open.ts";
import type { ObjectStore } from "../../../src/objects/store.ts";
import { createEngine, type EngineDeps } from "../../../src/query/create.ts";
import type { Engine, LogResult } from "../../../src/query/engine.ts";
import { localSnapshots } from "../../../src/query/local-snapshots.ts";
import { queryOptions } from "../../../src/query/options.ts";
import { type Catalog, openCatalog } from "../../../src/store/catalog.ts";
import { storeOptions } from "../../../src/store/options.ts";
import { SegmentReader } from "../../../src/store/reader.ts";
import { openStreamWriter, type StreamWriter } from "../../../src/store/writer.ts";

/** One line to store. `ns` is its time. */
export interface Given {
  readonly labels: Labels;
  readonly ns: bigint;
  readonly text: string | Buffer;
  readonly metadata?: Labels;
  /** Metadata that it has in common with other lines: one object for each set. */
  readonly shared?: SharedMetadata;
  readonly level?: string;
  /** 32 hex digits. Where the line has them too, the store keeps their place. */
  readonly trace?: string;
  readonly tenant?: string;
}

export interface TestStore {
  readonly writer: StreamWriter;
  readonly engine: Engine;
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
  readonly metrics: Metrics;
  readonly reader: SegmentReader;
  append(given: Given): void;
  /** Commits what was appended. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface StoreSetup {
  readonly query?: Record<string, unknown>;
  readonly store?: Record<string, unknown>;
  /** A folder, for tests with real threads. In memory, and scanned in this thread, without. */
  readonly folder?: string;
  /** What queries must not see. */
  readonly hidden?: EngineDeps["hidden"];
}

/** A store with a writer and an engine over it. Blocks are small, so that a query meets many. */
export async function makeStore({ query = {}, store = {}, folder, hidden }: StoreSetup = {}): Promise<TestStore> {
  const objects = folder === undefined ? new MemoryStore() : await openObjectStore(folder);
  const metrics = new Metrics();
  const catalog = await openCatalog(objects, metrics, silentLogger);
  const options = storeOptions.parse({ block_bytes: 4096, level: 1, ...store });
  const writer = openStreamWriter(options, {
    objects,
    catalog,
    metrics,
    log: silentLogger,
    now: Date.now,
    partition: 0,
  });
  const reader = new SegmentReader(objects, { cacheBytes: 1 << 20 });
  const engine = createEngine(queryOptions.parse({ threads: folder === undefined ? 0 : 2, ...query }), {
    snapshots: localSnapshots(catalog, [writer]),
    ...(hidden === undefined ? {} : { hidden }),
    reader,
    objectsUrl: folder ?? "memory:",
    metrics,
    log: silentLogger,
  });
  const line = new Line();
  let count = 0;
  return {
    writer,
    engine,
    objects,
    catalog,
    metrics,
    reader,
    append(given) {
      fill(line, given);
      const { labels, tenant = DEFAULT_TENANT } = given;
      writer.append(writer.stream(tenant, labels, canonicalLabels(labels)), line);
      count++;
    },
    flush: () => writer.flush(count),
    async close() {
      await engine.close();
      writer.discard();
      await objects.close();
    },
  };
}

function fill(line: Line, { ns, text, metadata = {}, shared = NO_METADATA, level = "", trace }: Given): void {
  line.clear();
  line.shared = shared;
  line.level = level;
  line.sec = Number(ns / 1_000_000_000n);
  line.nsec = Number(ns % 1_000_000_000n);
  line.bytes = Buffer.isBuffer(text) ? text : Buffer.from(text);
  line.start = 0;
  line.end = line.bytes.length;
  for (const [name, value] of Object.entries(metadata)) line.addExtra(name, value);
  if (trace === undefined) return;
  line.ids.set(Buffer.from(trace, "hex"), TRACE_ID * 16);
  const at = line.bytes.indexOf(trace);
  line.idAt[TRACE_ID] = at === -1 ? ID_ELSEWHERE : at;
}

export interface Found {
  readonly ns: bigint;
  readonly group: string;
  readonly detail: string;
  readonly text: string;
}

/** A result's entries in their order. */
export function entriesOf(result: LogResult): Found[] {
  return [...result.entries].map(({ sec, nsec, group, detail, line }) => ({
    ns: BigInt(sec) * 1_000_000_000n + BigInt(nsec),
    group,
    detail,
    text: line.toString(),
  }));
}

export const textsOf = (result: LogResult): string[] => entriesOf(result).map(({ text }) => text);

/** A time range that holds every line of a test. */
export const ALL_TIMES = { startNs: 1_600_000_000_000_000_000n, endNs: 1_800_000_000_000_000_000n } as const;
/** Where the tests' times begin. */
export const T0 = 1_700_000_000_000_000_000n;
export const SECOND = 1_000_000_000n;
