import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import elasticsearch from "../../sinks/elasticsearch.ts";
import { encode } from "../../src/codec/msgpack.ts";
import type { RecordSink, SinkRecord } from "../../src/core/sink.ts";
import { connectForward } from "../../src/roles/connect-forward.ts";
import { record } from "../contract/sinks.ts";
import { recordingLogger } from "../intake/support.ts";
import { deps } from "../sinks/destinations.ts";
import { Agent } from "./agent.ts";
import { OPENSEARCH, type OpenSearchMajor, OpenSearchServer, openSearchSkipped } from "./opensearch-server.ts";
import { Program } from "./program.ts";

const NEVER = new AbortController().signal;
const MAJORS: readonly OpenSearchMajor[] = [2, 3];
/** How long agents send, before something happens and behind it. */
const BURST_MS = 100;

const PIPELINE = (url: string) => `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }], to: [store, search] }
sinks:
  store: { type: store }
  search:
    type: elasticsearch
    nodes: ["${url}"]
    index: "live-{tag}-{+yyyy.MM.dd}"
    template: { install: true, settings: { index.number_of_replicas: 0 } }
    batch_age_ms: 20
    batch_records_max: 300
    retry_max_ms: 300
    timeout_ms: 60000
intake: { file_bytes: 1048576 }
query: { threads: 0 }
`;

/** A record with these fields. */
const rich = (place: number, line: string, fields: Record<string, unknown>, offset = 7): SinkRecord => ({
  ...record(place, line, { app: "web" }, offset),
  json: JSON.stringify({ log: line, ...fields }),
});

