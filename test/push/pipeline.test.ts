import { describe, expect, test } from "vitest";
import { PushBatchWriter } from "../../src/codec/push-batch.ts";
import { ENTRY_PUSH, type IntakeEntry } from "../../src/core/intake-entry.ts";
import { canonicalLabels, type Labels } from "../../src/core/labels.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { takesPushed } from "../../src/pipeline/takes.ts";
import { encodeMetadata } from "../../src/push/metadata.ts";
import { entryOf, eventBytes, type Got, packed, runEntry, type Setup, setUp } from "../pipeline/harness.ts";

interface Line {
  readonly labels?: Labels;
  readonly text?: string;
  readonly metadata?: Record<string, string>;
  readonly sec?: number;
}

function pushed(lines: readonly Line[], source = "in"): IntakeEntry {
  const writer = new PushBatchWriter(0);
  for (const { labels = { app: "web" }, text = "hello", metadata = {}, sec = 1_700_000_000 } of lines) {
    writer.stream(canonicalLabels(labels));
    const sorted = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
    writer.line(sec, 5, encodeMetadata(sorted), Buffer.from(text));
  }
  return { kind: ENTRY_PUSH, tenant: "t1", source, receivedMs: 0, payload: writer.finish(), offset: 0 };
}

function pass(setup: Setup, ...lines: Line[]): Got[] {
  const { pipelines, sink } = setUp(setup);
  runEntry(pipelines, pushed(lines));
  return sink.got;
}

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const OTHER = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "b7ad6b7169203331";

