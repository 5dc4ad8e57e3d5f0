import { describe, expect, test } from "vitest";
import httpSink from "../../sinks/http.ts";
import type { RecordSink } from "../../src/core/sink.ts";
import { record, recordSinkContract, records, type SinkUnderTest } from "../contract/sinks.ts";
import { type Answer, deps, type Got, HttpDestination } from "./destinations.ts";

const NEVER = new AbortController().signal;

interface Envelope {
  readonly id: string;
  readonly time: string;
  readonly line: string;
  readonly line_base64?: string;
}

const rows = (got: Got): Envelope[] =>
  got.body
    .toString()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Envelope);

const lineOf = ({ line, line_base64 }: Envelope) =>
  line_base64 === undefined ? Buffer.from(line) : Buffer.from(line_base64, "base64");

const refusing = (got: Got): Answer =>
  got.body.includes("refuse me") ? { status: 422, text: "no such field" } : { status: 200 };

recordSinkContract(
  "http",
  async (): Promise<SinkUnderTest> => {
    const to = await HttpDestination.start();
    to.answer = refusing;
    const taken: Got[] = [];
    to.answer = (got) => {
      const answer = refusing(got);
      if (answer.status === 200) taken.push(got);
      return answer;
    };
    return {
      sink: httpSink.open(httpSink.options.parse({ url: `${to.url}/in` }), deps()),
      taken: async () => taken.flatMap(rows).map(lineOf),
      away: () => to.stop(),
      back: () => to.listen(),
      hang: () => {
        to.answer = () => null;
      },
      close: () => to.stop(),
    };
  },
  { refusesWith: "422 no such field" },
);

