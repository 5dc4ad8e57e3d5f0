/*
 * What sending a record costs, from a batch of records to the destination's answer:
 *
 *   node dist/bench/sinks.js [LINE_BYTES]
 *
 * Each sink against a local server that speaks its protocol and keeps nothing, in a process of its own; Kafka against a real
 * broker, where there is one (kafka.ts). CPU is that of this process alone. Kubernetes-shaped records of lines.ts. Beside them the chunk store, with the same lines. What comes before, reading the intake log and the pipeline, every sink has
 * as the store has it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { recordSinks } from "../sinks/index.ts";
import { canonicalLabels } from "../src/core/labels.ts";
import { Line } from "../src/core/line.ts";
import { silentLogger } from "../src/core/log.ts";
import { Metrics } from "../src/core/metrics.ts";
import type { RecordSinkSpec, SinkRecord } from "../src/core/sink.ts";
import { openObjectStore } from "../src/objects/open.ts";
import { connectForward } from "../src/roles/connect-forward.ts";
import { deliveryOptions } from "../src/roles/sink-options.ts";
import { openCatalog } from "../src/store/catalog.ts";
import { storeOptions } from "../src/store/options.ts";
import { openStreamWriter } from "../src/store/writer.ts";
import { KAFKA_SKIPPED, type KafkaServer } from "../test/live/kafka-server.ts";
import { withKafka } from "./kafka.ts";
import { makeLine, makeSources, Random } from "./lines.ts";
import { row, section } from "./print.ts";

const SERVERS = fileURLToPath(new URL("./null-servers.js", import.meta.url));
/** Records of one intake entry, as an agent's chunk of some 100 kB has them. */
const ENTRY_RECORDS = 300;
const DIFFERENT_RECORDS = 20_000;

/** What metrics.yaml has of every line. */
const METRICS = [
  {
    type: "counter",
    name: "app_lines_total",
    help: "Lines.",
    labels: { namespace: "$labels.namespace", app: "$labels.app", level: "$level" },
  },
  {
    type: "histogram",
    name: "app_line_bytes",
    help: "Bytes.",
    value: "$line_bytes",
    buckets: [100, 200, 500, 1000],
    labels: { namespace: "$labels.namespace", app: "$labels.app" },
  },
];

interface Case {
  readonly name: string;
  readonly type: keyof typeof recordSinks;
  readonly options: Record<string, unknown>;
}

