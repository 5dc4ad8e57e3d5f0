import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { ExtData, encode as encodeElsewhere } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EventCursor, type ForwardMessage, readForwardMessage } from "../../src/codec/forward-message.ts";
import { encode } from "../../src/codec/msgpack.ts";
import { WeirError } from "../../src/core/errors.ts";
import { array32, CASES, read } from "../forward/cases.ts";
import { eventsOf } from "../forward/events.ts";

const LOG_CASES = CASES.filter(({ files }) => files.some(({ frames }) => frames.some(({ mode }) => mode !== "PING")));

function frames(name: string): { payload: Buffer; info: (typeof CASES)[0]["files"][0]["frames"][0] }[] {
  const found = CASES.find((one) => one.name === name);
  return (found?.files ?? []).flatMap(({ bytes, frames }) =>
    frames
      .filter(({ mode }) => mode !== "PING")
      .map((info) => ({ payload: bytes.subarray(info.offset, info.offset + info.length), info })),
  );
}

const MODES: Record<string, ForwardMessage["mode"]> = {
  Message: "message",
  Forward: "forward",
  PackedForward: "packed",
  CompressedPackedForward: "compressed",
};

function faultOf(run: () => unknown): WeirError {
  try {
    run();
  } catch (error) {
    if (error instanceof WeirError) return error;
    throw error;
  }
  throw new Error("no fault");
}

/** An EventTime as another library has it. */
function eventTime(sec: number, nsec: number): ExtData {
  const data = Buffer.alloc(8);
  data.writeUInt32BE(sec, 0);
  data.writeUInt32BE(nsec, 4);
  return new ExtData(0, data);
}

function elsewhere(value: unknown): Buffer {
  return Buffer.from(encodeElsewhere(value, { useBigInt64: true }));
}

function walk(payload: Buffer, nestingMax = 0): number {
  const cursor = new EventCursor();
  cursor.nestingMax = nestingMax;
  cursor.open(payload, readForwardMessage(payload));
  let events = 0;
  while (cursor.next()) events++;
  return events;
}

describe("captured messages", () => {
  test.each(LOG_CASES)("$name: head and options", ({ name }) => {
    for (const { payload, info } of frames(name)) {
      const message = readForwardMessage(payload);
      const options = info.options ?? {};
      expect(message.tag).toBe(info.tag);
      expect(message.mode).toBe(MODES[info.mode.split(" ")[0]]);
      expect(message.chunk).toBe(options.chunk ?? null);
      expect(message.size).toBe(options.size ?? -1);
      expect(message.compression).toBe(options.compressed ?? "none");
      expect(message.signal).toBe(["logs", "metrics", "traces"][Number(options.fluent_signal ?? 0)]);
      if (message.chunk !== null) {
        const { chunkStart, chunkEnd } = message;
        expect(payload.subarray(chunkStart, chunkEnd).equals(encode(message.chunk))).toBe(true);
      }
    }
  });

  test.each(LOG_CASES)("$name: events as expected", ({ name, expected }) => {
    const got = frames(name).flatMap(({ payload }): unknown[] => {
      const message = readForwardMessage(payload);
      if (message.signal === "logs") return eventsOf(payload, message);
      return [{ tag: message.tag, signal: message.signal }];
    });
    const wanted = expected.map((event) => {
      const { tag, signal } = event as { tag: string; signal?: string };
      return signal === undefined ? event : { tag, signal };
    });
    expect(got).toEqual(wanted);
  });

  test("81,915 entries in an array32", () => {
    const { bytes } = array32();
    const summary = JSON.parse(read("array32.summary.json").toString());
    const events = eventsOf(bytes) as { time_ns: string; record: { log: string } }[];
    expect(events.length).toBe(summary.events);
    expect(events.slice(0, 3)).toEqual(summary.first);
    expect(events.slice(-3)).toEqual(summary.last);
    const hash = createHash("sha256");
    for (const { time_ns, record } of events) hash.update(`${time_ns} ${record.log}\n`);
    expect(hash.digest("hex")).toBe(summary.sha256_of_lines);
  });

  test("the place of the options may be given, or is found", () => {
    for (const { payload } of frames("require-ack")) {
      const found = readForwardMessage(payload);
      const at = found.entriesEnd;
      const given = readForwardMessage(payload, at);
      expect([given.chunk, given.size, given.entriesEnd]).toEqual([found.chunk, found.size, at]);
    }
  });
});

