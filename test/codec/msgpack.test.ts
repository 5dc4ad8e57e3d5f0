import { decode as decodeElsewhere, ExtData, ExtensionCodec, encode as encodeElsewhere } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  CUT,
  decode,
  type Encodable,
  encode,
  itemCount,
  itemHead,
  kindAt,
  MsgpackMap,
  type MsgpackValue,
  readFloat,
  readInteger,
  skip,
  textHead,
  textLength,
} from "../../src/codec/msgpack.ts";
import { skipNested, TOO_DEEP } from "../../src/codec/nesting.ts";
import { WeirError } from "../../src/core/errors.ts";
import { CASES } from "../forward/cases.ts";
import { Random } from "../random.ts";

/** One value of each format, with its kind and total length. */
const FORMATS = [
  { name: "positive fixint", hex: "7f", kind: "uint", value: 127 },
  { name: "negative fixint", hex: "e0", kind: "int", value: -32 },
  { name: "fixmap", hex: "8101c0", kind: "map", value: new MsgpackMap([[1, null]]) },
  { name: "empty fixmap", hex: "80", kind: "map", value: new MsgpackMap([]) },
  { name: "fixarray", hex: "920102", kind: "array", value: [1, 2] },
  { name: "fixstr", hex: "a3616263", kind: "str", value: "abc" },
  { name: "nil", hex: "c0", kind: "nil", value: null },
  { name: "false", hex: "c2", kind: "bool", value: false },
  { name: "true", hex: "c3", kind: "bool", value: true },
  { name: "bin 8", hex: "c403010203", kind: "bin", value: Buffer.from([1, 2, 3]) },
  { name: "bin 16", hex: "c50001ff", kind: "bin", value: Buffer.from([255]) },
  { name: "bin 32", hex: "c600000001ff", kind: "bin", value: Buffer.from([255]) },
  { name: "ext 8", hex: "c70205aabb", kind: "ext", value: { ext: 5, data: Buffer.from([0xaa, 0xbb]) } },
  { name: "ext 16", hex: "c8000105aa", kind: "ext", value: { ext: 5, data: Buffer.from([0xaa]) } },
  { name: "ext 32", hex: "c900000001ffaa", kind: "ext", value: { ext: -1, data: Buffer.from([0xaa]) } },
  { name: "float 32", hex: "ca3fc00000", kind: "float", value: 1.5 },
  { name: "float 64", hex: "cb3ff8000000000000", kind: "float", value: 1.5 },
  { name: "uint 8", hex: "ccff", kind: "uint", value: 255 },
  { name: "uint 16", hex: "cdffff", kind: "uint", value: 65_535 },
  { name: "uint 32", hex: "ceffffffff", kind: "uint", value: 4_294_967_295 },
  { name: "uint 64", hex: "cfffffffffffffffff", kind: "uint", value: 18_446_744_073_709_551_615n },
  { name: "uint 64, small", hex: "cf0000000000000001", kind: "uint", value: 1 },
  { name: "int 8", hex: "d080", kind: "int", value: -128 },
  { name: "int 16", hex: "d18000", kind: "int", value: -32_768 },
  { name: "int 32", hex: "d280000000", kind: "int", value: -2_147_483_648 },
  { name: "int 64", hex: "d38000000000000000", kind: "int", value: -9_223_372_036_854_775_808n },
  { name: "int 64, small", hex: "d3ffffffffffffffff", kind: "int", value: -1 },
  { name: "fixext 1", hex: "d405aa", kind: "ext", value: { ext: 5, data: Buffer.from([0xaa]) } },
  { name: "fixext 2", hex: "d505aabb", kind: "ext", value: { ext: 5, data: Buffer.from([0xaa, 0xbb]) } },
  { name: "fixext 4", hex: "d60500000000", kind: "ext", value: { ext: 5, data: Buffer.alloc(4) } },
  { name: "fixext 8", hex: `d700${"00".repeat(8)}`, kind: "ext", value: { ext: 0, data: Buffer.alloc(8) } },
  { name: "fixext 16", hex: `d8ff${"00".repeat(16)}`, kind: "ext", value: { ext: -1, data: Buffer.alloc(16) } },
  { name: "str 8", hex: "d903616263", kind: "str", value: "abc" },
  { name: "str 16", hex: "da0003616263", kind: "str", value: "abc" },
  { name: "str 32", hex: "db00000003616263", kind: "str", value: "abc" },
  { name: "array 16", hex: "dc000101", kind: "array", value: [1] },
  { name: "array 32", hex: "dd0000000101", kind: "array", value: [1] },
  { name: "map 16", hex: "de0001a16101", kind: "map", value: new MsgpackMap([["a", 1]]) },
  { name: "map 32", hex: "df00000001a16101", kind: "map", value: new MsgpackMap([["a", 1]]) },
] as const;