describe.each(MAJORS)("OpenSearch %i", (major) => {
  if (OPENSEARCH[major] === "") console.warn(openSearchSkipped(major));

  describe.skipIf(OPENSEARCH[major] === "")("as a destination", { timeout: 300_000 }, () => {
    let server: OpenSearchServer;
    let folder = "";
    const sinks: RecordSink[] = [];
    beforeAll(async () => {
      server = await OpenSearchServer.start(major);
    }, 600_000);
    afterAll(() => server.remove());
    beforeEach(() => {
      folder = mkdtempSync(path.join(os.tmpdir(), "weir-opensearch-live-"));
    });
    afterEach(async () => {
      for (const sink of sinks.splice(0)) await sink.close();
      await server.empty();
      rmSync(folder, { recursive: true, force: true });
    });

    const open = (options: Record<string, unknown>, others: Partial<ReturnType<typeof deps>> = {}): RecordSink => {
      const parsed = elasticsearch.options.parse({ nodes: [server.url], ...options });
      const sink = elasticsearch.open(parsed, { ...deps(folder), ...others });
      sinks.push(sink);
      return sink;
    };

    test("each document once, by index and id, however often it is sent", async () => {
      const sink = open({ index: "plain-{app}-{+yyyy.MM.dd}" });
      const batch = Array.from({ length: 500 }, (_, i) => record(i, `line ${i}`, { app: i % 2 === 0 ? "a" : "b" }));
      for (const part of [batch.slice(0, 300), batch, batch])
        expect((await sink.write(part, NEVER)).failed).toEqual([]);
      const docs = await server.all("plain-*");
      expect(docs.map(({ source }) => source.message).sort()).toEqual(batch.map(({ line }) => line.toString()).sort());
      expect(new Set(docs.map(({ index }) => index))).toEqual(new Set(["plain-a-2023.11.14", "plain-b-2023.11.14"]));
      expect(docs.find(({ source }) => source.message === "line 7")?.source).toMatchObject({
        "@timestamp": "2023-11-14T22:13:27.000000005Z",
        labels: { app: "b" },
        trace: { id: "0af7651916cd43dd8448eb211c80319c" },
        fields: { n: 7 },
      });
    });

    test("a mapping conflict is one record's, with the server's reason", async () => {
      const sink = open({ index: "conflicts" });
      const values = [1, "text", 2, { an: "object" }, 3, [4, 5], "6"];
      const batch = values.map((v, i) => rich(i, `line ${i}`, { v }));
      const { failed } = await sink.write(batch, NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([
        [1, false],
        [3, false],
      ]);
      expect(failed[0].reason).toMatch(
        /^400 \w*parsing_exception: failed to parse field \[fields\.v\] of type \[long\]/,
      );
      expect((await server.all("conflicts")).map(({ source }) => source.message).sort()).toEqual(
        [0, 2, 4, 5, 6].map((i) => `line ${i}`),
      );
    });

    test("what ingest pipelines drop and refuse is told apart, though the answer has it in another order", async () => {
      const pipelines = {
        a: { fail: { message: "no way" } },
        b: { drop: {} },
        c: { dissect: { field: "message", pattern: "%{x}=%{y}" } },
        d: { drop: {} },
        e: { grok: { field: "message", patterns: ["^[0-9]+$"] } },
        f: { uppercase: { field: "message" } },
      };
      for (const [name, processor] of Object.entries(pipelines)) {
        await server.ask("PUT", `/_ingest/pipeline/${name}`, { processors: [processor] });
        await server.ask("PUT", `/piped-${name}`, {
          settings: { index: { default_pipeline: name, number_of_replicas: 0 } },
        });
      }
      const names = [..."abcdefabcdef"];
      const sink = open({ index: "piped-{app}" });
      const batch = names.map((app, i) => record(i, `line ${i}`, { app }));
      const { failed } = await sink.write(batch, NEVER);
      const found = failed.map(({ position, reason, retriable }) => [names[position], position, retriable, reason]);
      expect(found.sort()).toEqual([
        ["a", 0, false, "500 fail_processor_exception: no way"],
        ["a", 6, false, "500 fail_processor_exception: no way"],
        ["c", 2, false, expect.stringContaining("500 find_match: ")],
        ["c", 8, false, expect.stringContaining("500 find_match: ")],
        ["e", 10, false, expect.stringContaining("Provided Grok expressions do not match")],
        ["e", 4, false, expect.stringContaining("Provided Grok expressions do not match")],
      ]);
      expect((await server.all("piped-*")).map(({ source }) => source.message).sort()).toEqual(["LINE 11", "LINE 5"]);
    });

    test.each([
      { name: "a write block", block: "index.blocks.write" },
      { name: "the disk's flood-stage watermark", block: "index.blocks.read_only_allow_delete" },
    ])("$name is waited for", async ({ name, block }) => {
      const index = `blocked-${block.replaceAll(/[._]/g, "-")}`;
      const sink = open({ index });
      expect((await sink.write([record(0, "before")], NEVER)).failed).toEqual([]);
      await server.setting(index, { [block]: true });
      const { failed } = await sink.write([record(1, "meanwhile"), record(2, "too")], NEVER);
      expect(
        failed.map(({ position, retriable }) => [position, retriable]),
        name,
      ).toEqual([
        [0, true],
        [1, true],
      ]);
      expect(failed[0].reason).toContain("cluster_block_exception");
      await server.setting(index, { [block]: null });
      expect((await sink.write([record(1, "meanwhile"), record(2, "too")], NEVER)).failed).toEqual([]);
      expect(await server.count(index)).toBe(3);
    });

    test("a closed index, and no room for shards, are waited for", async () => {
      const sink = open({ index: "shut" });
      await sink.write([record(0, "before")], NEVER);
      await server.ask("POST", "/shut/_close");
      expect((await sink.write([record(1, "x")], NEVER)).failed).toMatchObject([{ position: 0, retriable: true }]);
      await server.ask("POST", "/shut/_open?wait_for_active_shards=1");
      expect((await sink.write([record(1, "x")], NEVER)).failed).toEqual([]);
      await server.ask("PUT", "/_cluster/settings", { persistent: { "cluster.max_shards_per_node": 1 } });
      const full = open({ index: "no-room" });
      expect((await full.write([record(1, "x")], NEVER)).failed).toMatchObject([{ position: 0, retriable: true }]);
      await server.ask("PUT", "/_cluster/settings", { persistent: { "cluster.max_shards_per_node": null } });
      expect((await full.write([record(1, "x")], NEVER)).failed).toEqual([]);
    });

    test("a data stream, made by the template that is installed for it", async () => {
      const sink = open({
        index: "logs-{app}-{namespace}",
        data_stream: true,
        template: { install: true, name: "streams", settings: { "index.number_of_replicas": 0 } },
      });
      const batch = Array.from({ length: 50 }, (_, i) => record(i, `line ${i}`, { app: "my-app", namespace: "shop" }));
      for (let i = 0; i < 2; i++) expect((await sink.write(batch, NEVER)).failed).toEqual([]);
      const { data_streams } = (await server.ask("GET", "/_data_stream/logs-*")) as unknown as {
        data_streams: readonly { name: string; template: string }[];
      };
      expect(data_streams).toMatchObject([{ name: "logs-my_app-shop", template: "streams" }]);
      const docs = await server.all("logs-my_app-shop");
      expect(docs).toHaveLength(50);
      expect(docs[0].source.data_stream).toEqual({ type: "logs", dataset: "my_app", namespace: "shop" });
      // Nanoseconds count when times are compared.
      const range = {
        range: { "@timestamp": { gte: "2023-11-14T22:13:20.000000006Z", lte: "2023-11-14T22:13:21.000000005Z" } },
      };
      expect(await server.ask("POST", "/logs-my_app-shop/_count", { query: range })).toMatchObject({ count: 1 });
    });

    test("a template is installed once, renewed with its options, and left alone where it is not Weir's", async () => {
      const at = async (name: string) => {
        const { index_templates } = (await server.ask("GET", `/_index_template/${name}`)) as unknown as {
          index_templates: readonly { index_template: Record<string, unknown> }[];
        };
        return index_templates[0].index_template;
      };
      const { log, lines } = recordingLogger();
      const once = (template: Record<string, unknown>) =>
        open({ index: "tpl-{app}", template: { install: true, name: "tpl", ...template } }, { log }).write(
          [record(0, "x")],
          NEVER,
        );
      await once({});
      const first = await at("tpl");
      await once({});
      expect(await at("tpl")).toEqual(first);
      await once({ settings: { "index.number_of_replicas": 0 } });
      expect(await at("tpl")).not.toEqual(first);
      expect(lines.map(({ msg }) => msg)).toEqual(Array(2).fill("index template tpl installed for tpl-*"));
      await server.ask("PUT", "/_index_template/theirs", { index_patterns: ["theirs-*"], priority: 5 });
      const theirs = await at("theirs");
      await once({ name: "theirs" });
      expect(await at("theirs")).toEqual(theirs);
      // Two of one priority for the same names: it can't be installed, and nothing goes out without it.
      await expect(once({ name: "second" })).rejects.toThrow(/index template second: answers 400 .*same priority/);
    });

    test("names of fields without end, and odd ones, are all in documents that are taken", async () => {
      for (const form of ["ecs", "record"]) {
        const sink = open({
          index: `names-${form}`,
          form,
          fields_max: 50,
          template: { install: true, name: `names-${form}` },
        });
        const batch = Array.from({ length: 100 }, (_, i) =>
          rich(i, `line ${i}`, { [`user-${i}`]: { id: i, [`deep.${i}`]: [i] }, n: i }),
        );
        const odd: Record<string, unknown> = {
          "": 1,
          " ": 2,
          "a.b": 3,
          a: 4,
          ".x": 5,
          "x.": 6,
          "x..y": 7,
          "@timestamp": {},
          message: { text: 1 },
          _id: 8,
          _source: 9,
          weir: 10,
          mixed: [1, { b: 2 }],
          "*": 11,
          é: 12,
          'q"\\': 13,
          data_stream: 14,
          labels: 15,
          kubernetes: { pod: 1, pod_name: "p" },
        };
        expect((await sink.write([...batch, rich(100, "odd", odd)], NEVER)).failed).toEqual([]);
        expect(await server.count(`names-${form}`)).toBe(101);
        const mapping = await server.ask("GET", `/names-${form}/_mapping`);
        expect(JSON.stringify(mapping).match(/"type":/g)?.length).toBeLessThan(80);
      }
      const docs = await server.ask("GET", "/names-ecs/_search?q=weir.rest:99&size=1");
      expect(JSON.stringify(docs)).toContain("fields.user-99");
    });

    test("a request that is too large goes out in parts, and one record that is too large by itself is refused", async () => {
      const sink = open({ index: "large" });
      const batch = Array.from({ length: 6 }, (_, i) => record(i, `${i}${"x".repeat(i === 3 ? 9 << 20 : 3 << 20)}`));
      const { failed } = await sink.write(batch, NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([[3, false]]);
      expect(failed[0].reason).toMatch(/^413/);
      expect(await server.count("large")).toBe(5);
    });

    test("whatever is restarted, killed or blocked: each record is in an index once, or in the dead letters", async () => {
      writeFileSync(path.join(folder, "weir.yaml"), PIPELINE(server.url));
      const data = path.join(folder, "data");
      const start = () => Program.run(path.join(folder, "weir.yaml"), data, ["--log-level", "fatal"]);
      let weir = await start();
      const acknowledged: string[] = [];
      const agents: Agent[] = [];
      /** Lines come in before `trouble` and while it lasts, for a moment: a small server is to get through with them. */
      const during = async (trouble: () => Promise<void>) => {
        const some = [0, 1].map((i) => new Agent(`agent-${agents.length + i}`, `t${i}`, () => weir.forward));
        agents.push(...some);
        for (const agent of some) agent.start();
        await sleep(BURST_MS);
        await trouble();
        await sleep(BURST_MS);
        await Promise.all(some.map((agent) => agent.finish()));
        acknowledged.push(...some.flatMap((agent) => agent.acknowledged));
      };
      const restart = async () => {
        await weir.kill("SIGKILL");
        weir = await start();
      };
      try {
        // Documents from which the fields have their types.
        await during(async () => {});
        await vi.waitFor(async () => expect(await server.count("live-t0-*")).toBeGreaterThan(0), { timeout: 240_000 });
        await sendConflicts(weir, 0);
        await during(() => server.down("SIGTERM"));
        await server.up();
        await during(() => server.down("SIGKILL"));
        await sendConflicts(weir, 1);
        await server.up();
        await during(restart);
        for (const block of ["index.blocks.write", "index.blocks.read_only_allow_delete"]) {
          await during(async () => {
            await server.setting("live-*", { [block]: true });
          });
          await restart();
          await server.setting("live-*", { [block]: null });
        }
        await sendConflicts(weir, 2);
        const good = [...acknowledged, ...[0, 1, 2].map((round) => `good ${round}`)].sort();
        await vi.waitFor(async () => expect(await server.count("live-*")).toBeGreaterThanOrEqual(good.length), {
          timeout: 240_000,
          interval: 300,
        });
        await vi.waitFor(async () => expect(await lagOf(weir)).toBe(0), { timeout: 240_000, interval: 100 });
        const messages = (await server.all("live-*")).map(({ source }) => source.message).sort();
        console.log(`OpenSearch ${major}: ${messages.length} documents`);
        expect(messages.length).toBe(good.length);
        expect(messages).toEqual(good);
        expect(await weir.kill("SIGTERM")).toBe(0);
        const dead = await deadLines(path.join(data, "store"));
        // A conflict that was refused just before a kill may have been refused again after it.
        expect([...new Set(dead.map(({ line }) => line))].sort()).toEqual([0, 1, 2].map((round) => `bad ${round}`));
        for (const { reason } of dead) expect(reason).toContain("failed to parse field [fields.n] of type [long]");
      } finally {
        await Promise.race([Promise.all(agents.map((agent) => agent.finish())), sleep(3000)]);
        if (!weir.ended) await weir.kill("SIGKILL");
      }
    }, 1_800_000);
  });
});

/** A good record and one that does not fit the index, to the index of the first agent. */
async function sendConflicts(weir: Program, round: number): Promise<void> {
  const url = `tcp://${weir.forward.host}:${weir.forward.port}`;
  const connection = await connectForward({ url, timeoutMs: 120_000, inFlightMax: 1 });
  const sec = Math.floor(Date.now() / 1000);
  const entries = [
    [sec, { log: `good ${round}`, n: round }],
    [sec, { log: `bad ${round}`, n: "no number" }],
  ];
  await connection.sendPacked("t0", Buffer.concat(entries.map((entry) => encode(entry))), {
    chunk: Buffer.from(`conflict-${round}`).toString("base64"),
    size: entries.length,
  });
  await connection.close();
}

async function lagOf(weir: Program): Promise<number> {
  const text = await (await fetch(`${weir.http}/metrics`)).text();
  return Number(/^weir_sink_lag_bytes\{sink="search"\} (\S+)$/m.exec(text)?.[1] ?? Number.NaN);
}

async function deadLines(store: string): Promise<{ line: string; reason: string }[]> {
  const shown = new Program(["dead", "show", store, "--sink", "search", "--output", "json"]);
  expect(await shown.exit(), shown.stderr).toBe(0);
  return shown.stdout
    .split("\n")
    .filter((row) => row !== "")
    .map((row) => JSON.parse(row) as { line: string; reason: string });
}
