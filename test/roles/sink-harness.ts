import type { z } from "zod";
import { encode } from "../../src/codec/msgpack.ts";
import { WeirError } from "../../src/core/errors.ts";
import { ENTRY_FORWARD, type EntryDraft } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { ALL_TAKEN, type RecordSink, type SinkRecord, type WriteResult } from "../../src/core/sink.ts";
import type { IntakeLog } from "../../src/intake/intake.ts";
import { compilePipelines, type PipelineConfig } from "../../src/pipeline/compile.ts";
import { limitsOptions } from "../../src/pipeline/options.ts";
import { DigestCollector } from "../../src/roles/digest.ts";
import { SinkCollector } from "../../src/roles/sink-collector.ts";
import type { DeadLetter } from "../../src/roles/sink-delivery.ts";
import { sinkMetrics } from "../../src/roles/sink-metrics.ts";
import { deliveryOptions } from "../../src/roles/sink-options.ts";
import { SinkPositions } from "../../src/roles/sink-position.ts";
import { SinkRunner } from "../../src/roles/sink-runner.ts";

export const SINK = "out";

const PIPELINE: PipelineConfig = { name: "all", from: ["in"], match: ["**"], line: ["log"], steps: [], to: [SINK] };

/** One chunk of an agent with these lines. */
export function chunk(lines: readonly string[], receivedMs = 0): EntryDraft {
  const entries = lines.map((log, i) => encode([1_700_000_000 + i, { log, n: i }]));
  return {
    kind: ENTRY_FORWARD,
    tenant: "fake",
    source: "in",
    receivedMs,
    payload: encode(["app", Buffer.concat(entries)]),
  };
}

/** A destination that does what it is told, and keeps what it took. */
export class FakeDestination implements RecordSink {
  readonly taken: SinkRecord[] = [];
  readonly batches: number[] = [];
  closed = false;
  /** What becomes of a batch: an answer, or an error that is thrown. Records that an answer leaves out are taken. */
  answer: (batch: readonly SinkRecord[]) => WriteResult | Error | Promise<WriteResult | Error> = () => ALL_TAKEN;

  async write(batch: readonly SinkRecord[], _signal: AbortSignal): Promise<WriteResult> {
    const answer = await this.answer(batch);
    if (answer instanceof Error) throw answer;
    this.batches.push(batch.length);
    const failed = new Set(answer.failed.map(({ position }) => position));
    this.taken.push(...batch.filter((_, i) => !failed.has(i)));
    return answer;
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  get texts(): string[] {
    return this.taken.map(({ line }) => line.toString());
  }
}

export const away = () => new WeirError("sink_unavailable", "the destination is away", { retriable: true });

export interface Running {
  readonly runner: SinkRunner;
  readonly metrics: Metrics;
  readonly dead: DeadLetter[];
}

/** Starts a runner over `intake` that keeps its position in `folder`. */
export async function startRunner(
  intake: IntakeLog,
  destination: RecordSink,
  folder: string,
  {
    options = {},
    now = () => 0,
    wantsJson = false,
    bury = async () => {},
  }: {
    options?: z.input<typeof deliveryOptions>;
    now?: () => number;
    wantsJson?: boolean;
    /** Before letters are kept. */
    bury?: () => Promise<void>;
  } = {},
): Promise<Running> {
  const metrics = new Metrics();
  const dead: DeadLetter[] = [];
  const given = deliveryOptions.parse({ batch_age_ms: 0, ...options });
  const { digest, sample } = given;
  const collector =
    digest === undefined ? new SinkCollector(0, { wantsJson, sample }) : new DigestCollector(0, SINK, digest, sample);
  const pipelines = compilePipelines([PIPELINE], {
    parsers: {},
    sinks: { [SINK]: collector },
    metrics: new Metrics(),
    log: silentLogger,
    limits: limitsOptions.parse({}),
  });
  const runner = new SinkRunner(given, {
    name: SINK,
    partition: 0,
    intake,
    pipelines,
    collector,
    sink: destination,
    positions: await SinkPositions.open(folder, SINK),
    deadLetters: {
      add: async (_sink, letters) => {
        await bury();
        dead.push(...letters);
      },
    },
    metrics: sinkMetrics(metrics)(SINK),
    log: silentLogger,
    now,
    sleep: () => new Promise((resolve) => setTimeout(resolve, 1)),
    random: () => 0,
  });
  runner.start();
  return { runner, metrics, dead };
}
