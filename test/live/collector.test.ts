import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../forward/harness.ts";
import { PIPELINE, type Row, TestWeir } from "../push/weir.ts";
import { freePort } from "./free-port.ts";

/*
 * A real OpenTelemetry Collector, before Weir and behind it. clients/prepare.sh builds it and says in an environment variable
 * where it is.
 */

const PROGRAM = process.env.WEIR_TEST_COLLECTOR ?? "";
const COUNT = 200;
const NEEDED_MS = 180_000;

/** The collector's process with a configuration, on ports that are in it. */
class Collector {
  private readonly child: ChildProcess;
  private said = "";

  private constructor(file: string) {
    this.child = spawn(PROGRAM, ["--config", file], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on("data", (data: Buffer) => {
        this.said = (this.said + data.toString()).slice(-8000);
      });
  }

  static async start(folder: string, config: unknown, ports: readonly number[]): Promise<Collector> {
    const file = path.join(folder, "collector.json");
    writeFileSync(file, JSON.stringify(config)); // JSON is YAML, too.
    const collector = new Collector(file);
    for (const port of ports) {
      await eventually(
        "the collector to listen",
        async () => {
          if (collector.child.exitCode !== null) throw new Error(`the collector ended: ${collector.said}`);
          return await canConnect(port);
        },
        NEEDED_MS,
      );
    }
    return collector;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exit;
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

const receiverOn = (port: number) => ({ protocols: { http: { endpoint: `127.0.0.1:${port}` } } });
const quiet = { metrics: { level: "none" }, logs: { level: "warn" } };

/** Sends lines `first` and on to a collector, as a program's OpenTelemetry library does. */
async function send(port: number, service: string, first: number, count: number): Promise<void> {
  const logRecords = Array.from({ length: count }, (_, i) => ({
    timeUnixNano: `${BigInt(Date.now()) * 1_000_000n + BigInt(first + i)}`,
    severityText: "WARN",
    severityNumber: 13,
    body: { stringValue: `line ${first + i}` },
    attributes: [{ key: "n", value: { intValue: String(first + i) } }],
    traceId: (first + i).toString(16).padStart(32, "a"),
  }));
  const response = await fetch(`http://127.0.0.1:${port}/v1/logs`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      resourceLogs: [
        {
          resource: { attributes: [{ key: "service.name", value: { stringValue: service } }] },
          scopeLogs: [{ scope: { name: "shop" }, logRecords }],
        },
      ],
    }),
  });
  expect(response.status, await response.text()).toBe(200);
}

async function expectAll(weir: TestWeir, query: string, count: number): Promise<Row[]> {
  let rows: Row[] = [];
  const isThere = async () => {
    rows = await weir.rows(query);
    return rows.length >= count;
  };
  await eventually(`${count} lines of ${query}`, isThere, NEEDED_MS);
  expect(rows.map(({ line }) => line).sort()).toEqual(Array.from({ length: count }, (_, n) => `line ${n}`).sort());
  return rows;
}

