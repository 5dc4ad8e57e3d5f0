import { type Encodable, encode } from "../../src/codec/msgpack.ts";
import type { ParserSpec } from "../../src/core/component.ts";
import { ENTRY_FORWARD, type IntakeEntry } from "../../src/core/intake-entry.ts";
import type { Labels } from "../../src/core/labels.ts";
import { ID_ABSENT, ID_BYTES, ID_NAMES, type Line, type LineSink, type StreamHandle } from "../../src/core/line.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { compilePipelines, type PipelineConfig, type Pipelines } from "../../src/pipeline/compile.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import { steps } from "../../src/pipeline/steps/index.ts";

/** A line as a sink got it, copied. */
export interface Got {
  readonly tenant: string;
  readonly labels: Labels;
  readonly sec: number;
  readonly nsec: number;
  readonly bytes: Buffer;
  readonly text: string;
  /** Everything: shared, further, ids in hex, and the level as `detected_level`. */
  readonly metadata: Record<string, string>;
  readonly idAt: readonly number[];
  readonly handle: StreamHandle;
  readonly shared: unknown;
}

/** Keeps what it gets, and checks what every sink relies on. */
export class CollectSink implements LineSink {
  readonly got: Got[] = [];
  readonly handles = new Map<string, StreamHandle>();

  stream(tenant: string, labels: Labels, canonical: string): StreamHandle {
    const key = `${tenant} ${canonical}`;
    const handle = this.handles.get(key) ?? { tenant, labels: { ...labels }, canonical };
    this.handles.set(key, handle);
    return handle;
  }

  append(handle: StreamHandle, line: Line): void {
    const metadata: Record<string, string> = {};
    const add = (name: string, value: string) => {
      if (name in metadata) throw new Error(`metadata ${name} twice: ${metadata[name]} and ${value}`);
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new Error(`metadata name ${JSON.stringify(name)}`);
      if (value === "") throw new Error(`metadata ${name} is empty`);
      metadata[name] = value;
    };
    for (const [name, value] of line.shared.pairs) add(name, value);
    for (let i = 0; i < line.extraCount; i++) add(line.extraNames[i] ?? "", line.extraValues[i] ?? "");
    if (line.level !== "") add("detected_level", line.level);
    const bytes = Buffer.from(line.bytes.subarray(line.start, line.end));
    for (const [slot, name] of ID_NAMES.entries()) {
      const at = line.idAt[slot] ?? ID_ABSENT;
      if (at === ID_ABSENT) continue;
      const hex = Buffer.from(line.ids.subarray(slot * 16, slot * 16 + (ID_BYTES[slot] ?? 0))).toString("hex");
      const text = name === "request_id" ? hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5") : hex;
      add(name, text);
      if (at >= 0 && bytes.toString("latin1", at, at + text.length) !== text)
        throw new Error(`${name} is not at ${at}`);
    }
    this.got.push({
      tenant: handle.tenant,
      labels: handle.labels,
      sec: line.sec,
      nsec: line.nsec,
      bytes,
      text: bytes.toString(),
      metadata,
      idAt: [...line.idAt],
      handle,
      shared: line.shared,
    });
  }
}

export type GivenStep = { readonly [K in keyof typeof steps]?: unknown };

export interface Setup {
  readonly steps?: readonly GivenStep[];
  readonly line?: readonly string[];
  readonly match?: readonly string[];
  readonly limits?: Record<string, unknown>;
  readonly parsers?: Readonly<Record<string, ParserSpec>>;
  readonly now?: () => number;
  readonly metrics?: Metrics;
}

/** Steps as a pipeline file has them, their options checked by the schemas. */
export function checkedSteps(given: readonly GivenStep[]): PipelineConfig["steps"] {
  return given.flatMap((step) =>
    Object.entries(step).map(([name, options]) => ({
      name,
      options: steps[name as keyof typeof steps].options.parse(options),
    })),
  );
}

export function setUp(setup: Setup = {}): { pipelines: Pipelines; sink: CollectSink } {
  const sink = new CollectSink();
  const config: PipelineConfig = {
    name: "test",
    from: ["in"],
    match: setup.match ?? ["**"],
    line: setup.line ?? ["log", "message", "msg", "MESSAGE"],
    steps: checkedSteps(setup.steps ?? []),
    to: ["store"],
  };
  const pipelines = compilePipelines([config], {
    parsers: setup.parsers ?? {},
    sinks: { store: sink },
    metrics: setup.metrics ?? new Metrics(),
    log: silentLogger,
    limits: limitsOptions.parse(setup.limits ?? {}),
    ...(setup.now === undefined ? {} : { now: setup.now }),
  });
  return { pipelines, sink };
}

export function entryOf(payload: Buffer, source = "in", tenant = "fake"): IntakeEntry {
  return { kind: ENTRY_FORWARD, tenant, source, receivedMs: 0, payload, offset: 0 };
}

/** An event's bytes: EventTime 1700000000.000000007, its metadata, and its record, which may be bytes already. */
export function eventBytes(
  record: Encodable | Buffer,
  metadata: Encodable = {},
  sec = 1_700_000_000,
  nsec = 7,
): Buffer {
  const time = Buffer.alloc(10);
  time[0] = 0xd7;
  time.writeUInt32BE(sec, 2);
  time.writeUInt32BE(nsec, 6);
  const body = Buffer.isBuffer(record) ? record : encode(record);
  return Buffer.concat([Buffer.of(0x92, 0x92), time, encode(metadata), body]);
}

export function packed(events: readonly Buffer[], tag = "app.web"): Buffer {
  return encode([tag, Buffer.concat(events)]);
}

/** Runs an entry to its end in slices of `slice` records. */
export function runEntry(pipelines: Pipelines, entry: IntakeEntry, slice = 1000): void {
  const run = pipelines.begin(entry);
  while (run.step(slice));
}

/** What becomes of these records, each a map or an array of map and event metadata. */
export function pass(setup: Setup, records: readonly (Encodable | Buffer)[], tag = "app.web"): Got[] {
  const { pipelines, sink } = setUp(setup);
  runEntry(
    pipelines,
    entryOf(
      packed(
        records.map((record) => eventBytes(record)),
        tag,
      ),
    ),
  );
  return sink.got;
}

export function passOne(setup: Setup, record: Encodable | Buffer, metadata: Encodable = {}, tag = "app.web"): Got {
  const { pipelines, sink } = setUp(setup);
  runEntry(pipelines, entryOf(packed([eventBytes(record, metadata)], tag)));
  const [got] = sink.got;
  if (got === undefined || sink.got.length !== 1) throw new Error(`want one line, got ${sink.got.length}`);
  return got;
}
