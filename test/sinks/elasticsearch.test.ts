import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import elasticsearch from "../../sinks/elasticsearch.ts";
import type { RecordSink, SinkRecord } from "../../src/core/sink.ts";
import { record, recordSinkContract, records, type SinkUnderTest } from "../contract/sinks.ts";
import { recordingLogger } from "../intake/support.ts";
import { deps, type Got, HttpDestination } from "./destinations.ts";
import { error, FakeCluster, json, lineOf } from "./elastic-cluster.ts";

const NEVER = new AbortController().signal;
const CONFLICT = {
  status: 400,
  type: "document_parsing_exception",
  reason: "failed to parse field [n] of type [long]",
};

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "weir-elastic-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const open = (options: Record<string, unknown>, others: Partial<ReturnType<typeof deps>> = {}): RecordSink =>
  elasticsearch.open(elasticsearch.options.parse(options), { ...deps(folder), ...others });

recordSinkContract(
  "elasticsearch",
  async (): Promise<SinkUnderTest> => {
    const cluster = await FakeCluster.start();
    cluster.refuse = (doc) => (lineOf(doc).includes("refuse me") ? CONFLICT : null);
    return {
      sink: open({ nodes: [cluster.url] }),
      taken: async () => cluster.docs.map(lineOf),
      away: () => cluster.server.stop(),
      back: () => cluster.server.listen(),
      hang: () => {
        cluster.instead = () => null;
      },
      close: () => cluster.server.stop(),
    };
  },
  { refusesWith: "document_parsing_exception: failed to parse field [n] of type [long]" },
);

/** A sink with a cluster of one node. */
async function withSink(
  options: Record<string, unknown>,
  work: (sink: RecordSink, cluster: FakeCluster) => Promise<void>,
  others: Partial<ReturnType<typeof deps>> = {},
): Promise<void> {
  const cluster = await FakeCluster.start();
  const sink = open({ nodes: [cluster.url], ...options }, others);
  try {
    await work(sink, cluster);
  } finally {
    await sink.close();
    await cluster.server.stop();
  }
}

const withLabels = (labels: Record<string, string>, offset = 7): SinkRecord => record(0, "x", labels, offset);

describe("elasticsearch sink: requests", () => {
  test("one bulk request, compressed, with create and an id of the place in the intake log", () =>
    withSink({}, async (sink, { server, docs }) => {
      await sink.write(records(["a", "b"]), NEVER);
      expect(server.got.map(({ method, path }) => `${method} ${path.replace(/\?.*/, "")}`)).toEqual(["POST /_bulk"]);
      expect(server.got[0].headers).toMatchObject({
        "content-type": "application/x-ndjson",
        "content-encoding": "gzip",
        "user-agent": "weir",
      });
      expect(docs.map(({ index }) => index)).toEqual(["weir-2023.11.14", "weir-2023.11.14"]);
      expect(docs[0].id).toMatch(/^0-7-0-[0-9a-z.]+-[0-9a-z]+$/);
      expect(docs[1].id).toMatch(/^0-7-1-/);
    }));

  test("plain text where gzip is off", () =>
    withSink({ gzip: false }, async (sink, { server, docs }) => {
      await sink.write(records(["a"]), NEVER);
      expect(server.got[0].headers["content-encoding"]).toBeUndefined();
      expect(docs).toHaveLength(1);
    }));

  test("the same record has the same id at each try; another one at its place, or of another tenant, has not", () =>
    withSink({ id_prefix: "eu-1." }, async (sink, cluster) => {
      const one = record(0, "a");
      const others = [
        { ...one, line: Buffer.from("b") },
        { ...one, tenant: "t" },
        { ...one, nsec: 6 },
        { ...one, sec: 1 },
      ];
      for (const each of [one, one, ...others]) await sink.write([each], NEVER);
      const ids = cluster.docs.map(({ id }) => id);
      expect(new Set(ids).size).toBe(5);
      expect(ids).toHaveLength(5);
      for (const id of ids) expect(id).toMatch(/^eu-1\.0-7-0-/);
    }));

  test("counts records that were there already as sent, and says how many", async () => {
    const given = deps(folder);
    await withSink(
      {},
      async (sink) => {
        await sink.write(records(["a", "b"]), NEVER);
        expect((await sink.write(records(["a", "b", "c"]), NEVER)).failed).toEqual([]);
      },
      given,
    );
    expect(await given.metrics.render()).toContain('weir_sink_repeats_total{sink="out"} 2\n');
  });

  test.each([
    { name: "basic", options: { basic: { user: "u", password: "" } }, want: "Basic dTo=" },
    { name: "an API key", options: { api_key: "a2V5" }, want: "ApiKey a2V5" },
    { name: "a token", options: { bearer_token: "t0" }, want: "Bearer t0" },
    { name: "a header of one's own", options: { headers: { Authorization: "Own x" } }, want: "Own x" },
  ])("authorizes by $name", ({ options, want }) =>
    withSink(options, async (sink, { server }) => {
      await sink.write(records(["a"]), NEVER);
      expect(server.got[0].headers.authorization).toBe(want);
    }),
  );

  test("heeds a path in front of the API's", () =>
    withSink({}, async (_, cluster) => {
      const sink = open({ nodes: [`${cluster.url}/es/`] });
      cluster.instead = (got) => cluster.answer({ ...got, path: got.path.replace(/^\/es/, "") });
      await sink.write(records(["a"]), NEVER);
      expect(cluster.server.got[0].path).toMatch(/^\/es\/_bulk\?/);
      expect(cluster.docs).toHaveLength(1);
      await sink.close();
    }));
});