describe.skipIf(PROGRAM === "")(
  PROGRAM === ""
    ? "no OpenTelemetry Collector: build one with test/live/clients/prepare.sh and set WEIR_TEST_COLLECTOR"
    : "an OpenTelemetry Collector",
  { timeout: 3 * NEEDED_MS },
  () => {
    let folder: string;
    beforeAll(() => {
      folder = mkdtempSync(path.join(os.tmpdir(), "weir-collector-"));
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test("sends with every compression and encoding that it has", async () => {
      const weir = await TestWeir.start();
      const compressions = ["none", "gzip", "zstd", "lz4", "deflate", "zlib", "snappy"];
      const ways = [
        ...compressions.map((compression) => ({ name: compression, compression, encoding: "proto" })),
        { name: "json", compression: "gzip", encoding: "json" },
      ];
      const ports = await Promise.all(ways.map(() => freePort()));
      const named = (make: (way: (typeof ways)[number], i: number) => [string, unknown]) =>
        Object.fromEntries(ways.map(make));
      const collector = await Collector.start(
        folder,
        {
          receivers: named(({ name }, i) => [`otlp/${name}`, receiverOn(ports[i])]),
          exporters: named(({ name, compression, encoding }) => [
            `otlp_http/${name}`,
            { endpoint: `${weir.base}/otlp`, compression, encoding },
          ]),
          service: {
            telemetry: quiet,
            pipelines: named(({ name }) => [
              `logs/${name}`,
              { receivers: [`otlp/${name}`], exporters: [`otlp_http/${name}`] },
            ]),
          },
        },
        ports,
      );
      try {
        for (const [i, { name }] of ways.entries()) await send(ports[i], name, 0, COUNT);
        for (const { name } of ways) {
          for (const { stream, line } of await expectAll(weir, `{service_name="${name}"}`, COUNT)) {
            const n = Number(line.slice("line ".length));
            expect(stream).toMatchObject({
              n: String(n),
              scope_name: "shop",
              severity_text: "WARN",
              trace_id: n.toString(16).padStart(32, "a"),
            });
          }
        }
      } finally {
        await collector.kill();
        await weir.close();
      }
    });

    test("loses nothing, and doubles nothing, while Weir is away", async () => {
      const [port, weirPort] = [await freePort(), await freePort()];
      const yaml = PIPELINE.replace('127.0.0.1:0" }\nquery', `127.0.0.1:${weirPort}" }\nquery`);
      expect(yaml).toContain(String(weirPort));
      let weir = await TestWeir.start(yaml);
      const collector = await Collector.start(
        folder,
        {
          receivers: { otlp: receiverOn(port) },
          exporters: {
            otlp_http: {
              endpoint: `http://127.0.0.1:${weirPort}/otlp`,
              retry_on_failure: { initial_interval: "100ms", max_interval: "500ms" },
            },
          },
          service: { telemetry: quiet, pipelines: { logs: { receivers: ["otlp"], exporters: ["otlp_http"] } } },
        },
        [port],
      );
      try {
        const batch = 20;
        for (let first = 0; first < COUNT; first += batch) {
          // In the middle of it, with requests under way, and again.
          if (first === 60 || first === 140) {
            const dir = await weir.stop(0);
            await send(port, "away", first, batch);
            await sleep(300);
            weir = await TestWeir.start(yaml, dir);
          } else await send(port, "away", first, batch);
        }
        await expectAll(weir, '{service_name="away"}', COUNT);
      } finally {
        await collector.kill();
        await weir.close();
      }
    });

    test("takes what the otlp sink sends, whenever it is killed", async () => {
      const behind = await TestWeir.start();
      const [port, sinkPort] = [await freePort(), await freePort()];
      const before = await TestWeir.start(
        `${PIPELINE.replace("steps: [trace, level]", "steps: [trace, level]\n    to: [store, collector]")}
sinks: { collector: { type: otlp, url: "http://127.0.0.1:${sinkPort}/v1/logs", retry_min_ms: 50, retry_max_ms: 200 } }
`,
      );
      const config = {
        receivers: { otlp: receiverOn(sinkPort), "otlp/first": receiverOn(port) },
        exporters: {
          // What it has taken, it has passed on: with a queue of its own a kill would cost what is in it.
          "otlp_http/behind": { endpoint: `${behind.base}/otlp`, sending_queue: { enabled: false } },
          "otlp_http/before": { endpoint: `${before.base}/otlp`, sending_queue: { enabled: false } },
        },
        service: {
          telemetry: quiet,
          pipelines: {
            logs: { receivers: ["otlp"], exporters: ["otlp_http/behind"] },
            "logs/first": { receivers: ["otlp/first"], exporters: ["otlp_http/before"] },
          },
        },
      };
      let collector = await Collector.start(folder, config, [port, sinkPort]);
      try {
        const batch = 20;
        for (let first = 0; first < COUNT; first += batch) {
          await send(port, "through", first, batch);
          if (first % 60 === 40) {
            await sleep(first);
            await collector.kill();
            collector = await Collector.start(folder, config, [port, sinkPort]);
          }
        }
        const rows = await expectAll(behind, '{service_name="through"}', COUNT);
        const sent = await expectAll(before, '{service_name="through"}', COUNT);
        const known = ({ ns, line, stream }: Row) => [ns, line, stream.trace_id, stream.n];
        expect(rows.map(known)).toEqual(sent.map(known));
      } finally {
        await collector.kill();
        await before.close();
        await behind.close();
      }
    });
  },
);
