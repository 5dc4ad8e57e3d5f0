import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { encode } from "../../src/codec/msgpack.ts";
import { WeirError } from "../../src/core/errors.ts";
import { Framer } from "../../src/forward/framing.ts";
import { Random } from "../random.ts";
import { array32, CASES, type CaseFile, FIXTURES } from "./cases.ts";

const MAX = 32 << 20;
const FILES = CASES.flatMap((one) => one.files);
const random = new Random();

interface Framed {
  offset: number;
  payload: Buffer;
  thirdAt: number;
}

function frame(pieces: readonly Buffer[], messageBytesMax = MAX): Framed[] {
  const framer = new Framer(messageBytesMax);
  const framed: Framed[] = [];
  for (const piece of pieces) {
    framer.push(piece);
    for (let payload = framer.next(); payload !== null; payload = framer.next()) {
      framed.push({ offset: framer.streamOffset, payload, thirdAt: framer.thirdAt });
    }
  }
  return framed;
}

function expectFrames(framed: readonly Framed[], file: CaseFile): void {
  const got = framed.map(({ offset, payload }) => ({ offset, length: payload.length }));
  expect(got).toEqual(file.frames.map(({ offset, length }) => ({ offset, length })));
  for (const { offset, payload } of framed) {
    // Compared here and not by `expect`: there are millions of bytes.
    if (!payload.equals(file.bytes.subarray(offset, offset + payload.length))) throw new Error(`bytes at ${offset}`);
  }
}

function faultOf(run: () => unknown): WeirError {
  try {
    run();
  } catch (error) {
    if (error instanceof WeirError) return error;
    throw error;
  }
  throw new Error("no fault");
}

describe("captured bytes become messages", () => {
  test("every case with expected events is here", () => {
    const names = readdirSync(FIXTURES).filter((name) => name.endsWith(".expected.json"));
    expect(CASES.map(({ name }) => `${name}.expected.json`).sort()).toEqual(names.sort());
    expect(CASES.length).toBe(74);
  });

  test.each(FILES)("$name: whole, byte by byte, and in 500 random splits", (file) => {
    expectFrames(frame([file.bytes]), file);
    expectFrames(frame(Array.from(file.bytes, (_, i) => file.bytes.subarray(i, i + 1))), file);
    for (let i = 0; i < 500; i++) expectFrames(frame(random.split(file.bytes)), file);
  });

  test("81,915 entries in one message: whole, byte by byte, and in random splits", () => {
    const file = array32();
    expectFrames(frame([file.bytes]), file);
    expectFrames(frame(Array.from({ length: file.bytes.length }, (_, i) => file.bytes.subarray(i, i + 1))), file);
    for (let i = 0; i < 20; i++) expectFrames(frame(random.split(file.bytes)), file);
  });

  test.each(FILES)("$name: cut at any byte, nothing but the messages before it comes out", (file) => {
    const step = Math.max(1, Math.floor(file.bytes.length / 2000));
    for (let cut = 0; cut < file.bytes.length; cut += step) {
      const framed = frame([file.bytes.subarray(0, cut)]);
      expect(framed.length).toBe(file.frames.filter(({ offset, length }) => offset + length <= cut).length);
    }
  });

  test("all messages of all cases on one connection", () => {
    const all = Buffer.concat(FILES.map(({ bytes }) => bytes));
    const frames = FILES.flatMap(({ frames, name }) => {
      const base = FILES.slice(
        0,
        FILES.findIndex((file) => file.name === name),
      ).reduce((sum, { bytes }) => sum + bytes.length, 0);
      return frames.map((info) => ({ ...info, offset: info.offset + base }));
    });
    for (let i = 0; i < 20; i++) expectFrames(frame(random.split(all)), { name: "all", bytes: all, frames });
  });
});

describe("the third element", () => {
  test.each([
    { name: "of a message with options", value: ["tag", [[1, { log: "x" }]], { chunk: "c" }] as const, third: true },
    { name: "of a message without", value: ["tag", [[1, { log: "x" }]]] as const, third: false },
  ])("$name", ({ value, third }) => {
    const bytes = encode(value);
    const options = third ? encode(value[2] ?? null).length : 0;
    for (const pieces of [[bytes], Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))]) {
      expect(frame(pieces)[0].thirdAt).toBe(bytes.length - options);
    }
  });
});

describe("nil between messages", () => {
  test("is a heartbeat, and skipped", () => {
    const message = encode(["tag", [[1, {}]]]);
    const nil = Buffer.of(0xc0);
    const framed = frame([Buffer.concat([nil, nil, message, nil]), Buffer.concat([nil, message])]);
    expect(framed.map(({ offset }) => offset)).toEqual([2, 2 + message.length + 2]);
  });
});