const isContainer = (kind: string) => kind === "array" || kind === "map";

describe.each(FORMATS)("$name", ({ hex, kind, value }) => {
  const bytes = Buffer.concat([Buffer.of(0xc1), Buffer.from(hex, "hex"), Buffer.of(0xc1)]);
  const end = bytes.length - 1;

  test("kind, length and value", () => {
    expect(kindAt(bytes, 1)).toBe(kind);
    expect(skip(bytes, 1, end)).toBe(end);
    expect(skipNested(bytes, 1, end, 64)).toBe(end);
    expect(decode(bytes, 1, end)).toEqual({ value, next: end });
  });

  test("cut at every byte", () => {
    for (let cut = 1; cut < end; cut++) {
      expect(skip(bytes, 1, cut)).toBe(CUT);
      expect(skipNested(bytes, 1, cut, 64)).toBe(CUT);
      expect(() => decode(bytes, 1, cut)).toThrow(/cut at byte/);
    }
  });

  test("heads of text and containers", () => {
    const c = bytes[1];
    expect(textHead(c) > 0).toBe(kind === "str" || kind === "bin");
    if (textHead(c) > 0) expect(1 + textHead(c) + textLength(bytes, 1)).toBe(end);
    expect(itemHead(c) > 0).toBe(isContainer(kind));
    expect(itemCount(bytes, 1) >= 0).toBe(isContainer(kind));
    expect(readInteger(bytes, 1) !== null).toBe(kind === "uint" || kind === "int");
    expect(readFloat(bytes, 1) !== null).toBe(kind === "float");
  });
});

describe("the byte that begins no value", () => {
  const bytes = Buffer.from("9301c102", "hex");
  test.each([
    { name: "skip", run: () => skip(bytes, 0, 4) },
    { name: "skipNested", run: () => skipNested(bytes, 0, 4, 64) },
    { name: "decode", run: () => decode(bytes, 0, 4) },
    { name: "kindAt", run: () => kindAt(bytes, 2) },
  ])("$name throws bad_msgpack with its place", ({ run }) => {
    expect(run).toThrow(WeirError);
    expect(run).toThrow("at byte 2");
  });
});

describe("depth", () => {
  const nested = (depth: number, empty: boolean): Buffer => {
    const inner = empty ? Buffer.of(0x90) : Buffer.of(0x91, 0x01);
    return Buffer.concat([Buffer.alloc(depth - 1, 0x91), inner]);
  };

  test("is counted the same way by decode and skipNested", () => {
    for (const empty of [true, false]) {
      for (const depth of [1, 2, 63, 64]) {
        const bytes = nested(depth, empty);
        expect(skipNested(bytes, 0, bytes.length, depth)).toBe(bytes.length);
        expect(() => decode(bytes, 0, bytes.length, depth)).not.toThrow();
        expect(skipNested(bytes, 0, bytes.length, depth - 1)).toBe(TOO_DEEP);
        expect(() => decode(bytes, 0, bytes.length, depth - 1)).toThrow("nested too deep");
      }
    }
  });

  test("costs skip nothing", () => {
    const bytes = nested(2_000_000, true);
    expect(skip(bytes, 0, bytes.length)).toBe(bytes.length);
  });

  test("siblings do not add up", () => {
    const bytes = encode([[], [[]], {}, [1, [2], { a: { b: 1 } }], []]);
    expect(skipNested(bytes, 0, bytes.length, 4)).toBe(bytes.length);
    expect(skipNested(bytes, 0, bytes.length, 3)).toBe(TOO_DEEP);
  });
});

