import { describe, expect, test } from "vitest";
import { Metrics, sumsOf } from "../../src/core/metrics.ts";

/** The value of a metric with its labels as they are printed. */
const shown = (text: string, name: string) =>
  text
    .split("\n")
    .find((line) => line.startsWith(`${name} `))
    ?.slice(name.length + 1);

function withValues(records: number, bytes: number, seconds: number): Metrics {
  const metrics = new Metrics();
  metrics.counter("weir_x_records_total", "Records.", ["kind"]).inc({ kind: "a" }, records);
  metrics.gauge("weir_x_bytes", "Bytes.", [], (gauge) => gauge.set(bytes));
  metrics.histogram("weir_x_seconds", "Seconds.", [1, 10]).observe(seconds);
  return metrics;
}

describe("metrics of several threads", () => {
  test("are added up at each scrape; what one thread alone has stays as it is", async () => {
    const main = withValues(1, 10, 0.5);
    main.gauge("weir_main_bytes", "Only here.").set(7);
    const threads = [withValues(2, 20, 5), withValues(4, 40, 50)];
    main.addSource(() => Promise.all(threads.map((thread) => thread.toJson())));
    const text = await main.render();
    expect(shown(text, 'weir_x_records_total{kind="a"}')).toBe("7");
    expect(shown(text, "weir_x_bytes")).toBe("70");
    expect(shown(text, 'weir_x_seconds_bucket{le="1"}')).toBe("1");
    expect(shown(text, 'weir_x_seconds_bucket{le="10"}')).toBe("2");
    expect(shown(text, "weir_x_seconds_count")).toBe("3");
    expect(shown(text, "weir_main_bytes")).toBe("7");
    threads[0].counter("weir_x_records_total", "Records.", ["kind"]).inc({ kind: "b" }, 3);
    expect(shown(await main.render(), 'weir_x_records_total{kind="b"}')).toBe("3");
  });

  test("Node's own, of which some are no sums, are all there", async () => {
    const main = new Metrics();
    main.collectProcess();
    const names = (text: string) => text.split("\n").filter((line) => line.startsWith("# TYPE"));
    const before = names(await main.render());
    main.addSource(async () => [await withValues(1, 1, 1).toJson()]);
    expect(names(await main.render())).toEqual(expect.arrayContaining(before));
  });

  test("of a thread that is gone leave their sums, not their states", async () => {
    const gone = await sumsOf([await withValues(2, 20, 5).toJson(), await withValues(3, 30, 5).toJson()]);
    const main = withValues(1, 10, 0.5);
    main.addSource(async () => [gone]);
    const text = await main.render();
    expect(shown(text, 'weir_x_records_total{kind="a"}')).toBe("6");
    expect(shown(text, "weir_x_bytes")).toBe("10");
    expect(shown(text, "weir_x_seconds_count")).toBe("3");
  });

  test("a gauge that several set at a scrape has all their labels, or the sum of what they add", async () => {
    const metrics = new Metrics();
    for (const partition of ["0", "1"]) {
      metrics.gauge("weir_lag", "Lag.", ["partition"], (gauge) => gauge.set({ partition }, Number(partition) + 5));
      metrics.gauge("weir_streams", "Streams.", ["tenant"], (gauge) => gauge.inc({ tenant: "t" }, 2));
    }
    for (let scrape = 0; scrape < 2; scrape++) {
      const text = await metrics.render();
      expect(shown(text, 'weir_lag{partition="0"}')).toBe("5");
      expect(shown(text, 'weir_lag{partition="1"}')).toBe("6");
      expect(shown(text, 'weir_streams{tenant="t"}')).toBe("4");
    }
  });
});