describe("what can't become a message", () => {
  test.each([
    { name: "a map", bytes: "80", reason: "not_msgpack" },
    { name: "a number", bytes: "01", reason: "not_msgpack" },
    { name: "a map32", bytes: "df00000002", reason: "not_msgpack" },
    { name: "an empty array", bytes: "90", reason: "shape" },
    { name: "an array of one", bytes: "91a0", reason: "shape" },
    { name: "an array of seven", bytes: "97", reason: "shape" },
    { name: "an array16 of 1000", bytes: "dc03e8", reason: "shape" },
    { name: "byte c1 as tag", bytes: "92c1", reason: "not_msgpack" },
    { name: "byte c1 in a record", bytes: "92a1749192 0181c1".replace(" ", ""), reason: "not_msgpack" },
    { name: "an announced bin of 4 GB", bytes: "92a174c6ffffffff", reason: "too_long" },
    { name: "an announced array of 4 billion", bytes: "92a174ddffffffff", reason: "too_long" },
    { name: "announced arrays inside each other", bytes: "92a174dd01000000dd01000000dd01000000", reason: "too_long" },
  ])("$name", ({ bytes, reason }) => {
    const whole = Buffer.from(bytes, "hex");
    expect(faultOf(() => frame([whole])).context.reason).toBe(reason);
    const single = Array.from(whole, (_, i) => whole.subarray(i, i + 1));
    expect(faultOf(() => frame(single)).context.reason).toBe(reason);
  });

  test.each([
    { name: "TLS on a plain listener", bytes: Buffer.from("1603010200", "hex"), says: "TLS?" },
    { name: "HTTP", bytes: Buffer.from("GET / HTTP/1.1\r\n"), says: "HTTP?" },
    { name: "JSON", bytes: Buffer.from('["tag", 1, {}]'), says: "JSON?" },
  ])("says what it probably is: $name", ({ bytes, says }) => {
    expect(faultOf(() => frame([bytes])).message).toContain(says);
  });

  test("the longest message passes, one byte more does not", () => {
    const message = encode(["tag", Buffer.alloc(5000)]);
    for (let i = 0; i < 50; i++) {
      expect(frame(random.split(message), message.length).length).toBe(1);
      const fault = faultOf(() => frame(random.split(message), message.length - 1));
      expect(fault.context.reason).toBe("too_long");
    }
  });
});

describe("memory", () => {
  test("an announced length costs nothing before the bytes come", () => {
    const framer = new Framer(MAX);
    framer.push(Buffer.concat([Buffer.from("92a174c601e00000", "hex"), Buffer.alloc(1000)]));
    expect(framer.next()).toBeNull();
    expect(framer.heldBytes).toBeLessThan(8192);
  });

  test("an unfinished message holds at most about twice its bytes", () => {
    const framer = new Framer(MAX);
    const message = encode(["tag", Buffer.alloc(3 << 20)]);
    for (let at = 0; at < message.length - 1; at += 60_000) {
      framer.push(message.subarray(at, Math.min(at + 60_000, message.length - 1)));
      expect(framer.next()).toBeNull();
      expect(framer.heldBytes).toBeLessThan(2.1 * (at + 60_000) + 8192);
    }
  });

  test("a message put together from pieces owns about its own size", () => {
    const message = encode(["tag", Array.from({ length: 20_000 }, () => [1, { log: "line" }])]);
    for (const size of [1000, 65_536]) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < message.length; at += size) pieces.push(Buffer.from(message.subarray(at, at + size)));
      const [{ payload }] = frame(pieces);
      expect(payload.buffer.byteLength).toBeLessThan(message.length * 1.2);
    }
  });

  test("a small message does not keep alive a piece that was mostly another's", () => {
    const big = encode(["tag", Buffer.alloc(100_000)]);
    const small = encode(["tag", [[1, { log: "x" }]]]);
    const bytes = Buffer.concat([big, small]);
    const framed = frame([Buffer.from(bytes.subarray(0, 40_000)), Buffer.from(bytes.subarray(40_000))]);
    expect(framed[1].payload.equals(small)).toBe(true);
    expect(framed[1].payload.buffer.byteLength).toBe(small.length);
  });
});

test("the tag of an unfinished message can be told", () => {
  const message = encode(["kube.app", Buffer.alloc(1000)]);
  const framer = new Framer(MAX);
  framer.push(message.subarray(0, 500));
  expect(framer.next()).toBeNull();
  expect(framer.partialTag()).toBe("kube.app");
});
