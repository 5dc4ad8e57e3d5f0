import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SECOND, T0 } from "../query/run/harness.ts";
import { makeApi, type TestApi } from "./harness.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SHORT = "00000000000000008448eb211c80319c";
const OTHER = "463ac35c9f6413ad48485a3953bb6124";
const at = (s: bigint) => String(T0 + s * SECOND);

describe("/api/v1/traces/<id>", () => {
  let api: TestApi;
  beforeAll(async () => {
    api = await makeApi();
    api.append({ labels: { app: "web" }, ns: T0 + 3n * SECOND, text: "third", trace: TRACE, metadata: { pod: "p" } });
    api.append({ labels: { app: "web" }, ns: T0 + 1n * SECOND, text: "first", trace: TRACE });
    api.append({ labels: { app: "web" }, ns: T0 + 1n * SECOND, text: "other", trace: OTHER });
    await api.flush();
    api.append({ labels: { app: "db" }, ns: T0 + 2n * SECOND, text: "second", trace: SHORT });
    api.append({ labels: { app: "db" }, ns: T0 + 2n * SECOND, text: "no trace" });
  });
  afterAll(() => api.close());

  test("gives the lines of all streams in Loki's form and in one list by time", async () => {
    const answer = await api.get(`/api/v1/traces/${TRACE}`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    const { status, data } = JSON.parse(answer.text) as { status: string; data: Record<string, unknown> };
    expect(status).toBe("success");
    const { stats, ...rest } = data;
    expect(stats).toMatchObject({ summary: { totalEntriesReturned: 3 } });
    expect(rest).toEqual({
      trace_id: TRACE,
      resultType: "streams",
      encodingFlags: ["categorize-labels"],
      result: [
        { stream: { app: "db" }, values: [[at(2n), "second", { structuredMetadata: { trace_id: SHORT } }]] },
        {
          stream: { app: "web" },
          values: [
            [at(1n), "first", { structuredMetadata: { trace_id: TRACE } }],
            [at(3n), "third", { structuredMetadata: { pod: "p", trace_id: TRACE } }],
          ],
        },
      ],
      lines: [
        { timestamp: at(1n), labels: { app: "web" }, metadata: { trace_id: TRACE }, line: "first" },
        { timestamp: at(2n), labels: { app: "db" }, metadata: { trace_id: SHORT }, line: "second" },
        { timestamp: at(3n), labels: { app: "web" }, metadata: { pod: "p", trace_id: TRACE }, line: "third" },
      ],
    });
  });

  const lines = async (path: string): Promise<string[]> => {
    const answer = await api.get(path, { headers: { accept: "application/x-ndjson" } });
    expect(answer.headers.get("content-type")).toContain("application/x-ndjson");
    return answer.text
      .split("\n")
      .filter((text) => text !== "")
      .map((text) => (JSON.parse(text) as { line: string }).line);
  };

  test.each([
    { name: "upper case", id: TRACE.toUpperCase() },
    { name: "16 digits", id: TRACE.slice(16) },
    { name: "padded", id: SHORT },
    { name: "decimal", id: String(BigInt(`0x${TRACE.slice(16)}`)) },
    { name: "a UUID", id: "0af76519-16cd-43dd-8448-eb211c80319c" },
    { name: "X-Ray's form", id: "1-0af76519-16cd43dd8448eb211c80319c" },
    { name: "a traceparent", id: `00-${TRACE}-b7ad6b7169203331-01` },
  ])("finds it written as $name", async ({ id }) => {
    expect(await lines(`/api/v1/traces/${id}`)).toEqual(["first", "second", "third"]);
  });

  test("does not take another trace with the same low half", async () => {
    expect(await lines(`/api/v1/traces/1af7651916cd43dd8448eb211c80319c`)).toEqual(["second"]);
  });

  test("keeps to times and limit, oldest first", async () => {
    expect(await lines(`/api/v1/traces/${TRACE}?start=${at(2n)}`)).toEqual(["second", "third"]);
    expect(await lines(`/api/v1/traces/${TRACE}?end=${at(2n)}`)).toEqual(["first"]);
    expect(await lines(`/api/v1/traces/${TRACE}?limit=2`)).toEqual(["first", "second"]);
  });

  test("is empty for a trace that nobody has", async () => {
    const answer = await api.get("/api/v1/traces/11111111111111111111111111111111");
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toMatchObject({ data: { result: [], lines: [] } });
  });

  test.each([
    { path: "xyz", says: /^got "xyz", want a trace id: / },
    { path: "0", says: /^got "0", want a trace id: / },
    { path: `${TRACE}?limit=0`, says: /^limit must be a positive value\n$/ },
    { path: `${TRACE}?limit=5001`, says: /^max entries limit per query exceeded/ },
    { path: `${TRACE}?start=x`, says: /^could not parse 'start' parameter: / },
  ])("refuses $path", async ({ path, says }) => {
    const answer = await api.get(`/api/v1/traces/${path}`);
    expect(answer.status).toBe(400);
    expect(answer.text).toMatch(says);
  });
});

describe("/api/v1/traces/<id> of lines that name several traces", () => {
  const THIRD = "64656667686970717273747576777879";
  const given = [
    { labels: { app: "a" }, ns: T0, text: "both", trace: TRACE, metadata: { trace_id_alt: `${OTHER},${THIRD}` } },
    { labels: { app: "b" }, ns: T0 + SECOND, text: "own", trace: OTHER },
    { labels: { app: "b" }, ns: T0 + 2n * SECOND, text: "narrow", trace: THIRD, metadata: { trace_id_alt: SHORT } },
    { labels: { app: "c" }, ns: T0 + 3n * SECOND, text: "neither" },
  ];
  const wanted = [
    { id: TRACE, texts: ["both", "narrow"] },
    { id: OTHER, texts: ["both", "own"] },
    { id: OTHER.slice(16), texts: ["both", "own"] },
    { id: `1${OTHER.slice(1)}`, texts: [] },
    { id: THIRD, texts: ["both", "narrow"] },
    { id: SHORT, texts: ["both", "narrow"] },
  ];

  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "weir-traces-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test("finds them by each, in open blocks, in segments, and after a restart", async () => {
    const check = async (api: TestApi, when: string) => {
      for (const { id, texts } of wanted) {
        const { text } = await api.get(`/api/v1/traces/${id}`);
        const { data } = JSON.parse(text) as { data: { lines: { line: string }[] } };
        expect(
          data.lines.map(({ line }) => line),
          `${id}, ${when}`,
        ).toEqual(texts);
      }
    };
    const first = await makeApi({ folder, query: { threads: 0 } });
    try {
      for (const one of given) first.append(one);
      await check(first, "open");
      await first.flush();
      await check(first, "flushed");
    } finally {
      await first.close();
    }
    const second = await makeApi({ folder, query: { threads: 0 } });
    try {
      await check(second, "restarted");
    } finally {
      await second.close();
    }
  });
});