const TIME = eventTime(1_772_446_530, 123_456_789);
const ENTRY = [TIME, { log: "x" }];

describe("times", () => {
  test.each([
    { name: "EventTime as fixext8", time: "d70069a56342075bcd15", gives: [1_772_446_530, 123_456_789] },
    { name: "EventTime as ext8", time: "c7080069a56342075bcd15", gives: [1_772_446_530, 123_456_789] },
    { name: "unsigned seconds", time: "d700ffffff00 3b9ac9ff", gives: [0xffffff00, 999_999_999] },
    { name: "fixint", time: "01", gives: [1, 0] },
    { name: "uint8", time: "ccff", gives: [255, 0] },
    { name: "uint16", time: "cdffff", gives: [65_535, 0] },
    { name: "uint32", time: "ceffffffff", gives: [4_294_967_295, 0] },
    { name: "uint64", time: "cf00000001 00000000", gives: [4_294_967_296, 0] },
    { name: "int64", time: "d30000000069a56342", gives: [1_772_446_530, 0] },
    { name: "float64", time: "cb41da6958d0a0000000".slice(0, 18), gives: [1_772_446_530, 500_000_000] },
    { name: "float32", time: "ca3fc00000", gives: [1, 500_000_000] },
    { name: "a marker's seconds with nanoseconds", time: "d700ffffffff00000001", gives: [0xffffffff, 1] },
    { name: "a marker's time without metadata beside it", time: "d700ffffffff00000000", gives: [0xffffffff, 0] },
  ])("$name", ({ name, time, gives }) => {
    let bytes = Buffer.from(time.replaceAll(" ", ""), "hex");
    if (name === "float64") {
      bytes = Buffer.alloc(9);
      bytes[0] = 0xcb;
      bytes.writeDoubleBE(1_772_446_530.5, 1);
    }
    const record = encode({ log: "x" });
    const entry = Buffer.concat([Buffer.of(0x92), bytes, record]);
    const payload = Buffer.concat([Buffer.of(0x92), encode("t"), encode(entry)]);
    const cursor = new EventCursor();
    cursor.open(payload, readForwardMessage(payload));
    expect(cursor.next()).toBe(true);
    expect([cursor.sec, cursor.nsec]).toEqual(gives);
    expect(cursor.next()).toBe(false);
  });

  test.each([
    { name: "nanoseconds of a second and more", time: "d70069a563423b9aca00" },
    { name: "another ext type", time: "d70169a56342075bcd15" },
    { name: "an ext of another length", time: "d600 69a56342".replace(" ", "") },
    { name: "nil", time: "c0" },
    { name: "a str", time: "a131" },
    { name: "a negative integer", time: "ff" },
    { name: "milliseconds", time: "cf0000019cada4e000" },
    { name: "NaN", time: "cb7ff8000000000000" },
    { name: "infinity", time: "cb7ff0000000000000" },
    { name: "a time after 2262", time: "cf0000000225c17d04" },
  ])("refuses $name", ({ time }) => {
    const entry = Buffer.concat([Buffer.of(0x92), Buffer.from(time, "hex"), encode({ log: "x" })]);
    const payload = Buffer.concat([Buffer.of(0x92), encode("t"), encode(entry)]);
    const { code, context } = faultOf(() => walk(payload));
    expect(code).toBe("bad_message");
    // A str or nil is no time at all; the others are times that can't be.
    expect(context.reason).toBe("time");
    expect(context.at).toBe(payload.length - entry.length + 1);
  });
});