/** Sends about `lineBytes` of lines through each sink, and prints what that cost. */
export async function benchSinks(lineBytes: number, seed: number, kafka: KafkaServer | null): Promise<void> {
  section(`sinks: ${(lineBytes / 1e6).toFixed(0)} MB of lines each, to servers that keep nothing`);
  const records = makeRecords(seed);
  const folder = mkdtempSync(path.join(os.tmpdir(), "weir-bench-sinks-"));
  const servers = await NullServers.start();
  try {
    const url = `http://127.0.0.1:${servers.http}/`;
    const forward = `tcp://127.0.0.1:${servers.forward}`;
    const cases: Case[] = [
      { name: "null", type: "null", options: {} },
      { name: "loki, protobuf and snappy", type: "loki", options: { url } },
      { name: "http, NDJSON and gzip", type: "http", options: { url } },
      { name: "http, NDJSON", type: "http", options: { url, gzip: false } },
      { name: "http, NDJSON of whole records", type: "http", options: { url, gzip: false, form: "record" } },
      { name: "elasticsearch, ECS and gzip", type: "elasticsearch", options: { nodes: [url] } },
      { name: "elasticsearch, ECS", type: "elasticsearch", options: { nodes: [url], gzip: false } },
      {
        name: "elasticsearch, whole records",
        type: "elasticsearch",
        options: { nodes: [url], gzip: false, form: "record" },
      },
      { name: "forward, whole records", type: "forward", options: { url: forward } },
      { name: "forward, lines", type: "forward", options: { url: forward, send: "line" } },
      { name: "file, one for each of 100 streams", type: "file", options: { path: `${folder}/a/{app}.log` } },
      { name: "file, lines and gzip", type: "file", options: { path: `${folder}/b.log`, form: "line", gzip: true } },
      { name: "otlp, protobuf and gzip", type: "otlp", options: { url } },
      { name: "otlp, protobuf", type: "otlp", options: { url, gzip: false } },
      { name: "prometheus, a counter and a histogram", type: "prometheus", options: { metrics: METRICS } },
      { name: "remote_write, the same", type: "remote_write", options: { url, metrics: METRICS } },
    ];
    await benchStore(records, lineBytes, path.join(folder, "store"));
    if (kafka === null) row("kafka", KAFKA_SKIPPED);
    else {
      await kafka.createTopic("sinks", 4);
      const topic = { brokers: kafka.addresses, topic: "sinks", key: "{app}" };
      cases.push(
        { name: "kafka, gzip, to a real broker", type: "kafka", options: topic },
        { name: "kafka, snappy, to a real broker", type: "kafka", options: { ...topic, compression: "snappy" } },
        { name: "kafka, lines, to a real broker", type: "kafka", options: { ...topic, form: "line" } },
      );
    }
    for (const one of cases) await benchSink(one, records, lineBytes, path.join(folder, "notes", one.name));
  } finally {
    servers.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function benchSink(
  { name, type, options }: Case,
  records: readonly SinkRecord[],
  lineBytes: number,
  folder: string,
) {
  const spec: RecordSinkSpec = recordSinks[type];
  const metrics = new Metrics();
  const sink = spec.open(spec.options.parse(options), {
    name,
    folder,
    connectForward,
    metrics,
    log: silentLogger,
    now: Date.now,
  });
  const { batch_records_max } = deliveryOptions.parse({});
  const { signal } = new AbortController();
  // Connections and topics are made with the first record.
  while ((await sink.write([{ ...records[0], id: "0-0-0" }], signal)).failed.length > 0) await setTimeout(200);
  let sent = 0;
  let bytes = 0;
  let offset = 0;
  const clock = new Clock();
  while (bytes < lineBytes) {
    const batch = Array.from({ length: batch_records_max }, (_, i): SinkRecord => {
      const at = sent + i;
      if (at % ENTRY_RECORDS === 0) offset++;
      const record = records[at % records.length];
      bytes += record.line.length;
      return { ...record, id: `0-${offset}-${at % ENTRY_RECORDS}` };
    });
    const { failed } = await sink.write(batch, signal);
    if (failed.length > 0) throw new Error(`${name}: ${failed[0].reason}`);
    sent += batch.length;
  }
  await sink.flush?.run(signal);
  clock.report(name, sent, bytes);
  await sink.close();
}

/** The chunk store, into a folder: what the same lines cost there, from the pipeline's end to committed segments. */
async function benchStore(records: readonly SinkRecord[], lineBytes: number, folder: string): Promise<void> {
  const metrics = new Metrics();
  const objects = await openObjectStore(folder, {});
  const catalog = await openCatalog(objects, metrics, silentLogger);
  const writer = openStreamWriter(storeOptions.parse({}), {
    objects,
    catalog,
    metrics,
    log: silentLogger,
    partition: 0,
    now: () => performance.now(),
  });
  const line = new Line();
  let sent = 0;
  let bytes = 0;
  let flushing = Promise.resolve();
  const clock = new Clock();
  while (bytes < lineBytes) {
    for (let i = 0; i < ENTRY_RECORDS; i++, sent++) {
      const record = records[sent % records.length];
      lineOf(record, line);
      writer.append(writer.stream(record.tenant, record.labels, record.canonical), line);
      bytes += record.line.length;
    }
    await writer.pressure();
    if (!writer.needsFlush()) continue;
    await flushing;
    flushing = writer.flush(sent);
  }
  await flushing;
  await writer.flush(sent + 1);
  clock.report("store, segments in a folder", sent, bytes);
  await objects.close();
}

function lineOf({ sec, nsec, line: bytes, metadata }: SinkRecord, line: Line): void {
  line.clear();
  line.sec = sec;
  line.nsec = nsec;
  line.bytes = bytes;
  line.start = 0;
  line.end = bytes.length;
  for (const [name, value] of metadata) {
    if (name === "detected_level") line.level = value;
    else line.addExtra(name, value);
  }
}

/** Time and CPU since it was made. */
class Clock {
  private readonly began = performance.now();
  private readonly cpu = process.cpuUsage();

  report(name: string, records: number, bytes: number): void {
    const seconds = (performance.now() - this.began) / 1000;
    const { user, system } = process.cpuUsage(this.cpu);
    const cpu = (user + system) / 1e6 / (bytes / 1e9);
    row(name, `${Math.round(records / seconds).toLocaleString("en")} records/s, ${cpu.toFixed(1)} CPU s a GB of lines`);
  }
}

function makeRecords(seed: number): SinkRecord[] {
  const random = new Random(seed);
  const sources = makeSources(random);
  const ms = 1_750_000_000_000;
  return Array.from({ length: DIFFERENT_RECORDS }, (_, i): SinkRecord => {
    const source = sources[i % sources.length];
    const trace = random.hex(4);
    const line = makeLine(random, source, ms + i, trace);
    const labels = { namespace: source.namespace, app: source.app, container: source.container };
    const pod = source.pods[0];
    const kubernetes = {
      pod_name: pod,
      namespace_name: source.namespace,
      host: source.node,
      labels: { app: source.app },
    };
    return {
      id: "",
      tenant: "fake",
      sec: Math.floor((ms + i) / 1000),
      nsec: ((ms + i) % 1000) * 1e6,
      labels,
      canonical: canonicalLabels(labels),
      metadata: [
        ["pod", pod],
        ["node", source.node],
        ["detected_level", "info"],
        ["trace_id", trace],
      ],
      line: Buffer.from(line),
      json: JSON.stringify({ kubernetes, log: line, stream: "stdout" }),
    };
  });
}

/** The process of null-servers.ts. */
class NullServers {
  readonly http: number;
  readonly forward: number;
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess, http: number, forward: number) {
    this.child = child;
    this.http = http;
    this.forward = forward;
  }

  static async start(): Promise<NullServers> {
    const child = spawn(process.execPath, [SERVERS], { stdio: ["pipe", "pipe", "inherit"] });
    const text = await new Promise<string>((resolve, reject) => {
      child.stdout.once("data", (data: Buffer) => resolve(data.toString()));
      child.once("exit", (code) => reject(new Error(`the null servers ended with ${code}`)));
    });
    const ports = /http=(\d+) forward=(\d+)/.exec(text);
    if (ports === null) throw new Error(`the null servers said ${text}`);
    return new NullServers(child, Number(ports[1]), Number(ports[2]));
  }

  stop(): void {
    this.child.stdin?.end();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await withKafka((kafka) => benchSinks(Number(process.argv[2] ?? 10_000_000), 1, kafka));
}