describe("a pushed line", () => {
  test("comes through as it is", () => {
    const [got] = pass(
      {},
      { labels: { app: "web", env: "prod" }, text: "a é\nb", metadata: { user: "u1", key_9a: "x" } },
    );
    expect(got).toMatchObject({
      tenant: "t1",
      labels: { app: "web", env: "prod" },
      sec: 1_700_000_000,
      nsec: 5,
      text: "a é\nb",
      metadata: { user: "u1", key_9a: "x" },
    });
    expect(Object.keys(got?.metadata ?? {})).toHaveLength(2);
  });

  test.each([
    {
      name: "stay, and others are added",
      steps: [{ labels: { app: { value: "no" }, env: { value: "prod" } } }],
      gives: { app: "web", env: "prod" },
    },
    { name: "may come from metadata", steps: [{ labels: { user: "user" } }], gives: { app: "web", user: "u1" } },
    {
      name: "get nothing from a tag, which there is none of",
      steps: [{ labels: { tag: "$tag" } }],
      gives: { app: "web" },
    },
    {
      name: "are within the limit, which only takes away what was added",
      steps: [{ labels: { a: { value: "1" }, b: { value: "2" } } }],
      limits: { labels_max: 2 },
      gives: { app: "web", a: "1" },
    },
  ])("labels $name", ({ steps, limits = {}, gives }) => {
    const [got] = pass({ steps, limits }, { metadata: { user: "u1" } });
    expect(got?.labels).toEqual(gives);
  });

  test("steps see its metadata as fields, and its line", () => {
    const setup: Setup = {
      steps: [{ drop: { when: { user: "test" } } }, { drop: { when: { $line: { regex: "^noise" } } } }],
    };
    const got = pass(
      setup,
      { metadata: { user: "test" } },
      { text: "noise 1" },
      { text: "kept", metadata: { user: "u" } },
    );
    expect(got.map(({ text }) => text)).toEqual(["kept"]);
  });

  test("metadata steps add to it, and say nothing twice", () => {
    const [got] = pass(
      { steps: [{ metadata: { user: "user", who: "user", app: { value: "x" } } }] },
      { metadata: { user: "u1" } },
    );
    expect(got?.metadata).toMatchObject({ user: "u1", who: "u1" });
    expect(Object.values(got?.metadata ?? {}).filter((value) => value === "u1")).toHaveLength(2);
  });

  test("metadata named as a label gets Loki's suffix", () => {
    expect(pass({}, { metadata: { app: "other" } })[0]?.metadata).toEqual({ app_extracted: "other" });
  });

  test("drop takes all metadata", () => {
    expect(pass({ steps: [{ drop: { fields: ["$metadata"] } }] }, { metadata: { a: "b" } })[0]?.metadata).toEqual({});
  });

  describe("level", () => {
    test.each<Line & { gives: string }>([
      { text: "ERROR: boom", gives: "error" },
      { text: "level=info", metadata: { level: "WARN" }, gives: "warn" },
      { text: "level=info", metadata: { level: "custom" }, gives: "custom" },
      { text: "level=info", metadata: { detected_level: "Warning", level: "debug" }, gives: "warn" },
      { text: "x", metadata: { severity_number: "17" }, gives: "error" },
      { text: "error", labels: { level: "dbg" }, gives: "debug" },
      { text: "x", gives: "unknown" },
    ])("of $text with $metadata is $gives", ({ gives, ...line }) => {
      expect(pass({ steps: [{ level: {} }] }, line)[0]?.metadata.detected_level).toBe(gives);
    });

    test("is kept as it was given without a level step", () => {
      expect(pass({}, { metadata: { detected_level: "Odd" } })[0]?.metadata).toEqual({ detected_level: "Odd" });
    });
  });

  describe("ids", () => {
    const steps = [{ trace: { source: false } }];
    test.each<{ name: string; metadata: Record<string, string>; gives: Record<string, string>; slots: number }>([
      {
        name: "canonical ones are kept as ids",
        metadata: { trace_id: TRACE, span_id: SPAN },
        gives: { trace_id: TRACE, span_id: SPAN },
        slots: 2,
      },
      {
        name: "others are kept as text",
        metadata: { trace_id: "abc", span_id: "1" },
        gives: { trace_id: "abc", span_id: "1" },
        slots: 0,
      },
      {
        name: "capitals stay",
        metadata: { trace_id: TRACE.toUpperCase() },
        gives: { trace_id: TRACE.toUpperCase() },
        slots: 0,
      },
      {
        name: "short ones stay short",
        metadata: { trace_id: TRACE.slice(16) },
        gives: { trace_id: TRACE.slice(16) },
        slots: 0,
      },
    ])("$name, with a trace step and without", ({ metadata, gives, slots }) => {
      const [plain] = pass({}, { metadata });
      expect(plain?.metadata).toEqual(gives);
      expect(plain?.idAt.filter((at) => at !== -2)).toHaveLength(slots);
      const [traced] = pass({ steps }, { metadata });
      expect(traced?.metadata).toMatchObject(gives);
    });

    test.each(["abc-123", "84961386-6d84-429d-98bd-c5aee93b5c88"])(
      "the request id %s is kept once, whatever the line has",
      (id) => {
        for (const text of ["x", "request_id=84961386-6d84-429d-98bd-000000000000", "request_id=other-77"]) {
          expect(pass({ steps }, { text, metadata: { request_id: id } })[0]?.metadata.request_id).toBe(id);
        }
      },
    );

    test("those in the line give way to given ones, with their spans", () => {
      const [got] = pass({ steps }, { text: `trace_id=${OTHER} span_id=${SPAN}`, metadata: { trace_id: TRACE } });
      expect(got?.metadata.trace_id).toBe(TRACE);
      expect(got?.metadata).not.toHaveProperty("span_id");
    });

    test("those in the line are found where none are given, and one line's are not the next one's", () => {
      const got = pass({ steps }, { metadata: { trace_id: "abc" } }, { text: `trace_id=${OTHER}` }, { text: "none" });
      expect(got.map(({ metadata }) => metadata.trace_id)).toEqual(["abc", OTHER, undefined]);
    });
  });

  test("streams alternate, with an agent's records between them", () => {
    const { pipelines, sink } = setUp({ steps: [{ labels: { x: "x" } }] });
    runEntry(pipelines, pushed([{ labels: { app: "a" } }, { labels: { app: "b" } }, { labels: { app: "a" } }]));
    runEntry(pipelines, entryOf(packed([eventBytes({ log: "agent's", x: "1" })]), "in", "t1"));
    runEntry(pipelines, pushed([{ labels: { app: "a" } }]));
    expect(sink.got.map(({ labels }) => labels)).toEqual([
      { app: "a" },
      { app: "b" },
      { app: "a" },
      { x: "1" },
      { app: "a" },
    ]);
    expect(sink.got[0]?.handle).toBe(sink.got[4]?.handle);
  });
});

test("a pipeline is found by the receiver, and by ** alone", () => {
  expect(takesPushed([{ from: ["in"], match: ["**"] }], "in")).toBe(true);
  expect(takesPushed([{ from: ["in"], match: ["**"] }], "other")).toBe(false);
  expect(takesPushed([{ from: ["in"], match: ["kube.**"] }], "in")).toBe(false);
});

test("damaged lines cost only what comes after the damage", async () => {
  const metrics = new Metrics();
  const { pipelines, sink } = setUp({ metrics });
  const entry = pushed([{ text: "one" }, { text: "two" }]);
  runEntry(pipelines, { ...entry, payload: Buffer.concat([entry.payload, Buffer.of(9)]) });
  runEntry(pipelines, { ...entry, payload: Buffer.of(7) });
  runEntry(pipelines, pushed([{ text: "three" }], "nobody"));
  expect(sink.got.map(({ text }) => text)).toEqual(["one", "two"]);
  const text = await metrics.render();
  expect(text).toMatch(/weir_pipeline_broken_entries_total 2/);
  expect(text).toMatch(/weir_pipeline_unrouted_records_total 1/);
});
