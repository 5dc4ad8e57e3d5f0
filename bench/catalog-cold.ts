/*
 * One query by a process that has just been started: node catalog-cold.js '{"root":…,"startNs":…,"endNs":…,"app":…}'.
 * Prints what it read and how long it took until the first block was scanned, as JSON.
 */
import { performance } from "node:perf_hooks";
import { DEFAULT_TENANT } from "../src/core/labels.ts";
import { silentLogger } from "../src/core/log.ts";
import { Metrics } from "../src/core/metrics.ts";
import { openObjectStore } from "../src/objects/open.ts";
import type { ObjectStore } from "../src/objects/store.ts";
import { compileSelector } from "../src/query/compile.ts";
import { labelValues } from "../src/query/label-values.ts";
import { BlockPlan } from "../src/query/plan.ts";
import { QueryStats } from "../src/query/stats.ts";
import { parseSelector } from "../src/query/syntax/parse.ts";
import { openCatalog } from "../src/store/catalog.ts";
import { SegmentReader } from "../src/store/reader.ts";

interface Query {
  readonly root: string;
  readonly startNs: string;
  readonly endNs: string;
  readonly app: string;
}

const query = JSON.parse(process.argv[2] ?? "{}") as Query;
const openedMs = performance.now();
const openedCpu = cpuMs();
const objects = await openObjectStore(query.root);
let catalogBytes = 0;
const { get } = objects;
const counted: ObjectStore = objects;
counted.get = async (key) => {
  const bytes = await get.call(objects, key);
  catalogBytes += bytes.length;
  return bytes;
};
const catalog = await openCatalog(counted, new Metrics(), silentLogger);
const matchers = parseSelector(`{app="${query.app}"}`);
const matches = compileSelector(matchers);
const labels = labelValues(matchers);
const range = { tenant: DEFAULT_TENANT, startNs: BigInt(query.startNs), endNs: BigInt(query.endNs) };
const reader = new SegmentReader(objects, { cacheBytes: 1 << 20 });
const segments = catalog.view();
const found = new Set<string>();
const fail = (what: { key: string }, error: unknown) => {
  throw new Error(`${what.key} can't be read`, { cause: error });
};
const plan = new BlockPlan(
  { segments, pending: [], open: [] },
  { ...range, backward: true, wantsStream: (_canonical, stream) => matches(stream), labels },
  {
    index: (info) => {
      found.add(info.key);
      return reader.index(info);
    },
    // The other segments of the hour are not there: only what a filter lets pass by mistake is looked for.
    onLost: () => undefined,
    onLostPart: fail,
    counts: new QueryStats().plan,
  },
);
const block = await plan.next();
if (block === null || block.segment === null) throw new Error("the query has found no block");
const view = await reader.openBlock(block.segment, block);
const { rows } = view;
if (view.lineStarts.length !== rows + 1) throw new Error("the block is not what it should be");
const now = performance.now();
// `performance.now()` counts from the start of the process.
process.stdout.write(
  JSON.stringify({
    catalogBytes,
    segments: found.size,
    storeMs: now - openedMs,
    storeCpuMs: cpuMs() - openedCpu,
    totalMs: now,
    totalCpuMs: cpuMs(),
  }),
);

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