interface NameCase {
  readonly index: string;
  readonly labels: Record<string, string>;
  readonly want: string;
}

describe("elasticsearch sink: names of indices", () => {
  test.each<NameCase>([
    { index: "logs-{namespace}-{+yyyy.MM.dd}", labels: { namespace: "shop" }, want: "logs-shop-2023.11.14" },
    { index: "logs-{namespace}-x", labels: {}, want: "logs-none-x" },
    { index: "logs-{app}", labels: { app: 'A B/c\\*?"<>|,#:é' }, want: "logs-a_b_c___________" },
    { index: "{app}", labels: { app: ".security-7" }, want: "security-7" },
    { index: "{app}", labels: { app: "_-+.x" }, want: "x" },
    { index: "{app}", labels: { app: "..." }, want: "none" },
    { index: "{tenant}-{+HH.mm}", labels: {}, want: "fake-22.13" },
    { index: ".own-{app}", labels: { app: "a" }, want: ".own-a" },
    { index: "logs-{a}-{b}", labels: { a: "x".repeat(300), b: "y" }, want: `logs-${"x".repeat(80)}-y` },
    { index: "logs-{a}{a}{a}{a}-z", labels: { a: "x".repeat(99) }, want: `logs-${"x".repeat(250)}` },
  ])("$index of $labels", ({ index, labels, want }) =>
    withSink({ index }, async (sink, { docs }) => {
      await sink.write([withLabels(labels)], NEVER);
      expect(docs[0].index).toBe(want);
      expect(Buffer.byteLength(docs[0].index)).toBeLessThanOrEqual(255);
    }),
  );

  test("a data stream's name keeps its three parts, and is short enough for what comes behind it", () =>
    withSink({ index: "logs-{app}-{namespace}", data_stream: true }, async (sink, { docs }) => {
      await sink.write([withLabels({ app: "my-app", namespace: "kube-system" })], NEVER);
      expect(docs[0].index).toBe("logs-my_app-kube_system");
      expect(docs[0].source.data_stream).toEqual({ type: "logs", dataset: "my_app", namespace: "kube_system" });
    }));

  test.each([
    "Logs",
    "logs/x",
    "lo gs",
    "_logs",
    "-x",
    "+x",
    ".",
    "..",
    "",
    "logs-{app",
    "lögs",
    "a:b",
    "x".repeat(256),
  ])("refuses %j", (index) => {
    expect(elasticsearch.options.safeParse({ nodes: ["http://a"], index }).success).toBe(false);
  });
});