describe("group markers", () => {
  const start = [[eventTime(0xffffffff, 0), { id: 1 }], { resource: "a" }];
  const other = [[eventTime(0xffffffff, 0), { id: 2 }], { resource: "b" }];
  const end = [[eventTime(0xfffffffe, 0), {}], {}];
  const event = [[TIME, {}], { log: "x" }];

  test.each([
    {
      name: "events before, in and after a group",
      entries: [event, start, event, end, event],
      groups: [null, "a", null],
    },
    { name: "a group that begins in another", entries: [start, event, other, event, end], groups: ["a", "b"] },
    { name: "an end without a start", entries: [end, event], groups: [null] },
    { name: "a group without end", entries: [start, event], groups: ["a"] },
    { name: "only markers", entries: [start, end], groups: [] },
  ])("$name", ({ entries, groups }) => {
    const asArray = elsewhere(["t", entries]);
    const packed = elsewhere(["t", Buffer.concat(entries.map(elsewhere))]);
    const zipped = elsewhere(["t", gzipSync(Buffer.concat(entries.map(elsewhere))), { compressed: "gzip" }]);
    for (const payload of [asArray, packed, zipped]) {
      const got = eventsOf(payload) as { group?: { attributes: { resource: string } } }[];
      expect(got.map(({ group }) => group?.attributes.resource ?? null)).toEqual(groups);
    }
  });

  test("a cursor forgets the group of the message before", () => {
    const cursor = new EventCursor();
    const first = elsewhere(["t", [start, event]]);
    cursor.open(first, readForwardMessage(first));
    while (cursor.next()) expect(cursor.group).not.toBeNull();
    const second = elsewhere(["t", [event]]);
    cursor.open(second, readForwardMessage(second));
    cursor.next();
    expect(cursor.group).toBeNull();
  });
});

describe("options", () => {
  const entries = elsewhere(ENTRY);
  test.each([
    { name: "nil for none", options: null, gives: { chunk: null, size: -1, signal: "logs", compression: "none" } },
    { name: "an empty map", options: {}, gives: { chunk: null } },
    { name: "chunk", options: { chunk: "abc" }, gives: { chunk: "abc" } },
    { name: "chunk nil", options: { chunk: null }, gives: { chunk: null } },
    { name: "an empty chunk", options: { chunk: "" }, gives: { chunk: "" } },
    {
      name: "text for no compression",
      options: { compressed: "text" },
      gives: { compression: "none", mode: "packed" },
    },
    { name: "a size that is none", options: { size: "many" }, gives: { size: -1 } },
    { name: "metrics", options: { fluent_signal: 1 }, gives: { signal: "metrics" } },
    { name: "traces", options: { fluent_signal: 2 }, gives: { signal: "traces" } },
    { name: "others", options: { tenant: "acme", a: { b: [1] } }, gives: { chunk: null, signal: "logs" } },
    { name: "metadata outside message mode", options: { metadata: 7 }, gives: { metadataStart: -1 } },
    { name: "zstd", options: { compressed: "zstd" }, gives: { compression: "zstd", mode: "compressed" } },
  ])("$name", ({ options, gives }) => {
    expect(readForwardMessage(elsewhere(["t", entries, options]))).toMatchObject(gives);
  });

  test("a repeated key: the last counts", () => {
    const twice = Buffer.concat([Buffer.of(0x82), encode("chunk"), encode("a"), encode("chunk"), encode("b")]);
    const payload = Buffer.concat([Buffer.of(0x93), encode("t"), encode(entries), twice]);
    expect(readForwardMessage(payload).chunk).toBe("b");
  });

  test("a key that is no text", () => {
    const odd = Buffer.concat([Buffer.of(0x82), encode(7), encode("a"), encode("chunk"), encode("b")]);
    const payload = Buffer.concat([Buffer.of(0x93), encode("t"), encode(entries), odd]);
    expect(readForwardMessage(payload).chunk).toBe("b");
  });

  test.each([
    { name: "options that are no map", options: "x", reason: "options" },
    { name: "a chunk that is no str", options: { chunk: 7 }, reason: "options" },
    { name: "an unknown signal", options: { fluent_signal: 3 }, reason: "options" },
    { name: "an unknown compression", options: { compressed: "lz4" }, reason: "compression" },
    { name: "a compression that is no str", options: { compressed: 1 }, reason: "compression" },
  ])("refuses $name", ({ options, reason }) => {
    expect(faultOf(() => readForwardMessage(elsewhere(["t", entries, options]))).context.reason).toBe(reason);
    const inForwardMode = elsewhere(["t", [ENTRY], options]);
    expect(faultOf(() => readForwardMessage(inForwardMode).signal).context.reason).toBe(reason);
  });

  test("compression means nothing where the entries are an array", () => {
    const payload = elsewhere(["t", [ENTRY], { compressed: "gzip" }]);
    expect(readForwardMessage(payload)).toMatchObject({ mode: "forward", compression: "none" });
    expect(walk(payload)).toBe(1);
  });
});

