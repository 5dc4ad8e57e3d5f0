import { describe, expect, test, vi } from "vitest";
import otlpSink from "../../sinks/otlp.ts";
import { PbfWriter } from "../../src/codec/protobuf.ts";
import { silentLogger } from "../../src/core/log.ts";
import type { RecordSink, SinkRecord } from "../../src/core/sink.ts";
import { ItemBudget } from "../../src/push/item-budget.ts";
import {
  AnyMap,
  type AnyValue,
  type Attribute,
  Blob,
  type OtlpRecord,
  type OtlpResource,
} from "../../src/push/otlp.ts";
import { readOtlpProto } from "../../src/push/otlp-proto.ts";
import { record, recordSinkContract, records, type SinkUnderTest } from "../contract/sinks.ts";
import { agoNs, TestWeir } from "../push/weir.ts";
import { Random } from "../random.ts";
import { type Answer, deps, type Got, HttpDestination } from "./destinations.ts";

const NEVER = new AbortController().signal;

function decode({ body }: Got): OtlpResource[] {
  return [...readOtlpProto(body, new ItemBudget(() => {}))].filter((piece) => piece !== undefined);
}

const recordsOf = (got: Got): OtlpRecord[] =>
  decode(got).flatMap(({ scopes }) => scopes.flatMap((scope) => scope.records));
const lineOf = ({ body }: OtlpRecord): Buffer => (body instanceof Blob ? body.bytes : (body as Buffer));

/** Plain values of what was decoded. */
function plain(value: AnyValue): unknown {
  if (Buffer.isBuffer(value)) return value.toString();
  if (value instanceof Blob) return { bytes: value.bytes.toString("hex") };
  if (value instanceof AnyMap) return Object.fromEntries(value.pairs.map(([name, inner]) => [name, plain(inner)]));
  if (Array.isArray(value)) return value.map(plain);
  return value !== null && typeof value === "object" ? Number(value.text) : value;
}
const attributes = (pairs: readonly Attribute[]) =>
  Object.fromEntries(pairs.map(([name, value]) => [name, plain(value)]));

const PROTOBUF = { "content-type": "application/x-protobuf" };

/** ExportLogsServiceResponse. */
function partial(rejected: number, message = ""): Buffer {
  const out = new PbfWriter();
  out.writeMessage(
    1,
    (_: null, pbf) => {
      if (rejected !== 0) pbf.writeVarintField(1, rejected);
      if (message !== "") pbf.writeStringField(2, message);
    },
    null,
  );
  return Buffer.from(out.finish());
}

recordSinkContract(
  "otlp",
  async (): Promise<SinkUnderTest> => {
    const to = await HttpDestination.start();
    const taken: Got[] = [];
    to.answer = (got): Answer => {
      if (got.body.includes("refuse me")) return { status: 400, text: "bad record" };
      taken.push(got);
      return { status: 200, headers: PROTOBUF };
    };
    return {
      sink: otlpSink.open(otlpSink.options.parse({ url: `${to.url}/v1/logs` }), deps()),
      taken: async () => taken.flatMap(recordsOf).map(lineOf),
      away: () => to.stop(),
      back: () => to.listen(),
      hang: () => {
        to.answer = () => null;
      },
      close: () => to.stop(),
    };
  },
  { refusesWith: "400 bad record" },
);