test("an announced length is not believed", () => {
  for (const hex of ["dbffffffff", "c6ffffffff", "ddffffffff", "dfffffffff", "c9ffffffff00"]) {
    const bytes = Buffer.from(`${hex}00`, "hex");
    expect(skip(bytes, 0, bytes.length)).toBe(CUT);
    expect(skipNested(bytes, 0, bytes.length, 64)).toBe(CUT);
    expect(() => decode(bytes, 0, bytes.length)).toThrow("cut");
  }
});

test("invalid UTF-8 becomes U+FFFD only in text, never in bytes", () => {
  const bytes = Buffer.from("a4ff616280", "hex");
  expect(skip(bytes, 0, bytes.length)).toBe(bytes.length);
  expect(decode(bytes, 0, bytes.length).value).toBe("\ufffdab\ufffd");
});

describe("MsgpackMap", () => {
  test("the last of equal keys counts", () => {
    const map = new MsgpackMap([
      ["a", 1],
      ["b", 2],
      ["a", 3],
    ]);
    expect([map.get("a"), map.get("b"), map.get("c")]).toEqual([3, 2, undefined]);
  });
});

/** Values that both libraries can write. */
const value: fc.Arbitrary<Encodable> = fc.letrec<{ any: Encodable }>((tie) => ({
  any: fc.oneof(
    { depthSize: "small" },
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.integer(),
    fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n }),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("any"), { maxLength: 20 }),
    fc.dictionary(
      fc.string().filter((key) => key !== "__proto__"),
      tie("any"),
      { noNullPrototype: true },
    ),
  ),
})).any;

/** A value in one form, whichever library it comes from. */
function plain(item: unknown): unknown {
  if (typeof item === "number") return Number.isInteger(item) ? `${BigInt(item)}` : item;
  if (typeof item === "bigint") return `${item}`;
  if (typeof item === "string") return `"${Buffer.from(item).toString()}`;
  if (item instanceof Uint8Array) return `bin ${Buffer.from(item).toString("hex")}`;
  if (item instanceof ExtData) return `ext ${item.type} ${Buffer.from(item.data as Uint8Array).toString("hex")}`;
  if (Array.isArray(item)) return item.map(plain);
  if (item instanceof MsgpackMap) return { map: Object.fromEntries(item.pairs.map(([k, v]) => [String(k), plain(v)])) };
  if (typeof item === "object" && item !== null && "ext" in item && "data" in item) {
    return `ext ${item.ext} ${Buffer.from(item.data as Uint8Array).toString("hex")}`;
  }
  if (typeof item !== "object" || item === null) return item;
  return { map: Object.fromEntries(Object.entries(item).map(([k, v]) => [Buffer.from(k).toString(), plain(v)])) };
}