describe("message mode", () => {
  test("with metadata among the options", () => {
    const payload = elsewhere(["t", TIME, { log: "x" }, { metadata: { a: 1 } }]);
    expect(eventsOf(payload)).toEqual([
      { tag: "t", time_ns: "1772446530123456789", metadata: { a: 1 }, record: { log: "x" } },
    ]);
  });

  test("a marker's time is an ordinary time there", () => {
    expect(walk(elsewhere(["t", eventTime(0xffffffff, 0), { log: "x" }]))).toBe(1);
  });
});

describe("refused messages", () => {
  test.each([
    { name: "a tag that is no str", value: [1, [ENTRY]], reason: "shape", at: 1 },
    { name: "a tag that is bin", value: [Buffer.from("t"), [ENTRY]], reason: "shape", at: 1 },
    { name: "entries that are a map", value: ["t", { a: 1 }], reason: "shape", at: 3 },
    { name: "entries that are nil", value: ["t", null], reason: "shape", at: 3 },
    { name: "five elements", value: ["t", 1, {}, {}, {}], reason: "shape", at: 0 },
    { name: "forward mode with four", value: ["t", [], {}, {}], reason: "shape", at: 3 },
    { name: "message mode without a record", value: ["t", 1], reason: "shape", at: 3 },
    { name: "message mode with a record that is no map", value: ["t", 1, "x"], reason: "shape", at: 4 },
    { name: "an entry that is no array", value: ["t", [7]], reason: "shape", at: 4 },
    { name: "an entry of three", value: ["t", [[1, {}, {}]]], reason: "shape", at: 4 },
    { name: "an entry of one", value: ["t", [[1]]], reason: "shape", at: 4 },
    { name: "a record that is no map", value: ["t", [[1, "x"]]], reason: "shape", at: 6 },
    { name: "a record that is nil", value: ["t", [[1, null]]], reason: "shape", at: 6 },
    { name: "a record that is an array", value: ["t", [[1, [1]]]], reason: "shape", at: 6 },
    { name: "metadata that is no map", value: ["t", [[[1, 2], {}]]], reason: "shape", at: 7 },
    { name: "an inner array of three", value: ["t", [[[1, {}, {}], {}]]], reason: "shape", at: 5 },
    {
      name: "a second event that is wrong",
      value: [
        "t",
        [
          [1, {}],
          [1, 7],
        ],
      ],
      reason: "shape",
      at: 9,
    },
  ])("$name", ({ value, reason, at }) => {
    expect(faultOf(() => walk(elsewhere(value))).context).toMatchObject({ reason, at });
  });

  test("packed entries that end inside an event, and bytes behind the message", () => {
    const entry = elsewhere(ENTRY);
    for (let cut = 1; cut < entry.length; cut++) {
      const payload = elsewhere(["t", Buffer.concat([entry, entry.subarray(0, cut)])]);
      expect(["cut", "time"]).toContain(faultOf(() => walk(payload)).context.reason);
    }
    const message = elsewhere(["t", entry]);
    expect(faultOf(() => walk(Buffer.concat([message, Buffer.of(0xc0)]))).context.reason).toBe("shape");
  });

  test("entries of the options' bytes: an event may not reach out of its bin", () => {
    // The record's str says 9 bytes, but only 3 are left in the bin; the options behind it must not be taken for text.
    const entry = Buffer.concat([Buffer.of(0x92, 0x01, 0x81, 0xa1, 0x61, 0xa9), Buffer.from("abc")]);
    const payload = Buffer.concat([Buffer.of(0x93), encode("t"), encode(entry), encode({ chunk: "0123456789" })]);
    expect(faultOf(() => walk(payload)).context.reason).toBe("cut");
  });

  test("nested too deep, by one", () => {
    const nest = (depth: number): unknown => (depth === 1 ? {} : { a: nest(depth - 1) });
    for (const depth of [1, 2, 7, 64]) {
      const payload = elsewhere(["t", [[1, nest(depth)]]]);
      expect(walk(payload, depth)).toBe(1);
      if (depth > 1) expect(faultOf(() => walk(payload, depth - 1)).context.reason).toBe("too_deep");
      const wrapped = elsewhere(["t", [[[1, nest(depth)], {}]]]);
      if (depth > 1) expect(faultOf(() => walk(wrapped, depth - 1)).context.reason).toBe("too_deep");
      const single = elsewhere(["t", 1, {}, { metadata: nest(depth) }]);
      if (depth > 1) expect(faultOf(() => walk(single, depth - 1)).context.reason).toBe("too_deep");
    }
  });

  test.each(LOG_CASES)("$name: every truncation is refused", ({ name }) => {
    for (const { payload } of frames(name)) {
      const step = Math.max(1, Math.floor(payload.length / 1500));
      for (let cut = 0; cut < payload.length; cut += step) {
        const short = payload.subarray(0, cut);
        const fault = faultOf(() => {
          const message = readForwardMessage(short);
          if (message.signal === "logs") eventsOf(short, message);
        });
        expect(fault.code).toBe("bad_message");
      }
    }
  });
});

