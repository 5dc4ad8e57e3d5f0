import { describe, expect, test } from "vitest";
import { ItemBudget } from "../../src/push/item-budget.ts";
import { readLokiJson } from "../../src/push/loki-json.ts";
import { readLokiProto } from "../../src/push/loki-proto.ts";
import type { OtlpResource } from "../../src/push/otlp.ts";
import { readOtlpJson } from "../../src/push/otlp-json.ts";
import type { PushedStream } from "../../src/push/stream.ts";
import { body, NOW_NS, pushProto, Receive, stream } from "./receive.ts";

const LINES = 2000;
const items = (): ItemBudget => new ItemBudget(() => {});
const ns = (i: number): string => String(BigInt(NOW_NS) + BigInt(i));
const values = Array.from({ length: LINES }, (_, i) => [ns(i), `line ${i}`]);
const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** The lines of each piece, in their order. */
const linesOf = (pieces: Iterable<PushedStream | undefined>): string[][] =>
  [...pieces].flatMap((piece) => (piece === undefined ? [] : [piece.lines.map(({ line }) => line.toString())]));
const recordsOf = (pieces: Iterable<OtlpResource | undefined>): number[] =>
  [...pieces].flatMap((piece) =>
    piece === undefined ? [] : [piece.scopes.reduce((sum, { records }) => sum + records.length, 0)],
  );

