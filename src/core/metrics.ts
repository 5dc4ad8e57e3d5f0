import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export type { Counter, Gauge, Histogram } from "prom-client";

/**
 * The metrics of one process. Each room declares its own with `counter`, `gauge` and `histogram`; names start
 * with `weir_` and end in their unit (`_total`, `_bytes`, `_seconds`). Asking twice for a name gives the same metric.
 */
export class Metrics {
  private readonly registry = new Registry();
  readonly contentType: string = this.registry.contentType;
  /** What sets each gauge at a scrape. */
  private readonly collectors = new Map<string, ((gauge: Gauge) => void)[]>();

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
    if (collect !== undefined) collectors.push(collect as (gauge: Gauge) => void);
    const known = this.registry.getSingleMetric(name);
    if (known !== undefined) return known as Gauge<L>;
    return new Gauge<L>({
      name,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
      collect() {
        if (collectors.length > 0) this.reset();
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

  /** Prometheus text exposition format. */
  render(): Promise<string> {
    return this.registry.metrics();
  }
}
