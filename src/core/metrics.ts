import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export type { Counter, Gauge, Histogram } from "prom-client";

/** Metrics as plain data, to be posted to another thread. */
export type MetricsJson = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

/** A series at one moment. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  /** Whether it only grows: a counter, or part of a histogram. */
  readonly isCounter: boolean;
}

interface SeriesValue {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName?: string;
}

/** Stands before a letter that stands for a character: \u0001c is a comma, \u0001e itself. */
const ESCAPE = "\u0001";

/**
 * A label's value as metrics have to be given it where it comes from outside, such as from a log line. The library tells series apart by the
 * text `a:1,b:2,` so that values with commas in them could make one series of two; these have none, and `render` and `samples`
 * show what was meant.
 */
export function labelValue(text: string): string {
  return /[\u0001,]/.test(text) ? text.replaceAll(ESCAPE, `${ESCAPE}e`).replaceAll(",", `${ESCAPE}c`) : text;
}

/** Undoes `labelValue` in any text that holds values. */
function shownValues(text: string): string {
  return text.includes(ESCAPE) ? text.replace(/\u0001([ce])/g, (_, letter) => (letter === "c" ? "," : ESCAPE)) : text;
}

const COUNTING: ReadonlySet<string> = new Set(["counter", "histogram"]);

/**
 * The metrics of one process. Each room declares its own with `counter`, `gauge` and `histogram`; names start
 * with `weir_` and end in their unit (`_total`, `_bytes`, `_seconds`). Asking twice for a name gives the same metric.
 */
export class Metrics {
  private readonly registry = new Registry();
  readonly contentType: string = this.registry.contentType;
  /** What sets each gauge at a scrape. */
  private readonly collectors = new Map<string, ((gauge: Gauge) => void)[]>();
  /** Gauges that were ever set that way. */
  private readonly collected = new Set<string>();
  /** Metrics of threads. */
  private readonly sources: (() => Promise<readonly MetricsJson[]>)[] = [];

  /** Adds Node's own process metrics (CPU, memory, event loop). Not done in tests: it starts timers. */
  collectProcess(): void {
    collectDefaultMetrics({ register: this.registry });
  }

  counter<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    const known = this.registry.getSingleMetric(name);
    if (known !== undefined) return known as Counter<L>;
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.registry] });
  }

  /**
   * `collect` is called at each scrape and sets the gauge's present value. Several may set one gauge, each its own labels, or
   * add to it with `inc`: it begins with nothing.
   */
  gauge<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
    collect?: (gauge: Gauge<L>) => void,
  ): Gauge<L> {
    const collectors = this.collectors.get(name) ?? [];
    this.collectors.set(name, collectors);
    if (collect !== undefined) {
      collectors.push(collect as (gauge: Gauge) => void);
      this.collected.add(name);
    }
    const { collected } = this;
    const known = this.registry.getSingleMetric(name);
    if (known !== undefined) return known as Gauge<L>;
    return new Gauge<L>({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        // Also once nobody is left who sets it.
        if (collected.has(name)) this.reset();
        for (const set of collectors) set(this);
      },
    });
  }

  histogram<L extends string>(
    name: string,
    help: string,
    buckets: readonly number[],
    labelNames: readonly L[] = [],
  ): Histogram<L> {
    const known = this.registry.getSingleMetric(name);
    if (known !== undefined) return known as Histogram<L>;
    return new Histogram({
      name,
      help,
      buckets: [...buckets],
      labelNames: [...labelNames],
      registers: [this.registry],
    });
  }

  /** What is measured elsewhere for this process: at each scrape it is added to what is measured here. */
  addSource(read: () => Promise<readonly MetricsJson[]>): void {
    this.sources.push(read);
  }

  toJson(): Promise<MetricsJson> {
    return this.registry.getMetricsAsJSON();
  }

  /** For what comes and goes while the process runs: its gauges are set until it is closed, all else is as here. */
  scope(): MetricsScope {
    return new MetricsScope(this);
  }

  /** Takes back what `gauge` was given. */
  forget(name: string, collect: (gauge: Gauge) => void): void {
    const collectors = this.collectors.get(name) ?? [];
    const at = collectors.indexOf(collect);
    if (at !== -1) collectors.splice(at, 1);
  }

  /** Whether there is a metric of that name. */
  has(name: string): boolean {
    return this.registry.getSingleMetric(name) !== undefined;
  }

  /** The present value of every series; a histogram's buckets, sum and count are series of their own. */
  async samples(): Promise<Sample[]> {
    const all = await this.registry.getMetricsAsJSON();
    return all.flatMap(({ name, type, values }) =>
      // The library's type has no names of single series, which those of a histogram have.
      (values as readonly SeriesValue[]).map(({ value, labels, metricName }) => ({
        name: metricName ?? name,
        labels: Object.fromEntries(Object.entries(labels).map(([label, text]) => [label, shownValues(String(text))])),
        value,
        isCounter: COUNTING.has(String(type)),
      })),
    );
  }

  /** Prometheus text exposition format. */
  async render(): Promise<string> {
    if (this.sources.length === 0) return shownValues(await this.registry.metrics());
    const others = (await Promise.all(this.sources.map((read) => read()))).flat();
    return shownValues(await addUp([await this.toJson(), ...others]).metrics());
  }
}

/** Metrics of the same name and labels, added up. What the first alone has stays as it is: Node's own are no sums. */
function addUp([first, ...others]: readonly MetricsJson[]): Registry {
  const names = new Set(others.flatMap((metrics) => metrics.map(({ name }) => name)));
  const own = first.map((metric) => (names.has(metric.name) ? metric : { ...metric, aggregator: "first" as const }));
  return AggregatorRegistry.aggregate([own, ...others]);
}

/** What of some metrics outlives the thread that they are of: sums, not states. */
export async function sumsOf(all: readonly MetricsJson[]): Promise<MetricsJson> {
  const sums = all.map((metrics) => metrics.filter(({ type }) => String(type) !== "gauge"));
  return AggregatorRegistry.aggregate([...sums]).getMetricsAsJSON();
}

/** Metrics of something that ends before the process does. */
export class MetricsScope extends Metrics {
  private readonly whole: Metrics;
  private readonly mine: (readonly [name: string, collect: (gauge: Gauge) => void])[] = [];

  constructor(whole: Metrics) {
    super();
    this.whole = whole;
  }

  override counter<L extends string>(name: string, help: string, labelNames: readonly L[] = []): Counter<L> {
    return this.whole.counter(name, help, labelNames);
  }

  override gauge<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
    collect?: (gauge: Gauge<L>) => void,
  ): Gauge<L> {
    if (collect !== undefined) this.mine.push([name, collect as (gauge: Gauge) => void]);
    return this.whole.gauge(name, help, labelNames, collect);
  }

  override histogram<L extends string>(
    name: string,
    help: string,
    buckets: readonly number[],
    labelNames: readonly L[] = [],
  ): Histogram<L> {
    return this.whole.histogram(name, help, buckets, labelNames);
  }

  override render(): Promise<string> {
    return this.whole.render();
  }

  /** Its gauges are set no more. */
  close(): void {
    for (const [name, collect] of this.mine.splice(0)) this.whole.forget(name, collect);
  }
}