describe("elasticsearch sink: answers", () => {
  const mixed = (wrong: Record<string, { status: number; type: string; reason: string }>) => (cluster: FakeCluster) => {
    cluster.refuse = (doc) => wrong[String(doc.source.message)] ?? null;
  };

  test.each([
    { status: 400, type: "mapper_parsing_exception", reason: "failed to parse", retriable: false },
    {
      status: 400,
      type: "illegal_argument_exception",
      reason: "Limit of total fields [1000] has been exceeded",
      retriable: false,
    },
    { status: 400, type: "strict_dynamic_mapping_exception", reason: "not allowed", retriable: false },
    { status: 400, type: "invalid_index_name_exception", reason: "Invalid index name", retriable: false },
    { status: 413, type: "x", reason: "y", retriable: false },
    { status: 429, type: "es_rejected_execution_exception", reason: "queue capacity", retriable: true },
    {
      status: 429,
      type: "cluster_block_exception",
      reason: "disk usage exceeded flood-stage watermark",
      retriable: true,
    },
    { status: 403, type: "cluster_block_exception", reason: "index write (api)", retriable: true },
    { status: 403, type: "security_exception", reason: "action [indices:data/write] is unauthorized", retriable: true },
    { status: 404, type: "index_not_found_exception", reason: "no such index [x]", retriable: true },
    { status: 400, type: "index_closed_exception", reason: "closed", retriable: true },
    { status: 400, type: "resource_already_exists_exception", reason: "already exists", retriable: true },
    {
      status: 400,
      type: "validation_exception",
      reason:
        "Validation Failed: 1: this action would add [2] total shards, but this cluster currently has [1000]/[1000] maximum shards open;",
      retriable: true,
    },
    {
      status: 400,
      type: "illegal_argument_exception",
      reason: "no write index is defined for alias [x]",
      retriable: true,
    },
    { status: 500, type: "node_closed_exception", reason: "node closed", retriable: true },
    { status: 503, type: "unavailable_shards_exception", reason: "primary shard is not active", retriable: true },
    { status: 301, type: "odd", reason: "odd", retriable: true },
    { status: 500, type: "fail_processor_exception", reason: "no way", retriable: false },
    { status: 500, type: "find_match", reason: "Unable to find match for dissect pattern", retriable: false },
    { status: 500, type: "null_pointer_exception", reason: "oh", retriable: true },
  ])("$status $type is for one record alone; again: $retriable", ({ retriable, ...what }) =>
    withSink({}, async (sink, cluster) => {
      mixed({ bad: what })(cluster);
      const { failed } = await sink.write(records(["a", "bad", "c"]), NEVER);
      expect(failed).toEqual([{ position: 1, retriable, reason: `${what.status} ${what.type}: ${what.reason}` }]);
      expect(cluster.docs.map(({ source }) => source.message)).toEqual(["a", "c"]);
      expect(cluster.bulks).toEqual([3]);
    }),
  );

  test("what is said of a document is told by its id, in whatever order the answer has it", () =>
    withSink({}, async (sink, cluster) => {
      const wrong = (n: number) => ({ ...CONFLICT, reason: `of ${n}` });
      cluster.refuse = ({ source }) => (Number(source.message) % 3 === 0 ? wrong(Number(source.message)) : null);
      const whole = cluster.instead;
      const reordered = (change: (item: { create: { _id?: string } }, i: number) => void) => (got: Got) => {
        cluster.instead = whole;
        const said = JSON.parse(cluster.answer(got).text ?? "") as { items: { create: { _id?: string } }[] };
        said.items.reverse().forEach(change);
        return json(200, said);
      };
      const lines = ["0", "1", "2", "3", "4", "5", "7"];
      cluster.instead = reordered(() => {});
      const first = await sink.write(records(lines), NEVER);
      expect(first.failed.map(({ position, reason }) => [position, reason.slice(-4)]).sort()).toEqual([
        [0, "of 0"],
        [3, "of 3"],
      ]);
      // A pipeline gave what it took ids of its own.
      cluster.instead = reordered(({ create }) => {
        if (!("error" in create)) create._id = "another";
      });
      const second = await sink.write(records(lines, 8), NEVER);
      expect(second.failed.map(({ position, reason }) => [position, reason.slice(-4)]).sort()).toEqual([
        [0, "of 0"],
        [3, "of 3"],
      ]);
    }));

  test("an answer without a reason is one, too", () =>
    withSink({}, async (sink, cluster) => {
      cluster.instead = () =>
        json(200, { items: [{ create: { status: 400 } }, { create: { status: 422, error: "x" } }] });
      const { failed } = await sink.write(records(["a", "b"]), NEVER);
      expect(failed).toEqual([
        { position: 0, reason: "400", retriable: false },
        { position: 1, reason: '422 "x"', retriable: false },
      ]);
    }));

  test("cuts long reasons", () =>
    withSink({}, async (sink, cluster) => {
      cluster.refuse = () => ({ ...CONFLICT, reason: "r".repeat(1 << 20) });
      const { failed } = await sink.write(records(["a"]), NEVER);
      expect(failed[0].reason.length).toBeLessThan(1100);
    }));

  test("a time that no document can say is refused here, and the others go on", () =>
    withSink({}, async (sink, cluster) => {
      const batch = [
        record(0, "a"),
        { ...record(1, "b"), sec: 253_402_300_800 },
        record(2, "c"),
        { ...record(3, "d"), sec: -1e15 },
      ];
      mixed({ c: CONFLICT })(cluster);
      const { failed } = await sink.write(batch, NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable]).sort()).toEqual([
        [1, false],
        [2, false],
        [3, false],
      ]);
      expect(cluster.docs.map(({ source }) => source.message)).toEqual(["a"]);
    }));

  test("413 sends halves, down to the one record that is too large", () =>
    withSink({}, async (sink, cluster) => {
      cluster.instead = (got) => (got.body.length > 4000 ? { status: 413 } : undefined);
      const lines = Array.from({ length: 16 }, (_, i) => (i === 5 ? "L".repeat(5000) : "m".repeat(400 + i)));
      const { failed } = await sink.write(records(lines), NEVER);
      expect(failed).toEqual([{ position: 5, reason: "413", retriable: false }]);
      expect(cluster.docs.map(({ source }) => source.message).sort()).toEqual(lines.filter((_, i) => i !== 5).sort());
    }));

  test("places are right for what is refused in one half", () =>
    withSink({}, async (sink, cluster) => {
      cluster.instead = (got) => (got.body.toString().split("\n").length > 7 ? { status: 413 } : undefined);
      mixed({ b6: CONFLICT, b1: { ...CONFLICT, status: 503 } })(cluster);
      const { failed } = await sink.write(records(Array.from({ length: 10 }, (_, i) => `b${i}`)), NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable]).sort()).toEqual([
        [1, true],
        [6, false],
      ]);
      expect(cluster.docs).toHaveLength(8);
    }));

  test("a request that Elasticsearch calls wrong is sent in halves; one that a proxy calls wrong waits", () =>
    withSink({}, async (sink, cluster) => {
      cluster.instead = (got) => (got.body.includes("poison") ? json(400, error("parse_exception", "oh")) : undefined);
      const { failed } = await sink.write(records(["a", "poison", "c"]), NEVER);
      expect(failed).toEqual([{ position: 1, reason: "400 parse_exception: oh", retriable: false }]);
      cluster.instead = () => ({ status: 400, text: "<h1>plain HTTP was sent to an HTTPS port</h1>" });
      await expect(sink.write(records(["d"]), NEVER)).rejects.toMatchObject({
        code: "sink_unavailable",
        retriable: true,
        message: expect.stringContaining("answers 400 <h1>plain HTTP"),
      });
    }));

  test.each([301, 302, 307, 401, 403, 404, 405, 406, 408, 415, 421, 429, 500, 502, 503, 504])(
    "%i of the whole request waits",
    (status) =>
      withSink({}, async (sink, cluster) => {
        const elsewhere = await HttpDestination.start();
        cluster.instead = () => ({ status, text: "what", headers: { location: elsewhere.url } });
        await expect(sink.write(records(["a", "b"]), NEVER)).rejects.toMatchObject({
          code: "sink_unavailable",
          retriable: true,
          message: `${cluster.url}: answers ${status} what`,
        });
        // Each node is asked once, and nobody else.
        expect(cluster.server.got).toHaveLength(1);
        expect(elsewhere.got).toHaveLength(0);
        await elsewhere.stop();
      }),
  );

  test("Retry-After is waited for", async () => {
    const now = { ms: 1_000_000 };
    const waits: number[] = [];
    await withSink(
      {},
      async (sink, cluster) => {
        cluster.instead = () => ({ status: 429, headers: { "retry-after": "1" } });
        await expect(sink.write(records(["a"]), NEVER)).rejects.toThrow("429");
        cluster.instead = () => undefined;
        const began = performance.now();
        await sink.write(records(["a"]), NEVER);
        waits.push(performance.now() - began);
      },
      { now: () => now.ms },
    );
    expect(waits[0]).toBeGreaterThan(900);
  });

  test.each([
    { name: "no items", body: {} },
    { name: "too few items", body: { items: [{ create: { status: 201 } }] } },
    { name: "too many items", body: { items: [201, 201, 201].map((status) => ({ create: { status } })) } },
    { name: "items of something else", body: { items: [{ index: { status: 201 } }, { index: { status: 201 } }] } },
    { name: "a status that is none", body: { items: [{ create: { status: "201" } }, { create: { status: 201 } }] } },
    { name: "null", body: null },
    { name: "a list", body: [] },
  ])("$name: nothing counts as taken", ({ body }) =>
    withSink({}, async (sink, cluster) => {
      cluster.instead = () => json(200, body);
      await expect(sink.write(records(["a", "b"]), NEVER)).rejects.toMatchObject({
        code: "sink_reply",
        retriable: true,
      });
    }),
  );

  test.each([
    { name: "a page", answer: { status: 200, text: "<html>", headers: { "content-type": "text/html" } } },
    {
      name: "JSON that is none",
      answer: { status: 200, text: '{"items":[', headers: { "content-type": "application/json" } },
    },
    { name: "nothing", answer: { status: 200, text: "", headers: { "content-type": "application/json" } } },
    { name: "204", answer: { status: 204 } },
  ])("$name: nothing counts as taken", ({ answer }) =>
    withSink({}, async (sink, cluster) => {
      cluster.instead = () => answer;
      await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({ name: "WeirError", retriable: true });
    }),
  );

  test("an error page of any size is read in part only", () =>
    withSink({}, async (sink, cluster) => {
      cluster.instead = () => ({ status: 500, text: "e".repeat(8 << 20) });
      const failure = await sink.write(records(["a"]), NEVER).catch((reason: unknown) => reason);
      expect(failure).toMatchObject({ code: "sink_unavailable" });
      expect((failure as Error).message.length).toBeLessThan(1200);
    }));
});