describe("what another encoder writes", () => {
  const key = fc.string().filter((text) => text !== "__proto__");
  const scalar = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.integer(),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
    fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n }),
  );
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.array(tie("any"), { maxLength: 5 }),
      fc.dictionary(key, tie("any"), { maxKeys: 5 }),
    ),
  })).any;
  const record = fc.dictionary(key, value, { noNullPrototype: true, maxKeys: 8 });
  const event = fc.record({
    sec: fc.integer({ min: 0, max: 0xfffffffd }),
    nsec: fc.integer({ min: 0, max: 999_999_999 }),
    metadata: fc.option(record),
    record,
  });

  /** A value as `toJson` gives it. */
  const json = (item: unknown): unknown => {
    if (typeof item === "bigint") {
      return item >= Number.MIN_SAFE_INTEGER && item <= Number.MAX_SAFE_INTEGER ? Number(item) : { $int: String(item) };
    }
    if (typeof item === "number" && !Number.isFinite(item)) return { $float: String(item) };
    if (Object.is(item, -0)) return 0; // What the other library writes.
    if (typeof item === "string") return Buffer.from(item).toString(); // Lone surrogates become U+FFFD when encoded.
    if (Array.isArray(item)) return item.map(json);
    if (typeof item !== "object" || item === null) return item;
    return Object.fromEntries(Object.entries(item).map(([name, inner]) => [Buffer.from(name).toString(), json(inner)]));
  };

  test("is read as it was meant, in every mode", () => {
    fc.assert(
      fc.property(fc.string(), fc.array(event, { maxLength: 8 }), fc.boolean(), (tag, events, asInteger) => {
        const entries = events.map(({ sec, nsec, metadata, record }) => {
          const time = asInteger ? sec : eventTime(sec, nsec);
          return [metadata === null ? time : [time, metadata], record];
        });
        const packed = Buffer.concat(entries.map(elsewhere));
        const wanted = events.map(({ sec, nsec, metadata, record }) => ({
          tag: Buffer.from(tag).toString(),
          time_ns: String(BigInt(sec) * 1_000_000_000n + BigInt(asInteger ? 0 : nsec)),
          metadata: json(metadata ?? {}),
          record: json(record),
        }));
        expect(eventsOf(elsewhere([tag, entries]))).toEqual(wanted);
        expect(eventsOf(elsewhere([tag, entries, { chunk: "c", size: entries.length }]))).toEqual(wanted);
        expect(eventsOf(elsewhere([tag, packed]))).toEqual(wanted);
        expect(eventsOf(elsewhere([tag, gzipSync(packed), { compressed: "gzip" }]))).toEqual(wanted);
        for (const [i, { sec, metadata, record }] of events.entries()) {
          const options = metadata === null ? {} : { metadata };
          const [one] = eventsOf(elsewhere([tag, sec, record, options]));
          expect(one).toEqual({ ...wanted[i], time_ns: String(BigInt(sec) * 1_000_000_000n) });
        }
      }),
      { numRuns: 300 },
    );
  });
});
