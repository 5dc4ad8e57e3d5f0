import { z } from "zod";
import { compressSnappy } from "../src/codec/snappy.ts";
import { Metrics, type Sample } from "../src/core/metrics.ts";
import { ALL_TAKEN, defineRecordSink, type RecordSinkDeps } from "../src/core/sink.ts";
import { HttpClient } from "./shared/http-client.ts";
import { httpTarget, httpUrl } from "./shared/http-options.ts";
import { LogMetrics } from "./shared/log-metrics.ts";
import { fieldsOf, labelNameText, metrics } from "./shared/metric-options.ts";
import { encodeWrite, labelsOf, type Point, STALE, type TimeSeries } from "./shared/remote-write-encode.ts";

const HEADERS = {
  "content-type": "application/x-protobuf",
  "content-encoding": "snappy",
  "x-prometheus-remote-write-version": "0.1.0",
};
/** These speak of the setup: what the series are by then is sent when it is mended. */
const SETUP: ReadonlySet<number> = new Set([401, 403, 404, 405, 407]);

const options = z.strictObject({
  url: httpUrl.describe("The receiver's address, as `http://prometheus:9090/api/v1/write`."),
  metrics,
  external_labels: z
    .record(labelNameText, z.string().min(1))
    .default({})
    .describe(
      "Labels that every series gets, for instance to tell several Weirs apart. A metric's own go before them.",
    ),
  interval_ms: z
    .int()
    .min(100)
    .default(15_000)
    .describe(
      "How often samples are sent. Prometheus wants one at least every five minutes, or takes a series for gone.",
    ),
  samples_max: z.int().min(1).max(100_000).default(2000).describe("Samples of one request at most."),
  ...httpTarget,
});

type Options = z.output<typeof options>;

export default defineRecordSink({
  name: "remote_write",
  summary:
    "Makes metrics from records as `prometheus` does, and sends them to Prometheus or whatever else takes its remote write (1.0). A record counts as taken once a sample that has it has been sent: after a crash those since then are counted again, by counters that begin anew. 5xx and 429 are tried again; samples that are refused with another 4xx are left out, which is logged and counted. While the receiver is away, or the setup is wrong (401, 403, 404), counting goes on.",
  options,
  wantsJson: (own) => fieldsOf(own.metrics).size > 0,
  fields: (own) => fieldsOf(own.metrics),
  open: (own, deps) => {
    const writer = new Writer(own, deps);
    return {
      async write(batch, signal) {
        signal.throwIfAborted();
        writer.counts.count(batch);
        return ALL_TAKEN;
      },
      flush: { everyMs: own.interval_ms, run: (signal) => writer.send(signal) },
      close: async () => writer.close(),
    };
  },
});

interface Request {
  readonly body: Buffer;
  readonly samples: number;
  readonly series: readonly Told[];
}

/** A series that a request tells the receiver of. */
interface Told extends TimeSeries {
  /** The text of its labels. */
  readonly key: string;
  /** Whether it is over. */
  readonly isEnd: boolean;
}

class Writer {
  readonly counts: LogMetrics;
  private readonly options: Options;
  private readonly deps: RecordSinkDeps;
  private readonly registry = new Metrics();
  private readonly client: HttpClient;
  private readonly refused: { inc(by: number): void };
  /** Labels of the series that the receiver knows, by their text. */
  private readonly known = new Map<string, TimeSeries["labels"]>();
  /** What is under way: requests that nobody has answered yet. */
  private pending: Request[] | null = null;
  private lastMs = 0;

  constructor(own: Options, deps: RecordSinkDeps) {
    this.options = own;
    this.deps = deps;
    this.counts = new LogMetrics(own.metrics, this.registry, deps);
    this.client = new HttpClient(own, deps.now);
    this.refused = deps.metrics
      .counter("weir_remote_write_refused_samples_total", "Samples that the receiver refused for good.", ["sink"])
      .labels({ sink: deps.name });
  }

  /** Sends what the metrics are now, after what a failed try has left. Rejects when the receiver can't be reached or is busy. */
  async send(signal: AbortSignal): Promise<void> {
    if (this.pending !== null) await this.finish(this.pending, signal);
    this.counts.expire();
    this.pending = await this.snapshot();
    await this.finish(this.pending, signal);
  }

  close(): void {
    this.client.close();
  }

  private async finish(requests: Request[], signal: AbortSignal): Promise<void> {
    for (let next = requests[0]; next !== undefined; next = requests[0]) {
      await this.post(next, signal);
      // One by one, because a later one may never be sent.
      for (const { key, labels, isEnd } of next.series) {
        if (isEnd) this.known.delete(key);
        else this.known.set(key, labels);
      }
      requests.shift();
    }
    this.pending = null;
  }

  private async post({ body, samples }: Request, signal: AbortSignal): Promise<void> {
    const isFinal = (status: number) => status >= 400 && status < 500 && status !== 429;
    const { taken, status, text } = await this.client.ask(body, HEADERS, signal, isFinal);
    if (taken) return;
    if (SETUP.has(status)) {
      this.pending = null; // A request that was refused is not sent again.
      throw this.client.unavailable(`answers ${text}`);
    }
    const { log, name } = this.deps;
    this.refused.inc(samples);
    log.warn({ sink: name, samples }, `sink ${name}: the receiver refused ${samples} samples: ${text}`);
  }

  private async snapshot(): Promise<Request[]> {
    // Later than the one before, whatever the clock says: receivers refuse what is out of order.
    const ms = Math.max(this.deps.now(), this.lastMs + 2);
    this.lastMs = ms;
    const all: Told[] = [];
    const present = new Set<string>();
    for (const sample of await this.registry.samples()) {
      const labels = labelsOf(sample, this.options.external_labels);
      const key = JSON.stringify(labels);
      present.add(key);
      all.push({ key, labels, isEnd: false, points: this.pointsOf(sample, this.known.has(key), ms) });
    }
    for (const [key, labels] of this.known) {
      if (!present.has(key)) all.push({ key, labels, isEnd: true, points: [{ value: STALE, ms }] });
    }
    return this.requestsOf(all);
  }

  /** A counter that is new to the receiver was 0 just before: else what it counted so far would be no increase. */
  private pointsOf({ value, isCounter }: Sample, isKnown: boolean, ms: number): Point[] {
    const now = { value, ms };
    return isCounter && !isKnown ? [{ value: 0, ms: ms - 1 }, now] : [now];
  }

  private requestsOf(all: readonly Told[]): Request[] {
    const requests: Request[] = [];
    let part: Told[] = [];
    let samples = 0;
    const end = () => {
      if (part.length > 0) requests.push({ body: compressSnappy(encodeWrite(part)), samples, series: part });
      part = [];
      samples = 0;
    };
    for (const series of all) {
      if (samples > 0 && samples + series.points.length > this.options.samples_max) end();
      part.push(series);
      samples += series.points.length;
    }
    end();
    return requests;
  }
}