describe("otlp sink", () => {
  async function withSink(
    options: Record<string, unknown>,
    work: (sink: RecordSink, to: HttpDestination) => Promise<void>,
    log = silentLogger,
  ): Promise<void> {
    const to = await HttpDestination.start();
    to.answer = () => ({ status: 200, headers: PROTOBUF });
    const sink = otlpSink.open(otlpSink.options.parse({ url: `${to.url}/v1/logs`, ...options }), { ...deps(), log });
    try {
      await work(sink, to);
    } finally {
      await sink.close();
      await to.stop();
    }
  }

  const full: SinkRecord = {
    ...record(0, "hello", { app: "web", k8s_pod_name: "web-1" }),
    receivedMs: 1_700_000_001_234,
    metadata: [
      ["trace_id", "0af7651916cd43dd8448eb211c80319c"],
      ["span_id", "b7ad6b7169203331"],
      ["flags", "1"],
      ["detected_level", "error"],
      ["scope_name", "lib"],
      ["scope_version", "1.2"],
      ["event_name", "failed"],
      ["request_id", "r 1"],
    ],
  };

  test("puts each thing in the place that OTLP has for it", () =>
    withSink({ resource: { app: "service.name" } }, async (sink, to) => {
      await sink.write([full], NEVER);
      const [got] = to.got;
      expect(got.path).toBe("/v1/logs");
      expect(got.headers).toMatchObject({ "content-type": "application/x-protobuf", "content-encoding": "gzip" });
      expect(got.headers["x-scope-orgid"]).toBeUndefined();
      const [resource] = decode(got);
      expect(attributes(resource.attributes)).toEqual({ "service.name": "web", "k8s.pod.name": "web-1" });
      expect(resource.scopes).toMatchObject([{ name: "lib", version: "1.2" }]);
      const [{ attributes: own, body, ...rest }] = recordsOf(got);
      expect(rest).toEqual({
        timeNs: 1_700_000_000_000_000_005n,
        observedNs: 1_700_000_001_234_000_000n,
        severityNumber: 17,
        severityText: "error",
        droppedAttributes: 0,
        flags: 1,
        traceId: "0af7651916cd43dd8448eb211c80319c",
        spanId: "b7ad6b7169203331",
        eventName: "failed",
      });
      expect(plain(body)).toBe("hello");
      expect(attributes(own)).toEqual({ request_id: "r 1" });
    }));

  test.each([
    {
      name: "a number of its own",
      metadata: [
        ["severity_number", "10"],
        ["severity_text", "INFO2"],
        ["detected_level", "info"],
      ],
      want: [10, "INFO2"],
    },
    {
      name: "a text of its own",
      metadata: [
        ["severity_text", "Notice"],
        ["detected_level", "info"],
      ],
      want: [9, "Notice"],
    },
    {
      name: "a number that is none",
      metadata: [
        ["severity_number", "99"],
        ["detected_level", "warn"],
      ],
      want: [13, "warn"],
    },
    {
      name: "a level that OTLP has no number for",
      metadata: [["detected_level", "constructor"]],
      want: [0, "constructor"],
    },
    { name: "no level", metadata: [], want: [0, ""] },
  ] as const)("says the severity of a record with $name", ({ metadata, want }) =>
    withSink({}, async (sink, to) => {
      await sink.write([{ ...full, metadata }], NEVER);
      const [{ severityNumber, severityText }] = recordsOf(to.got[0]);
      expect([severityNumber, severityText]).toEqual(want);
    }),
  );

  test.each([
    { name: "that has one", one: { metadata: [["observed_timestamp", "18446744073709551615"]] }, want: 2n ** 64n - 1n },
    {
      name: "whose is none",
      one: { metadata: [["observed_timestamp", "18446744073709551616"]] },
      want: 1_700_000_001_234_000_000n,
    },
    { name: "of a dead letter", one: { metadata: [], receivedMs: undefined }, want: 1_700_000_000_000_000_005n },
  ] as const)("says when a record was observed $name", ({ one, want }) =>
    withSink({}, async (sink, to) => {
      const { receivedMs: _, ...rest } = { ...full, ...one };
      await sink.write([one && "receivedMs" in one ? rest : { ...full, ...one }], NEVER);
      expect(recordsOf(to.got[0])[0].observedNs).toBe(want);
    }),
  );

  test("sends the record's fields too, if asked, but not the line twice", () =>
    withSink({ record_attributes: true }, async (sink, to) => {
      const json = JSON.stringify({
        log: "hello",
        n: 7,
        big: 2 ** 60,
        part: -1.5,
        yes: true,
        none: null,
        list: [1, "a", { b: [] }],
        map: { x: { y: "z" } },
        request_id: "of the record",
        deep: deep(100),
      });
      await sink.write([{ ...full, json }], NEVER);
      const found = attributes(recordsOf(to.got[0])[0].attributes);
      expect(found).toMatchObject({
        n: 7,
        big: 2 ** 60,
        part: -1.5,
        yes: true,
        none: null,
        list: [1, "a", { b: [] }],
        map: { x: { y: "z" } },
        request_id: "r 1",
      });
      expect(found).not.toHaveProperty("log");
      expect(JSON.stringify(found.deep)).toContain("[[[[[[[");
    }));

  test("sends each tenant's records in a request of their own", () =>
    withSink({ tenant: "{tenant}" }, async (sink, to) => {
      const batch = [
        { ...record(0, "a"), tenant: "t1" },
        { ...record(1, "b"), tenant: "t2" },
        { ...record(2, "c"), tenant: "t1" },
      ];
      await sink.write(batch, NEVER);
      const sent = to.got.map((got) => [
        got.headers["x-scope-orgid"],
        recordsOf(got).map((one) => lineOf(one).toString()),
      ]);
      expect(sent).toEqual([
        ["t1", ["a", "c"]],
        ["t2", ["b"]],
      ]);
    }));

  test("refuses a time that OTLP can't say, and sends the others", () =>
    withSink({}, async (sink, to) => {
      const batch = [
        record(0, "a"),
        { ...record(1, "b"), sec: -1 },
        { ...record(2, "c"), sec: 2 ** 40 },
        record(3, "d"),
      ];
      const { failed } = await sink.write(batch, NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([
        [1, false],
        [2, false],
      ]);
      expect(recordsOf(to.got[0]).map((one) => lineOf(one).toString())).toEqual(["a", "d"]);
    }));

  describe("a destination that took some", () => {
    const refusesSome = (got: Got): Answer => {
      const bad = recordsOf(got).filter((one) => lineOf(one).includes("bad")).length;
      return { status: 200, headers: PROTOBUF, text: partial(bad, bad > 0 ? "no good" : "").toString("latin1") };
    };

    test("costs all of the request, since it doesn't say which, and is asked once", () =>
      withSink({}, async (sink, to) => {
        to.answer = refusesSome;
        const { failed } = await sink.write(records(["a", "bad", "c"]), NEVER);
        expect(failed.map(({ position }) => position)).toEqual([0, 1, 2]);
        expect(failed[0]).toEqual({ position: 0, reason: "1 of 3 records refused: no good", retriable: false });
        expect(to.got).toHaveLength(1);
      }));

    test("is asked in halves where it recognises repeats", () =>
      withSink({ on_partial_success: "halve" }, async (sink, to) => {
        to.answer = refusesSome;
        const lines = Array.from({ length: 64 }, (_, i) => (i === 40 ? "bad" : `good ${i}`));
        const { failed } = await sink.write(records(lines), NEVER);
        expect(failed).toEqual([{ position: 40, reason: "1 of 1 records refused: no good", retriable: false }]);
      }));

    test("in JSON is understood as well", () =>
      withSink({}, async (sink, to) => {
        const text = '{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"why"}}';
        to.answer = () => ({ status: 200, headers: { "content-type": "application/json; charset=utf-8" }, text });
        expect((await sink.write(records(["a", "b"]), NEVER)).failed.map(({ reason }) => reason)).toEqual([
          "2 of 2 records refused: why",
          "2 of 2 records refused: why",
        ]);
      }));
  });

  test("takes a warning for one, and says it once", async () => {
    const warn = vi.fn();
    await withSink(
      {},
      async (sink, to) => {
        to.answer = () => ({ status: 200, headers: PROTOBUF, text: partial(0, "slow down").toString("latin1") });
        for (let i = 0; i < 3; i++) expect((await sink.write(records(["a"]), NEVER)).failed).toEqual([]);
      },
      { ...silentLogger, warn } as unknown as typeof silentLogger,
    );
    expect(warn.mock.calls.map(([, text]) => text)).toEqual(["sink out: the destination warns: slow down"]);
  });

  test.each([301, 401, 403, 404, 408, 429, 502, 503, 504])("says that %i may pass", (status) =>
    withSink({}, async (sink, to) => {
      to.answer = () => ({ status });
      await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({
        code: "sink_unavailable",
        retriable: true,
      });
      expect(to.got).toHaveLength(1);
    }),
  );

  test.each([
    [400, 3],
    [413, 3],
    [422, 3],
    [500, 1],
    [501, 1],
    [505, 1],
  ])("takes %i for a refusal, after %i requests", (status, requests) =>
    withSink({}, async (sink, to) => {
      to.answer = () => ({ status, text: "no" });
      const { failed } = await sink.write(records(["a", "b"]), NEVER);
      expect(failed.map(({ reason, retriable }) => [reason, retriable])).toEqual(
        Array(2).fill([`${status} no`, false]),
      );
      expect(to.got).toHaveLength(requests);
    }),
  );

  test.each([
    { name: "a page to log in", type: "text/html", text: "<html>" },
    { name: "no content type", type: "", text: "ok" },
    { name: "broken JSON", type: "application/json", text: "{" },
    {
      name: "JSON of another kind",
      type: "application/json",
      text: '{"partialSuccess":{"rejectedLogRecords":"many"}}',
    },
    { name: "broken protobuf", type: "application/x-protobuf", text: "\x0a\x7f\x08" },
    { name: "fewer than none refused", type: "application/x-protobuf", text: partial(-5).toString("latin1") },
  ])("does not take $name for a success", ({ type, text }) =>
    withSink({}, async (sink, to) => {
      to.answer = () => ({ status: 200, text, headers: type === "" ? undefined : { "content-type": type } }) as Answer;
      await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({ code: "sink_unavailable" });
    }),
  );

  test("makes something of each broken answer: taken, refused, or later", { timeout: 300_000 }, () =>
    withSink({}, async (sink, to) => {
      const random = new Random();
      const whole = partial(1, "a reason that is long enough to be cut");
      for (let i = 0; i < 300; i++) {
        const bytes = Buffer.from(whole.subarray(0, random.below(whole.length + 1)));
        if (bytes.length > 0 && random.below(2) === 0) bytes[random.below(bytes.length)] = random.below(256);
        to.answer = () => ({ status: 200, headers: PROTOBUF, text: bytes.toString("latin1") });
        const outcome = await sink.write(records(["a"]), NEVER).then(
          ({ failed }) => failed.length,
          (error: { code?: string }) => error.code,
        );
        expect([0, 1, "sink_unavailable"]).toContain(outcome);
      }
    }),
  );
});

describe("otlp, from one Weir to another", () => {
  const yaml = (sink: string) => `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:0"], udp_heartbeat: false }
pipelines:
  default: { steps: [trace, level], to: [store${sink === "" ? "" : ", out, again"}] }
sinks:
  store: { type: store }
${sink}
ingest:
  otlp_config: { resource_attributes: { attributes_config: [{ action: index_label, attributes: [app, env] }] } }
http: { listen: "127.0.0.1:0" }
query: { threads: 0 }
`;

  test("each line is there once, byte for byte, with time, labels and metadata, though requests come twice", {
    timeout: 300_000,
  }, async () => {
    const to = await TestWeir.start(yaml(""));
    const url = `${to.base}/otlp/v1/logs`;
    const from = await TestWeir.start(
      // Two of them, so that everything is sent twice.
      yaml(
        `  out: { type: otlp, url: "${url}", batch_age_ms: 10, batch_records_max: 7 }\n  again: { type: otlp, url: "${url}", batch_age_ms: 50 }`,
      ),
    );
    try {
      const trace = "0af7651916cd43dd8448eb211c80319c";
      const lines = [
        "plain",
        "",
        "with\nnewlines\r\n",
        "\u0000\u001b[31m grüße 😀",
        `trace ${trace}`,
        '{"level":"error","n":1}',
        "x".repeat(50_000),
      ];
      const values = lines.map((line, i) => [
        agoNs(60, i),
        line,
        i % 2 === 0 ? { user: `u ${i}`, flags: "1", trace_id: trace } : {},
      ]);
      const { status } = await from.push({
        streams: [
          { stream: { app: "web", env: "prod" }, values },
          { stream: { app: "db" }, values: [[agoNs(50), "other"]] },
        ],
      });
      expect(status).toBe(204);
      const here = await from.rows('{app=~".+"}');
      expect(here.map(({ line }) => line).sort()).toEqual([...lines, "other"].sort());
      const sent = (name: string) =>
        new RegExp(`weir_sink_records_total\\{sink="${name}",result="sent"\\} ${here.length}$`, "m");
      for (const name of ["out", "again"]) {
        await vi.waitFor(async () => expect(await from.metrics.render()).toMatch(sent(name)), { timeout: 120_000 });
      }
      // What the destination adds of its own: when Weir had it, and the severity that it was sent with.
      const added = /^(observed_timestamp|severity_number|severity_text|trace_source_extracted)$/;
      const plainRow = ({ stream, ns, line }: (typeof here)[number]) =>
        JSON.stringify([
          ns,
          line,
          Object.entries(stream)
            .filter(([name]) => !added.test(name))
            .sort(),
        ]);
      expect((await to.rows('{app=~".+"}')).map(plainRow).sort()).toEqual(here.map(plainRow).sort());
    } finally {
      await from.close();
      await to.close();
    }
  });
});

function deep(levels: number): unknown {
  return levels === 0 ? "end" : [deep(levels - 1)];
}