describe("http sink", () => {
  async function withSink(
    options: Record<string, unknown>,
    work: (sink: RecordSink, to: HttpDestination) => Promise<void>,
    now?: () => number,
  ): Promise<void> {
    const to = await HttpDestination.start();
    const sink = httpSink.open(httpSink.options.parse({ url: `${to.url}/in?a=b`, ...options }), deps(undefined, now));
    try {
      await work(sink, to);
    } finally {
      await sink.close();
      await to.stop();
    }
  }

  test("posts an object a line, with id, time, labels and metadata", () =>
    withSink({}, async (sink, to) => {
      await sink.write([record(3, "hello")], NEVER);
      const [got] = to.got;
      expect(got.path).toBe("/in?a=b");
      expect(got.headers).toMatchObject({ "content-type": "application/x-ndjson", "content-encoding": "gzip" });
      expect(rows(got)).toEqual([
        {
          id: "0-7-3",
          time: "2023-11-14T22:13:23.000000005Z",
          tenant: "fake",
          labels: { app: "web" },
          metadata: { trace_id: "0af7651916cd43dd8448eb211c80319c" },
          line: "hello",
        },
      ]);
    }));

  test("posts the record's own fields, if asked", () =>
    withSink({ form: "record", gzip: false }, async (sink, to) => {
      await sink.write([record(0, "a"), { ...record(1, "pushed"), json: "{}" }], NEVER);
      expect(to.got[0].headers["content-encoding"]).toBeUndefined();
      expect(to.got[0].body.toString()).toBe(
        '{"log":"a","n":0}\n{"trace_id":"0af7651916cd43dd8448eb211c80319c","line":"pushed"}\n',
      );
    }));

  test.each([
    { name: "a token", options: { bearer_token: "t0" }, want: "Bearer t0" },
    { name: "a user", options: { basic: { user: "u", password: "p:ä" } }, want: "Basic dTpwOsOk" },
    { name: "a header", options: { headers: { Authorization: "Own x" } }, want: "Own x" },
  ])("authorizes by $name", ({ options, want }) =>
    withSink(options, async (sink, to) => {
      await sink.write(records(["a"]), NEVER);
      expect(to.got[0].headers.authorization).toBe(want);
    }),
  );

  test.each([301, 302, 401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 504])(
    "says that %i may pass, and sends nothing twice for it",
    (status) =>
      withSink({}, async (sink, to) => {
        to.answer = () => ({ status, text: "later" });
        await expect(sink.write(records(["a", "b"]), NEVER)).rejects.toMatchObject({
          code: "sink_unavailable",
          retriable: true,
          message: expect.stringContaining(`${status} later`),
        });
        expect(to.got).toHaveLength(1);
      }),
  );

  test.each([400, 413, 415, 422])("takes %i as a word about the records", (status) =>
    withSink({}, async (sink, to) => {
      to.answer = () => ({ status, text: "x".repeat(5000) });
      const { failed } = await sink.write(records(["a"]), NEVER);
      expect(failed).toEqual([{ position: 0, reason: `${status} ${"x".repeat(1000)}…`, retriable: false }]);
    }),
  );

  test("finds one bad record among many with few requests", () =>
    withSink({}, async (sink, to) => {
      to.answer = refusing;
      const lines = Array.from({ length: 1024 }, (_, i) => (i === 700 ? "refuse me" : `line ${i}`));
      expect((await sink.write(records(lines), NEVER)).failed.map(({ position }) => position)).toEqual([700]);
      expect(to.got.length).toBeLessThanOrEqual(21);
    }));

  test("sends what was taken once, also when the server goes away while a bad record is looked for", () =>
    withSink({}, async (sink, to) => {
      const taken: string[] = [];
      to.answer = (got) => {
        if (taken.length > 0) return { status: 503 };
        const answer = refusing(got);
        if (answer.status === 200) taken.push(...rows(got).map(({ line }) => line));
        return answer;
      };
      const batch = records(["a", "b", "c", "d", "refuse me", "e", "f", "g"]);
      const { failed } = await sink.write(batch, NEVER);
      expect(taken).toEqual(["a", "b", "c", "d"]);
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual(
        [4, 5, 6, 7].map((position) => [position, true]),
      );
      to.answer = refusing;
      const again = await sink.write(
        failed.map(({ position }) => batch[position]),
        NEVER,
      );
      expect(again.failed).toMatchObject([{ position: 0, retriable: false }]);
    }));

  test("leaves a server alone for as long as it asks", async () => {
    let ms = 1_700_000_000_000;
    await withSink(
      {},
      async (sink, to) => {
        to.answer = () => ({ status: 503, headers: { "retry-after": "1" } });
        await expect(sink.write(records(["a"]), NEVER)).rejects.toThrow("503");
        to.answer = () => ({ status: 200 });
        const abort = new AbortController();
        const waiting = sink.write(records(["a"]), abort.signal);
        waiting.catch(() => {}); // Looked at below.
        await new Promise((resolve) => setTimeout(resolve, 30));
        expect(to.got).toHaveLength(1);
        abort.abort();
        await expect(waiting).rejects.toThrow();
        ms += 1001;
        await sink.write(records(["a"]), NEVER);
        expect(to.got).toHaveLength(2);
      },
      () => ms,
    );
  });

  test("waits no longer than it may for an answer", () =>
    withSink({ timeout_ms: 50 }, async (sink, to) => {
      to.answer = () => null;
      await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({
        retriable: true,
        message: expect.stringContaining("no answer within 50 ms"),
      });
    }));

  test.each([
    { name: "no URL", options: { url: "nowhere" } },
    { name: "another protocol", options: { url: "ftp://x/" } },
    { name: "a password in the URL", options: { url: "http://u:p@x/" } },
    { name: "a header that is none", options: { url: "http://x/", headers: { "a b": "c" } } },
    { name: "a header's value that is none", options: { url: "http://x/", headers: { a: "b\nc: d" } } },
    { name: "a token with a newline at its end", options: { url: "http://x/", bearer_token: "t0\n" } },
  ])("refuses $name", ({ options }) => {
    expect(httpSink.options.safeParse(options).success).toBe(false);
  });
});