describe("elasticsearch sink: answers that do not end well", () => {
  async function withServer(
    answer: (response: http.ServerResponse, socket: Socket) => void,
    options: Record<string, unknown>,
    work: (sink: RecordSink) => Promise<void>,
  ): Promise<void> {
    const server = http.createServer((request, response) => {
      request.resume();
      request.on("end", () => answer(response, request.socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const sink = open({ nodes: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`], ...options });
    const printed = vi.spyOn(console, "log");
    try {
      await work(sink);
      expect(printed).not.toHaveBeenCalled();
    } finally {
      printed.mockRestore();
      await sink.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }
  const HEAD = { "content-type": "application/json" };
  const unavailable = (message: string) => ({
    code: "sink_unavailable",
    retriable: true,
    message: expect.stringContaining(message),
  });

  test("no answer", () =>
    withServer(
      () => {},
      { timeout_ms: 100 },
      async (sink) => {
        await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject(unavailable(""));
      },
    ));

  test("an answer that trickles in for longer than it may", () =>
    withServer(
      (response) => {
        response.writeHead(200, HEAD);
        const timer = setInterval(() => response.write(" "), 20);
        response.on("close", () => clearInterval(timer));
      },
      { timeout_ms: 200 },
      async (sink) => {
        await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject(unavailable("no answer within 200 ms"));
      },
    ));

  test("an answer that is cut, again and again", () =>
    withServer(
      (response, socket) => {
        response.writeHead(200, { ...HEAD, "content-length": "1000" });
        response.write('{"items":[{"create":{"status":201}}');
        setTimeout(() => socket.resetAndDestroy(), 10);
      },
      {},
      async (sink) => {
        for (let i = 0; i < 3; i++)
          await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject(unavailable(""));
      },
    ));

  test("a connection that is closed at once", () =>
    withServer(
      (_, socket) => socket.destroy(),
      {},
      async (sink) => {
        await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject(unavailable(""));
      },
    ));

  test("an answer that never ends", () =>
    withServer(
      (response) => {
        response.writeHead(200, HEAD);
        const part = Buffer.alloc(1 << 20, " ");
        const more = () => {
          while (!response.destroyed && response.write(part));
          if (!response.destroyed) response.once("drain", more);
        };
        more();
      },
      {},
      async (sink) => {
        // Of several records it might have been less to say; of one there is nothing left to try.
        await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({ code: "sink_reply", retriable: true });
      },
    ));

  test("a compressed answer, which nobody asked for", () =>
    withServer(
      (response) => {
        response.writeHead(200, { ...HEAD, "content-encoding": "gzip" });
        response.end(gzipSync(Buffer.alloc(1 << 20)));
      },
      {},
      async (sink) => {
        await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject(unavailable("content-encoding gzip"));
      },
    ));
});

describe("elasticsearch sink: TLS", () => {
  const fixture = (name: string) => path.resolve(import.meta.dirname, "../fixtures/tls", name);
  const server = https.createServer(
    { cert: readFileSync(fixture("server.pem")), key: readFileSync(fixture("server.key")) },
    (request, response) => {
      request.resume();
      request.on("end", () => {
        response.writeHead(200, { "content-type": "application/json" });
        response.end('{"items":[{"create":{"status":201}}]}');
      });
    },
  );
  let url = "";
  beforeEach(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  test.each([
    { name: "a certificate of a trusted authority", tls: { ca_file: fixture("ca.pem") }, taken: true },
    { name: "one that nobody is to look at", tls: { verify: false }, taken: true },
    { name: "one of an authority that the system does not know", tls: {}, taken: false },
    { name: "one of another authority", tls: { ca_file: fixture("stranger.pem") }, taken: false },
  ])("$name: taken $taken", async ({ tls, taken }) => {
    const sink = open({ nodes: [url], tls });
    const outcome = await sink.write(records(["a"]), NEVER).catch((reason: unknown) => reason);
    await sink.close();
    expect(outcome).toMatchObject(taken ? { failed: [] } : { code: "sink_unavailable", retriable: true });
    if (!taken) expect(String(outcome)).toMatch(/certificate/);
  });
});

describe("elasticsearch sink: several nodes", () => {
  test("takes them in turn, goes round one that is away, and comes back to it", async () => {
    const nodes = [await FakeCluster.start(), await FakeCluster.start(), await FakeCluster.start()];
    const sink = open({ nodes: nodes.map(({ url }) => url), node_pause_ms: 50 });
    const bulks = () => nodes.map((node) => node.bulks.length);
    for (let i = 0; i < 6; i++) await sink.write(records(["a"], i), NEVER);
    expect(bulks()).toEqual([2, 2, 2]);
    await nodes[1].server.stop();
    for (let i = 6; i < 12; i++) expect((await sink.write(records(["a"], i), NEVER)).failed).toEqual([]);
    expect(bulks()[1]).toBe(2);
    expect(bulks()[0] + bulks()[2]).toBe(10);
    await nodes[1].server.listen();
    await vi.waitFor(
      async () => {
        await sink.write(records(["a"], 100 + Math.random()), NEVER);
        expect(bulks()[1]).toBeGreaterThan(2);
      },
      { timeout: 120_000, interval: 60 },
    );
    await sink.close();
    for (const { server } of nodes) await server.stop();
  });

  test("goes round a node that is busy being something else (503), and asks each once when all are", async () => {
    const nodes = [await FakeCluster.start(), await FakeCluster.start()];
    const sink = open({ nodes: nodes.map(({ url }) => url) });
    nodes[0].instead = () => ({ status: 503 });
    expect((await sink.write(records(["a"]), NEVER)).failed).toEqual([]);
    expect(nodes[1].docs).toHaveLength(1);
    nodes[1].instead = () => ({ status: 503 });
    const before = nodes.map(({ server }) => server.got.length);
    await expect(sink.write(records(["b"]), NEVER)).rejects.toMatchObject({ code: "sink_unavailable" });
    const asked = nodes.reduce((sum, { server }, i) => sum + server.got.length - before[i], 0);
    expect(asked).toBe(2);
    await sink.close();
    for (const { server } of nodes) await server.stop();
  });
});

describe("elasticsearch sink: index template", () => {
  const install = { index: "logs-{app}-{+yyyy.MM.dd}", template: { install: true } };

  test("is there before the first record, once, with a pattern that all names fit", () =>
    withSink(install, async (sink, cluster) => {
      await sink.write(records(["a"]), NEVER);
      await sink.write(records(["b"], 8), NEVER);
      expect(cluster.server.got.map(({ method, path }) => `${method} ${path.replace(/\?filter.*/, "")}`)).toEqual([
        "GET /_index_template/weir-out",
        "PUT /_index_template/weir-out?create=true",
        "POST /_bulk",
        "POST /_bulk",
      ]);
      expect(cluster.templates.get("weir-out")).toMatchObject({
        index_patterns: ["logs-*-*"],
        priority: 200,
        version: 1,
        _meta: { managed_by: "weir" },
        template: { mappings: { date_detection: false, properties: { "@timestamp": { type: "date_nanos" } } } },
      });
      expect(cluster.templates.get("weir-out")).not.toHaveProperty("data_stream");
    }));

  test("the same one is left alone; after a change of options it is put anew; a newer one stays", () =>
    withSink(install, async (_, cluster) => {
      const puts = () => cluster.server.got.filter(({ method }) => method === "PUT").length;
      const once = async (options: Record<string, unknown>) => {
        const sink = open({ nodes: [cluster.url], ...install, ...options });
        await sink.write(records(["a"]), NEVER);
        await sink.close();
      };
      await once({});
      await once({});
      expect(puts()).toBe(1);
      await once({ template: { install: true, settings: { "index.number_of_replicas": 0 } } });
      expect(puts()).toBe(2);
      expect(cluster.templates.get("weir-out")).toMatchObject({
        template: { settings: { "index.number_of_replicas": 0 } },
      });
      cluster.templates.set("weir-out", { ...cluster.templates.get("weir-out"), version: 99 });
      await once({});
      expect(puts()).toBe(2);
    }));

  test("one of somebody else's is left as it is, and that is said", async () => {
    const { log, lines } = recordingLogger();
    await withSink(
      install,
      async (sink, cluster) => {
        const theirs = { index_patterns: ["logs-*"], _meta: { managed_by: "ops" } };
        cluster.templates.set("weir-out", theirs);
        await sink.write(records(["a"]), NEVER);
        expect(cluster.templates.get("weir-out")).toEqual(theirs);
        expect(cluster.docs).toHaveLength(1);
      },
      { log },
    );
    expect(lines.map(({ msg }) => msg)).toContain("index template weir-out is not Weir's, and is left as it is");
  });

  test("no record goes out before it is there", () =>
    withSink(install, async (sink, cluster) => {
      cluster.instead = (got) =>
        got.method === "PUT" ? json(400, error("illegal_argument_exception", "same priority")) : undefined;
      await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({
        code: "sink_unavailable",
        message: expect.stringContaining(
          "index template weir-out: answers 400 illegal_argument_exception: same priority",
        ),
      });
      cluster.instead = (got) => (got.path.startsWith("/_index_template") ? { status: 403 } : undefined);
      await expect(sink.write(records(["a"]), NEVER)).rejects.toThrow("403");
      expect(cluster.docs).toEqual([]);
      cluster.instead = () => undefined;
      expect((await sink.write(records(["a"]), NEVER)).failed).toEqual([]);
      expect(cluster.templates.size).toBe(1);
    }));

  test("one for all indices of the cluster is refused", () => {
    const parsed = elasticsearch.options.safeParse({
      nodes: ["http://a"],
      index: "{app}",
      template: { install: true },
    });
    expect(parsed.error?.issues[0].message).toContain("for all indices of the cluster");
  });
});

test("each of several sinks says how many names it has, and how much it packed", async () => {
  const given = deps(folder);
  for (const [name, max] of [
    ["one", 2],
    ["two", 3],
  ] as const) {
    await withSink(
      { fields_max: max },
      async (sink) => {
        await sink.write([{ ...record(0, "x", {}), json: '{"a":1,"b":2,"c":3,"d":4}' }], NEVER);
      },
      { ...given, name },
    );
  }
  const text = await given.metrics.render();
  expect(text).toContain('weir_sink_field_names{sink="one"} 2\n');
  expect(text).toContain('weir_sink_field_names{sink="two"} 3\n');
  expect(text).toContain('weir_sink_packed_fields_total{sink="one"} 2\n');
  expect(text).toContain('weir_sink_packed_fields_total{sink="two"} 1\n');
});

test("names are known after a restart, and a folder that can't be written to holds nothing up", async () => {
  const fields = (json: string) => [{ ...record(0, "x", {}), json }];
  const { log, lines } = recordingLogger();
  const blocked = path.join(folder, "file");
  writeFileSync(blocked, "");
  for (const where of [folder, blocked]) {
    const given = { ...deps(where), log };
    await withSink(
      { fields_max: 1 },
      async (sink) => {
        await sink.write(fields('{"a":1}'), NEVER);
      },
      given,
    );
    await withSink(
      { fields_max: 1 },
      async (sink, cluster) => {
        expect((await sink.write(fields('{"b":1}'), NEVER)).failed).toEqual([]);
        const known = where === folder;
        expect(cluster.docs[0].source.fields).toEqual(known ? undefined : { b: 1 });
      },
      given,
    );
  }
  expect(lines.some(({ msg }) => msg.includes("can't write down its names of fields"))).toBe(true);
});

describe("elasticsearch sink: options", () => {
  test.each([
    { name: "two ways to log in", options: { api_key: "a", bearer_token: "b" }, says: /want one/ },
    { name: "a node twice", options: { nodes: ["http://a", "http://a/"] }, says: /twice/ },
    { name: "a user in an address", options: { nodes: ["http://u:p@a"] }, says: /basic/ },
    { name: "another protocol", options: { nodes: ["ftp://a"] }, says: /http/ },
    { name: "an odd prefix", options: { id_prefix: 'a"b' }, says: /at most 64/ },
    { name: "no node", options: { nodes: [] }, says: /./ },
  ])("$name", ({ options, says }) => {
    const parsed = elasticsearch.options.safeParse({ nodes: ["http://a"], ...options });
    expect(parsed.error?.issues[0].message).toMatch(says);
  });

  test("certificates that can't be read stop it before it begins", () => {
    expect(() => open({ nodes: ["https://a"], tls: { ca_file: path.join(folder, "none.pem") } })).toThrow(/ca_file/);
    writeFileSync(path.join(folder, "ca.pem"), "");
    expect(() => open({ nodes: ["https://a"], tls: { ca_file: path.join(folder, "ca.pem") } })).not.toThrow();
  });
});