describe("a body is given piece by piece", () => {
  const inOrder = values.map(([, line]) => line);

  test.each([
    { name: "JSON", pieces: () => readLokiJson(text(body({ stream: { a: "b" }, values })), items()) },
    {
      name: "protobuf",
      pieces: () =>
        readLokiProto(
          pushProto([{ labels: '{a="b"}', entries: inOrder.map((line, i) => ({ sec: 1, nsec: i, line })) }]),
          items(),
        ),
    },
  ])("$name: few lines at a time, all of them in order", ({ pieces }) => {
    const given = linesOf(pieces());
    expect(Math.max(...given.map((lines) => lines.length))).toBeLessThanOrEqual(64);
    expect(given.flat()).toEqual(inOrder);
  });

  test("labels that stand behind their lines count as well", async () => {
    const receive = new Receive();
    const late = text(body({ values, stream: { a: "late" } }));
    expect(linesOf(readLokiJson(late, items()))).toEqual([inOrder]);
    expect(await receive.send("loki", { body: late })).toMatchObject({ status: 204 });
    expect(new Set(receive.stored().map(({ labels }) => labels.a))).toEqual(new Set(["late"]));
    expect(receive.stored().map(({ line }) => line)).toEqual(inOrder);
  });

  const records = Array.from({ length: LINES }, (_, i) => ({
    timeUnixNano: ns(i),
    body: { stringValue: `line ${i}` },
  }));
  const resource = { attributes: [{ key: "service.name", value: { stringValue: "s" } }] };
  const scope = { name: "lib" };
  test.each([
    { name: "in the usual order", value: { resource, scopeLogs: [{ scope, logRecords: records }] }, most: 64 },
    { name: "the scope behind", value: { resource, scopeLogs: [{ logRecords: records, scope }] }, most: LINES },
    { name: "the resource behind", value: { scopeLogs: [{ scope, logRecords: records }], resource }, most: LINES },
    {
      name: "a scope without its name before one with",
      value: {
        resource,
        scopeLogs: [
          { logRecords: records.slice(0, 10), scope },
          { scope, logRecords: records.slice(10) },
        ],
      },
      most: 74,
    },
  ])("OTLP, $name", async ({ value, most }) => {
    const given = recordsOf(readOtlpJson(text({ resourceLogs: [value] }), items()));
    expect(Math.max(...given)).toBeLessThanOrEqual(most);
    expect(given.reduce((sum, count) => sum + count, 0)).toBe(LINES);
    const receive = new Receive();
    expect(await receive.send("otlp", { body: text({ resourceLogs: [value] }) })).toMatchObject({ status: 204 });
    const stored = receive.stored();
    expect(stored.map(({ line }) => line)).toEqual(inOrder);
    expect(new Set(stored.map(({ labels, metadata }) => `${labels.service_name} ${metadata.scope_name}`))).toEqual(
      new Set(["s lib"]),
    );
  });

  test("attributes count until their records are given on: a large body may have many", async () => {
    const attributes = Array.from({ length: 30 }, (_, i) => ({ key: `a${i}`, value: { stringValue: "v" } }));
    const many = Array.from({ length: 20_000 }, (_, i) => ({ timeUnixNano: ns(i), attributes }));
    const value = text({ resourceLogs: [{ resource, scopeLogs: [{ scope, logRecords: many }] }] });
    let held = 0;
    const given = recordsOf(
      readOtlpJson(
        value,
        new ItemBudget((bytes) => {
          held += bytes;
        }),
      ),
    );
    expect(given.reduce((sum, count) => sum + count, 0)).toBe(20_000);
    expect(held).toBeLessThan(16 << 20);
    const entry = (i: number) => ["1", "x", Object.fromEntries(attributes.map(({ key }) => [key, `${i}`]))];
    const pushed = text(body({ stream: { a: "b" }, values: Array.from({ length: 20_000 }, (_, i) => entry(i)) }));
    expect(linesOf(readLokiJson(pushed, items())).flat()).toHaveLength(20_000);
    // Held back because their labels are not known, they are too many.
    const late = text(body({ values: Array.from({ length: 20_000 }, (_, i) => entry(i)), stream: { a: "b" } }));
    expect(() => linesOf(readLokiJson(late, items()))).toThrow("more than 500000 lines, streams and attributes");
  });

  test("what is broken at its end leaves nothing behind, and counts nothing", async () => {
    const receive = new Receive();
    const old = [String(BigInt(NOW_NS) - 10n ** 18n), "old"];
    const whole = text(body(stream({ a: "b" }, old, ...values)));
    expect(await receive.send("loki", { body: whole.subarray(0, -1) })).toMatchObject({ status: 400 });
    expect(receive.drafts).toEqual([]);
    expect(await receive.metric("weir_push_refused_lines_total{")).toBe("");
    expect(await receive.send("loki", { body: whole })).toMatchObject({ status: 400 });
    expect(receive.stored()).toHaveLength(LINES);
    expect(await receive.metric("weir_push_refused_lines_total{")).toMatch(/reason="time"\} 1$/);
  });

  test("a line longer than the pieces of memory, among short ones", async () => {
    const receive = new Receive({ max_line_size: 0, per_stream_rate_limit_mb: 0 });
    const lines = ["a", "b".repeat(700_000), "c", "d".repeat(255_000), "e".repeat(2000), ""];
    await receive.json(body(stream({ a: "b" }, ...lines.map((line, i) => [ns(i), line, { k: `v${i}` }]))));
    expect(receive.stored().map(({ line }) => line)).toEqual(lines);
    expect(receive.stored().map(({ metadata }) => metadata.k)).toEqual(lines.map((_, i) => `v${i}`));
  });

  test("the memory that lines take is told of, and no line is kept of a push above the burst", async () => {
    const big = Array.from({ length: 100 }, (_, i) => [ns(i), "x".repeat(100_000)]);
    let held = 0;
    const hold = (bytes: number): void => {
      held += bytes;
    };
    const value = body(stream({ a: "b" }, ...big));
    const free = new Receive({ ingestion_rate_mb: 0, per_stream_rate_limit_mb: 0 });
    expect(await free.json(value, { hold })).toMatchObject({ status: 204 });
    expect(held).toBeGreaterThan(10_000_000);
    held = 0;
    const limited = new Receive();
    expect(await limited.json(value, { hold })).toMatchObject({
      status: 429,
      text: expect.stringContaining("ingest '100' lines totaling '10000000' bytes"),
    });
    expect(held).toBeLessThan(8 << 20);
  });
});
