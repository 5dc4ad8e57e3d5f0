import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { recordSinks } from "../../sinks/index.ts";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";
import { renderReference } from "../../src/config/reference.ts";
import type { RecordSinkSpec } from "../../src/core/sink.ts";
import { deliveryOptions } from "../../src/roles/sink-options.ts";
import { sinkSpecs } from "../../src/roles/sink-specs.ts";
import { agoNs, TestWeir } from "../push/weir.ts";
import { HttpDestination } from "../sinks/destinations.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "weir-record-sinks-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 120_000, interval: 10 });

const yaml = (sinks: string, to: string) => `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:0"], udp_heartbeat: false }
pipelines:
  default: { steps: [trace, level], to: [store, ${to}] }
sinks:
  store: { type: store }
${sinks}
http: { listen: "127.0.0.1:0" }
query: { threads: 0 }
`;

const push = (weir: TestWeir, from: number, count: number) =>
  weir.push({
    streams: [
      {
        stream: { app: "web" },
        values: Array.from({ length: count }, (_, i) => [agoNs(60, from + i), `n ${from + i}`]),
      },
    ],
  });
const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `n ${from + i}`);

describe("options of record sinks", () => {
  const needed: Record<string, Record<string, unknown>> = {
    elasticsearch: { nodes: ["http://x/"] },
    kafka: { brokers: ["x:9092"], topic: "logs" },
    loki: { url: "http://x/" },
    otlp: { url: "http://x/" },
    http: { url: "http://x/" },
    forward: { url: "tcp://x:1" },
    file: { path: "x" },
    prometheus: { metrics: [{ type: "counter", name: "app_x_total", help: "X." }] },
    remote_write: { url: "http://x/", metrics: [{ type: "counter", name: "app_x_total", help: "X." }] },
  };

  test.each(Object.entries(recordSinks))(
    "%s has a name of its own, no delivery option, and takes all of them",
    (name, it) => {
      const spec: RecordSinkSpec = it;
      expect(spec.name).toBe(name);
      const clashes = Object.keys(spec.options.shape).filter((key) => key in deliveryOptions.shape || key === "type");
      expect(clashes).toEqual([]);
      const all = sinkSpecs[name].options;
      const given = { ...needed[name], when: { $level: "error" }, batch_age_ms: 5, on_lag: "block" };
      expect(all.parse(given)).toMatchObject({ when: { $level: "error" }, batch_age_ms: 5, sample: 1 });
      expect(all.safeParse({ ...needed[name], nonsense: 1 }).success).toBe(false);
    },
  );

  test("the reference has the delivery options once, and each sink's own", () => {
    const page = renderReference(registries);
    expect(page.match(/^\| `lag_bytes_max` \|/gm)).toHaveLength(1);
    for (const name of Object.keys(recordSinks)) expect(page).toContain(`\n### ${name}\n`);
    expect(page).toContain("| `rotate_bytes` |");
  });

  test.each([
    { sink: 'type: forward, url: "tcp://x:99999"', want: /sinks\.out\.url: .*want a port up to 65535/ },
    { sink: 'type: forward, url: "tcp://x:y:1"', want: /sinks\.out\.url: .*want tcp:/ },
    // A timer that is longer ends at once: no request would ever be answered in time.
    {
      sink: 'type: http, url: "http://x/", timeout_ms: 9999999999',
      want: /sinks\.out\.timeout_ms: .*at most 2147483647/,
    },
    { sink: 'type: "null", retry_max_ms: 9999999999', want: /sinks\.out\.retry_max_ms: .*at most 2147483647/ },
  ])("what can't work is said before the start: $sink", ({ sink, want }) => {
    expect(() => loadConfig(yaml(`  out: { ${sink} }`, "out"), "x.yaml", registries)).toThrow(want);
  });

  test("two sinks may not write to one file", () => {
    const both = (a: string, b: string) => yaml(`  a: { type: file, ${a} }\n  b: { type: file, ${b} }`, "a, b");
    const load = (a: string, b: string) => () => loadConfig(both(a, b), "x.yaml", registries);
    expect(load('path: "logs/{app}.log"', 'path: "./logs//{app}.log"')).toThrow(
      /x\.yaml:9:\d+ +sinks\.b: the file logs\/\{app\}\.log is taken already, by a/,
    );
    expect(load("path: x, gzip: true", "path: x.gz, gzip: true")).toThrow(/sinks\.b: the file x\.gz is taken already/);
    expect(load("path: x, gzip: true", "path: x")).not.toThrow();
  });

  test("a mistake in a sink is told with its place", () => {
    const text = yaml("  out: { type: http, url: nowhere, batch_age: 5 }", "out");
    expect(() => loadConfig(text, "x.yaml", registries)).toThrow(/x\.yaml:8.*sinks\.out/);
  });
});

