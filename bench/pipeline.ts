/*
 * What the pipeline costs a record, without receiver, intake log and store:
 *
 *   node dist/bench/pipeline.js [RECORDS]
 *
 * Kubernetes-shaped records of the three kinds of lines in lines.ts, in packed messages of about 1 MB, through
 * pipelines that do more and more of the work, to a sink that keeps nothing.
 */
import { pathToFileURL } from "node:url";
import { EventCursor } from "../src/codec/event-cursor.ts";
import { readForwardMessage } from "../src/codec/forward-message.ts";
import { encode } from "../src/codec/msgpack.ts";
import { ENTRY_FORWARD, type IntakeEntry } from "../src/core/intake-entry.ts";
import type { Labels } from "../src/core/labels.ts";
import type { LineSink, StreamHandle } from "../src/core/line.ts";
import { silentLogger } from "../src/core/log.ts";
import { Metrics } from "../src/core/metrics.ts";
import { compilePipelines, type PipelineConfig, type Pipelines } from "../src/pipeline/compile.ts";
import { limitsOptions } from "../src/pipeline/options.ts";
import { steps } from "../src/pipeline/steps/index.ts";
import { makeLine, makeSources, Random, type Source } from "./lines.ts";

const MESSAGE_BYTES = 1_000_000;
const ROUNDS = 7;

type StepName = keyof typeof steps;
type GivenSteps = readonly (readonly [StepName, unknown])[];

const LABELS: GivenSteps[number] = [
  "labels",
  {
    namespace: "kubernetes.namespace_name",
    app: ['kubernetes.labels["app.kubernetes.io/name"]', "kubernetes.labels.app", "kubernetes.container_name"],
    container: "kubernetes.container_name",
  },
];
const METADATA: GivenSteps[number] = [
  "metadata",
  {
    pod: "kubernetes.pod_name",
    node: "kubernetes.host",
    pod_id: "kubernetes.pod_id",
    container_id: "kubernetes.docker_id",
  },
];

/** Counts, and reads what a sink would copy. */
class NullSink implements LineSink {
  lines = 0;
  bytes = 0;
  traced = 0;

  stream(tenant: string, labels: Labels, canonical: string): StreamHandle {
    return { tenant, labels, canonical };
  }

  append(_stream: StreamHandle, line: { start: number; end: number; idAt: Int32Array }): void {
    this.lines++;
    this.bytes += line.end - line.start;
    if (line.idAt[0] !== -2) this.traced++;
  }
}

function compile(given: GivenSteps, sink: LineSink): Pipelines {
  const config: PipelineConfig = {
    name: "bench",
    from: ["in"],
    match: ["**"],
    line: ["log", "message"],
    steps: given.map(([name, options]) => ({ name, options: steps[name].options.parse(options) })),
    to: ["null"],
  };
  return compilePipelines([config], {
    parsers: {},
    sinks: { null: sink },
    metrics: new Metrics(),
    log: silentLogger,
    limits: limitsOptions.parse({}),
  });
}

function record(source: Source, pod: string, line: string): Buffer {
  return encode([
    [{ ext: 0, data: Buffer.from("65f0000000000001", "hex") }, {}],
    {
      time: "2024-03-12T10:00:00.123456789Z",
      stream: "stdout",
      _p: "F",
      log: line,
      kubernetes: {
        pod_name: pod,
        namespace_name: source.namespace,
        pod_id: "3c1f3f0a-3a52-4c8e-9d51-5ad7f1c7a001",
        labels: { app: source.app, "pod-template-hash": "7d9f5c" },
        host: source.node,
        pod_ip: "10.44.1.23",
        container_name: source.container,
        docker_id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        container_image: `registry.example/${source.app}:1.4.2`,
      },
    },
  ]);
}

/** Entries of about 1 MB, each of one pod, with lines of one kind or of all. */
function makeEntries(kind: Source["kind"] | "all", count: number): IntakeEntry[] {
  const random = new Random(1);
  const sources = makeSources(random).filter((source) => kind === "all" || source.kind === kind);
  const entries: IntakeEntry[] = [];
  for (let made = 0; made < count; ) {
    const source = sources[entries.length % sources.length];
    const parts: Buffer[] = [];
    for (let size = 0; size < MESSAGE_BYTES; made++) {
      const part = record(source, source.pods[0], makeLine(random, source, 1_710_237_600_000 + made, random.hex(4)));
      parts.push(part);
      size += part.length;
    }
    const tag = `kube.var.log.containers.${source.pods[0]}_${source.namespace}_${source.container}.log`;
    const payload = encode([tag, Buffer.concat(parts)]);
    entries.push({ kind: ENTRY_FORWARD, tenant: "fake", source: "in", receivedMs: 0, payload, offset: entries.length });
  }
  return entries;
}

/** Microseconds of processor time a record, the least of several rounds. */
function measure(
  entries: readonly IntakeEntry[],
  work: (entry: IntakeEntry) => number,
): { us: number; records: number } {
  let best = Number.POSITIVE_INFINITY;
  let records = 0;
  for (let round = 0; round < ROUNDS; round++) {
    records = 0;
    const before = process.cpuUsage();
    for (const entry of entries) records += work(entry);
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, (user + system) / records);
  }
  return { us: best, records };
}

/** Prints one line for each kind of lines and each amount of work. */
export function benchPipeline(records: number, print: (text: string) => void): void {
  const walkCursor = new EventCursor();
  const walk = (entry: IntakeEntry) => {
    walkCursor.open(entry.payload, readForwardMessage(entry.payload));
    let count = 0;
    while (walkCursor.next()) count++;
    return count;
  };
  const works: [string, GivenSteps | null][] = [
    ["walk alone", null],
    ["lines", []],
    ["+ labels", [LABELS]],
    ["+ metadata", [LABELS, METADATA]],
    ["+ level", [LABELS, METADATA, ["level", {}]]],
    ["+ trace", [LABELS, METADATA, ["trace", {}], ["level", {}]]],
  ];
  for (const kind of ["json", "mesh", "text", "all"] as const) {
    const entries = makeEntries(kind, records);
    for (const [name, given] of works) {
      const sink = new NullSink();
      const pipelines = given === null ? null : compile(given, sink);
      const { us, records: seen } = measure(entries, (entry) => {
        if (pipelines === null) return walk(entry);
        const before = sink.lines;
        const run = pipelines.begin(entry);
        while (run.step(1000));
        return sink.lines - before;
      });
      const size =
        sink.lines > 0
          ? `, ${Math.round(sink.bytes / sink.lines)} bytes a line, ${Math.round((100 * sink.traced) / sink.lines)}% traced`
          : "";
      print(`${kind.padEnd(5)} ${name.padEnd(11)} ${us.toFixed(3)} us a record (${seen} records${size})`);
    }
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  benchPipeline(Number(process.argv[2] ?? 60_000), (text) => process.stdout.write(`${text}\n`));
}
