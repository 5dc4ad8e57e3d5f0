import { describe, expect, test } from "vitest";
import { type Encodable, encode } from "../../src/codec/msgpack.ts";
import { silentLogger } from "../../src/core/log.ts";
import { GroupCache } from "../../src/pipeline/group.ts";
import { KeyTable } from "../../src/pipeline/key-table.ts";
import { Router } from "../../src/pipeline/route.ts";
import { entryOf, eventBytes, type Got, packed, setUp } from "./harness.ts";

const MIB = 1 << 20;

describe("what is remembered of what agents send is bounded by its bytes as well", () => {
  test("groups", () => {
    const groups = new GroupCache();
    const get = (name: string, length: number) => {
      const bytes = encode({ resource: { attributes: { name, text: "x".repeat(length) } } });
      const at = { metadataStart: 0, metadataEnd: 0, attributesStart: 0, attributesEnd: bytes.length };
      return groups.get(bytes, at).id;
    };
    const small = get("small", 10);
    expect(get("small", 10)).toBe(small);
    for (let i = 0; i < 100; i++) get(`large ${i}`, MIB);
    expect(get("small", 10)).not.toBe(small);
  });

  test("tags, of which the log shows the beginning", () => {
    const said: { tag: string }[] = [];
    const log = Object.assign(Object.create(silentLogger), { warn: (fields: { tag: string }) => said.push(fields) });
    const router = new Router([], 10_000, log);
    const find = (tag: string) => expect(router.find("in", tag)).toBe(null);
    find("small");
    find("small");
    expect(said).toHaveLength(1);
    for (let i = 0; i < 10; i++) find(`${i}${"x".repeat(MIB)}`);
    find("small");
    expect(said).toHaveLength(12);
    for (const { tag } of said) expect(tag.length).toBeLessThan(1000);
  });
});

test("keys that look alike to the table are not compared with all others", () => {
  let asked = 0;
  const table = new KeyTable((key) => {
    asked++;
    return key.length;
  });
  const keys = Array.from({ length: 2000 }, (_, i) => Buffer.from(`${"a".repeat(100)}${String(i).padStart(4, "0")}z`));
  let reads = 0;
  const counted = (key: Buffer) =>
    new Proxy(key, {
      get: (target, name) => {
        if (typeof name === "string" && /^\d+$/.test(name)) reads++;
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  for (let round = 0; round < 2; round++) {
    for (const key of keys) expect(table.lookup(counted(key), 0, key.length)).toBe(key.length);
  }
  // 16 keys of 105 bytes for each, and some to find the place and to remember it.
  expect(reads).toBeLessThan(2 * 2000 * 18 * 105);
  expect(asked).toBeGreaterThanOrEqual(2000);
});

describe("what a message of many tiny values becomes does not fill the memory", () => {
  /** An array of so many nils, a byte each; a megabyte of them is a kilobyte once compressed. */
  function nils(count: number): Buffer {
    const bytes = Buffer.alloc(count + 5, 0xc0);
    bytes[0] = 0xdd;
    bytes.writeUInt32BE(count, 1);
    return bytes;
  }
  const MANY = 300_000;
  const pair = (key: string, value: Buffer): Buffer => Buffer.concat([Buffer.of(0x81), encode(key), value]);

  function lineOf(record: Encodable | Buffer, metadata: Encodable = {}, steps: Parameters<typeof setUp>[0] = {}): Got {
    const { pipelines, sink } = setUp(steps);
    const run = pipelines.begin(entryOf(packed([eventBytes(record, metadata)])));
    while (run.step(100));
    expect(sink.got).toHaveLength(1);
    return sink.got[0];
  }

  test("a record that is stored as JSON", () => {
    expect(lineOf(pair("a", nils(MANY))).text).toBe('{"a":"[too many values]"}');
    expect(lineOf(pair("a", nils(MANY / 2))).text).toHaveLength((MANY / 2) * 5 + 7);
    // The values of all its lists together.
    const two = Buffer.concat([Buffer.of(0x82), encode("a"), nils(MANY / 2), encode("b"), nils(MANY / 2)]);
    expect(lineOf(two).text).toMatch(/null\],"b":"\[too many values\]"\}$/);
  });

  test("a level, a label and metadata", () => {
    const { text, labels, metadata } = lineOf(
      Buffer.concat([
        Buffer.of(0x83),
        ...["log", "x", "level"].map((one) => encode(one)),
        nils(MANY),
        encode("a"),
        nils(MANY),
      ]),
      {},
      { steps: [{ level: {} }, { labels: { a: "a" } }, { metadata: { level: "level" } }] },
    );
    expect({ text, labels }).toEqual({ text: "x", labels: { a: '"[too many values]"' } });
    expect(metadata.level).toBe('"[too many values]"');
  });

  test("texts that JSON writes six times as long", () => {
    const got = lineOf({ a: Buffer.alloc(20 * MIB).toString("latin1"), b: "left out" });
    expect(Number(got.metadata.truncated)).toBe(16 * MIB * 6 + '{"a":"","b":""}'.length);
  });

  test("attributes of a group", () => {
    const attributes = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, "v"]));
    const bytes = encode({ resource: { attributes } });
    const at = { metadataStart: 0, metadataEnd: 0, attributesStart: 0, attributesEnd: bytes.length };
    expect(new GroupCache().get(bytes, at).resource).toHaveLength(10_000);
  });
});