describe("a process with record sinks", () => {
  test("sends what a sink asks for, and goes on where it was", async () => {
    const file = path.join(folder, "out.log");
    const text = yaml(
      `  out: { type: file, path: "${file}", form: line, batch_age_ms: 10, when: { $line: { regex: "[02468]$" } } }`,
      "out",
    );
    let weir = await TestWeir.start(text);
    await push(weir, 0, 10);
    await eventually(() => expect(readFileSync(file, "utf8")).toBe("n 0\nn 2\nn 4\nn 6\nn 8\n"));
    const dir = await weir.stop();
    weir = await TestWeir.start(text, dir);
    try {
      await push(weir, 10, 4);
      await eventually(() => expect(readFileSync(file, "utf8")).toBe("n 0\nn 2\nn 4\nn 6\nn 8\nn 10\nn 12\n"));
      expect((await weir.rows('{app="web"}')).map(({ line }) => line)).toEqual(numbers(0, 14));
      await eventually(async () =>
        expect(await weir.metrics.render()).toMatch(/weir_sink_records_total\{sink="out",result="sent"\} 2/),
      );
      await eventually(async () => expect(await weir.metrics.render()).toMatch(/weir_sink_lag_bytes\{sink="out"\} 0/));
      expect(await weir.metrics.render()).toMatch(/weir_dead_letters_bytes 0/);
    } finally {
      await weir.close();
    }
  });

  test("keeps what a sink that is away has still to get, over stops and kills, and the store does not wait", async () => {
    const to = await HttpDestination.start();
    await to.stop();
    const text = yaml(`  out: { type: http, url: "${to.url}/in", batch_age_ms: 10, retry_max_ms: 50 }`, "out");
    let weir = await TestWeir.start(text);
    await push(weir, 0, 5);
    expect((await weir.rows('{app="web"}')).map(({ line }) => line)).toEqual(numbers(0, 5));
    const started = performance.now();
    let dir = await weir.stop();
    expect(performance.now() - started).toBeLessThan(10_000);
    weir = await TestWeir.start(text, dir);
    await push(weir, 5, 5);
    await weir.settle();
    dir = await weir.stop(0);
    await to.listen();
    weir = await TestWeir.start(text, dir);
    try {
      const got = () =>
        to.got.flatMap(({ body }) =>
          body
            .toString()
            .split("\n")
            .filter((line) => line !== "")
            .map((line) => (JSON.parse(line) as { line: string }).line),
        );
      await eventually(() => expect(got()).toEqual(numbers(0, 10)));
      expect((await weir.rows('{app="web"}')).map(({ line }) => line)).toEqual(numbers(0, 10));
    } finally {
      await weir.close();
      await to.stop();
    }
  });

  test("puts what is refused into the dead letters, for good", async () => {
    const to = await HttpDestination.start();
    to.answer = ({ body }) => (body.includes("n 3") ? { status: 422, text: "not that" } : { status: 200 });
    const text = yaml(`  out: { type: http, url: "${to.url}/in", batch_age_ms: 10 }`, "out");
    const weir = await TestWeir.start(text);
    try {
      await push(weir, 0, 6);
      await eventually(async () =>
        expect(await weir.metrics.render()).toMatch(/weir_sink_records_total\{sink="out",result="refused"\} 1/),
      );
      await eventually(async () =>
        expect(await weir.metrics.render()).toMatch(/weir_sink_records_total\{sink="out",result="sent"\} 5/),
      );
      // Queries see the store, not the dead letters.
      expect(await weir.rows('{sink="out"}')).toEqual([]);
    } finally {
      await weir.close();
      await to.stop();
    }
  });

  test("sends digests in place of records, over stops, each record in one", async () => {
    const to = await HttpDestination.start();
    const text = yaml(
      `  out: { type: http, url: "${to.url}/in", form: record, digest: { interval_ms: 1000, by: [app] } }`,
      "out",
    );
    interface Digest {
      readonly count: number;
      readonly shape: string;
    }
    const digests = () =>
      to.got.flatMap(({ body }) => body.toString().split("\n").filter(Boolean)).map((row) => JSON.parse(row) as Digest);
    const sum = () => digests().reduce((all, { count }) => all + count, 0);
    let weir = await TestWeir.start(text);
    await push(weir, 0, 5);
    await eventually(() => expect(sum()).toBe(5));
    await push(weir, 5, 7);
    const dir = await weir.stop();
    weir = await TestWeir.start(text, dir);
    try {
      await push(weir, 12, 3);
      await eventually(() => expect(sum()).toBe(15));
      expect(digests().every(({ shape }) => shape === "n <n>")).toBe(true);
      await eventually(async () => expect(await weir.metrics.render()).toMatch(/weir_sink_lag_bytes\{sink="out"\} 0/));
      expect(sum()).toBe(15);
    } finally {
      await weir.close();
      await to.stop();
    }
  });

  test("lets the request under way end at a stop, and sends none of it again", async () => {
    const taken: string[] = [];
    let begun = 0;
    vi.spyOn(recordSinks.null, "open").mockImplementation(() => ({
      write: async (batch, signal) => {
        signal.throwIfAborted();
        begun += batch.length;
        await new Promise((resolve) => setTimeout(resolve, 100));
        // The destination has them, whether anybody still wants to hear of it or not.
        taken.push(...batch.map(({ line }) => line.toString()));
        signal.throwIfAborted();
        return { failed: [] };
      },
      close: async () => {},
    }));
    const slow = yaml('  out: { type: "null", batch_age_ms: 0, batch_records_max: 10 }', "out");
    let weir = await TestWeir.start(slow);
    await push(weir, 0, 50);
    await eventually(() => expect(begun).toBeGreaterThan(0));
    weir = await TestWeir.start(slow, await weir.stop());
    try {
      await eventually(() => expect(new Set(taken).size).toBe(50));
      expect([...taken].sort()).toEqual(numbers(0, 50).sort());
    } finally {
      await weir.close();
    }
  });

  test("goes on when a sink stops by a mistake of the program, and says so", async () => {
    vi.spyOn(recordSinks.null, "open").mockReturnValue({
      write: () => Promise.reject(new TypeError("a bug")),
      close: async () => {},
    });
    const weir = await TestWeir.start(yaml("  out: { type: null, batch_age_ms: 10 }".replace("null", '"null"'), "out"));
    try {
      expect((await weir.get("/ready")).text.trim()).toBe("ready");
      for (let i = 0; i < 6; i++) await push(weir, i, 1);
      await eventually(async () => {
        const { status, text } = await weir.get("/ready");
        expect([status, text.trim()]).toEqual([
          200,
          "ready, but: sink out has stopped, and begins again with the process: a bug",
        ]);
      });
      expect(await weir.metrics.render()).toMatch(/weir_sink_stopped\{sink="out"\} 1/);
      expect((await weir.rows('{app="web"}')).map(({ line }) => line)).toEqual(numbers(0, 6));
    } finally {
      await weir.close();
    }
  });

  test.each([
    {
      name: "a file that is not there",
      sink: '{ type: http, url: "https://x/", tls: { ca_file: /nowhere.pem } }',
      want: /ca_file/,
    },
    { name: "fields that are no paths", sink: "{ type: stdout, when: { '$nothing': x } }", want: /out|when|nothing/ },
  ])("does not start with $name", async ({ sink, want }) => {
    await expect(TestWeir.start(yaml(`  out: ${sink}`, "out"))).rejects.toThrow(want);
  });
});