describe("against another library", () => {
  test("what it writes is read, and skipped to the end", () => {
    fc.assert(
      fc.property(value, (item) => {
        const bytes = Buffer.from(encodeElsewhere(item, { useBigInt64: true }));
        expect(skip(bytes, 0, bytes.length)).toBe(bytes.length);
        expect(skipNested(bytes, 0, bytes.length, 64)).toBe(bytes.length);
        expect(plain(decode(bytes, 0, bytes.length).value)).toEqual(plain(item));
      }),
      { numRuns: 300 },
    );
  });

  test("what is written here it reads the same", () => {
    fc.assert(
      fc.property(value, (item) => {
        const bytes = encode(item);
        expect(plain(decodeElsewhere(bytes, { useBigInt64: true }))).toEqual(plain(item));
        const read: MsgpackValue = decode(bytes, 0, bytes.length).value;
        expect(plain(read)).toEqual(plain(item));
      }),
      { numRuns: 300 },
    );
  });

  test.each([0, 31, 32, 255, 256, 65_535, 65_536])("lengths around the borders of formats: %i", (length) => {
    const codec = new ExtensionCodec();
    const items: Encodable[] = [
      "x".repeat(length),
      Buffer.alloc(length),
      Array.from({ length }, () => 1),
      Object.fromEntries(Array.from({ length }, (_, i) => [`k${i}`, i])),
      new Map(Array.from({ length }, (_, i) => [`k${i}`, i] as const)),
      { ext: 5, data: Buffer.alloc(length) },
    ];
    for (const item of items) {
      const bytes = encode(item);
      const wanted = item instanceof Map ? Object.fromEntries(item) : item;
      // As text, since `toEqual` takes seconds for so many items.
      const got = JSON.stringify(plain(decodeElsewhere(bytes, { extensionCodec: codec })));
      expect(got === JSON.stringify(plain(wanted))).toBe(true);
      expect(skip(bytes, 0, bytes.length)).toBe(bytes.length);
    }
  });

  test.each([
    0,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    4_294_967_295,
    4_294_967_296,
    2 ** 53 - 1,
    -1,
    -32,
    -33,
    -128,
    -129,
    -32_768,
    -32_769,
    -2_147_483_648,
    -2_147_483_649,
  ])("integers around the borders of formats: %i", (n) => {
    const bytes = encode(n);
    expect(Number(decodeElsewhere(bytes, { useBigInt64: true }))).toBe(n);
    expect(Number(readInteger(bytes, 0))).toBe(n);
  });

  test.each([1.5, 2 ** 53, -(2 ** 63) - 2048, 1e300, -0, Number.NaN, Number.NEGATIVE_INFINITY])(
    "a number that is no exact integer is a float: %d",
    (n) => {
      const bytes = encode(n);
      expect(decodeElsewhere(bytes)).toBe(n);
      expect(readFloat(bytes, 0)).toBe(n);
    },
  );

  test("an integer of more than 64 bits is refused", () => {
    expect(() => encode(1n << 64n)).toThrow("64 bits");
    expect(() => encode(-(1n << 63n) - 1n)).toThrow("64 bits");
  });
});

describe("random bytes", () => {
  const random = new Random();

  test("skip, skipNested and decode agree on where a value ends, or that it doesn't", () => {
    for (let i = 0; i < 50_000; i++) {
      const bytes = Buffer.from(Array.from({ length: 1 + random.below(40) }, () => random.below(256)));
      const end = (run: () => number): number | string => {
        try {
          const at = run();
          return at === CUT ? "cut" : at;
        } catch (error) {
          if (!(error instanceof WeirError)) throw error;
          return error.message.includes("0xc1") ? "c1" : "cut";
        }
      };
      const skipped = end(() => skip(bytes, 0, bytes.length));
      expect(end(() => skipNested(bytes, 0, bytes.length, 64))).toBe(skipped);
      // decode meets the byte 0xc1 or the end at another moment only where both are there.
      const decoded = end(() => decode(bytes, 0, bytes.length).next);
      if (typeof skipped === "number") expect(decoded).toBe(skipped);
      else expect(typeof decoded).toBe("string");
    }
  });
});

test("captured bytes are walked to their last one", () => {
  for (const { bytes } of CASES.flatMap(({ files }) => files)) {
    let at = 0;
    while (at < bytes.length) {
      const next = skip(bytes, at, bytes.length);
      expect(skipNested(bytes, at, bytes.length, 64)).toBe(next);
      expect(next).toBeGreaterThan(at);
      at = next;
    }
    expect(at).toBe(bytes.length);
  }
});
