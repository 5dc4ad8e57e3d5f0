import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { type Encodable, encode } from "../../src/codec/msgpack.ts";
import { WeirError } from "../../src/core/errors.ts";
import { eventually, Peer, type Receiver, startReceiver, stopAll } from "./harness.ts";

afterEach(stopAll);

const MIB = 1 << 20;

function message(text: string, options: Record<string, Encodable> = {}): Buffer {
  return encode(["t", encode([1_700_000_000, { log: text }]), options]);
}

/** Expects that the peer was thrown out with one line and one count, and nothing of what it sent was stored. */
async function expectRefused(peer: Peer, receiver: Receiver, reason: string): Promise<void> {
  await peer.closed();
  expect(receiver.lines.warnings.map(({ fields }) => fields.reason)).toEqual([reason]);
  expect(await receiver.metric(`weir_forward_rejected_total{reason="${reason}"}`)).toBe(1);
  expect(receiver.recorder.stored.length).toBe(0);
  await eventually("its memory is free", () => receiver.server.memoryBytes() === 0);
}

describe("what one message may be", () => {
  const nested = (depth: number): Encodable => (depth === 1 ? {} : { a: nested(depth - 1) });
  test.each<{ name: string; limits: object; passes: Encodable; fails: Encodable; reason: string }>([
    {
      name: "bytes",
      limits: { message_bytes_max: 2000 },
      passes: ["t", Buffer.concat([encode([1, { log: "x".repeat(1800) }])]), { chunk: "c" }],
      fails: ["t", Buffer.concat([encode([1, { log: "x".repeat(2000) }])]), { chunk: "c" }],
      reason: "too_long",
    },
    {
      name: "inflated bytes",
      limits: { inflated_bytes_max: 10_000 },
      passes: ["t", gzipSync(encode([1, { log: "x".repeat(9900) }])), { compressed: "gzip", chunk: "c" }],
      fails: ["t", gzipSync(encode([1, { log: "x".repeat(10_000) }])), { compressed: "gzip", chunk: "c" }],
      reason: "inflated_too_long",
    },
    {
      name: "nesting",
      limits: { nesting_max: 5 },
      passes: ["t", [[1, nested(5)]], { chunk: "c" }],
      fails: ["t", [[1, nested(6)]], { chunk: "c" }],
      reason: "too_deep",
    },
    {
      name: "entries of an array",
      limits: { entries_max: 10 },
      passes: ["t", Array.from({ length: 10 }, () => [1, {}]), { chunk: "c" }],
      fails: ["t", Array.from({ length: 11 }, () => [1, {}]), { chunk: "c" }],
      reason: "too_many_entries",
    },
    {
      name: "packed entries",
      limits: { entries_max: 10 },
      passes: ["t", Buffer.concat(Array.from({ length: 10 }, () => encode([1, {}]))), { chunk: "c" }],
      fails: ["t", Buffer.concat(Array.from({ length: 11 }, () => encode([1, {}]))), { chunk: "c" }],
      reason: "too_many_entries",
    },
    {
      name: "compressed entries",
      limits: { entries_max: 10 },
      passes: [
        "t",
        gzipSync(Buffer.concat(Array.from({ length: 10 }, () => encode([1, {}])))),
        { compressed: "gzip", chunk: "c" },
      ],
      fails: [
        "t",
        gzipSync(Buffer.concat(Array.from({ length: 11 }, () => encode([1, {}])))),
        { compressed: "gzip", chunk: "c" },
      ],
      reason: "too_many_entries",
    },
  ])("$name", async ({ limits, passes, fails, reason }) => {
    const receiver = await startReceiver({ limits });
    const peer = await Peer.connect(receiver.port);
    peer.write(encode(passes));
    await peer.read(1);
    receiver.recorder.stored.length = 0;
    peer.write(encode(fails));
    await expectRefused(peer, receiver, reason);
  });

  test("2.3 MB pass by default, and so does one of 30 MB", async () => {
    const { recorder, port } = await startReceiver();
    const peer = await Peer.connect(port);
    peer.write(message("x".repeat(2_300_000), { chunk: "a" }), message("x".repeat(30 * MIB), { chunk: "b" }));
    await peer.read(encode({ ack: "a" }).length * 2);
    expect(recorder.stored.map(({ payload }) => payload.length > 2_300_000)).toEqual([true, true]);
  });

  test("a bomb is refused at the limit's cost", async () => {
    const receiver = await startReceiver({ limits: { inflated_bytes_max: 4 * MIB } });
    const peer = await Peer.connect(receiver.port);
    peer.write(encode(["t", gzipSync(Buffer.alloc(512 * MIB)), { compressed: "gzip" }]));
    await expectRefused(peer, receiver, "inflated_too_long");
  });

  test("very many entries in one message do not hold the others up", async () => {
    const receiver = await startReceiver();
    const [big, small] = [await Peer.connect(receiver.port), await Peer.connect(receiver.port)];
    const entry = encode([1, { log: "x" }]);
    const many = encode(["big", Buffer.alloc(entry.length * 400_000, entry), { chunk: "b" }]);
    big.write(many);
    let others = 0;
    while (big.reads.length === 0) {
      small.write(message("small"));
      const stored = receiver.recorder.stored.length;
      await eventually("the small one is stored", () => receiver.recorder.stored.length > stored);
      others++;
    }
    // Their number is the number of pieces in which the large one is looked at, which no busy machine makes smaller.
    expect(others).toBeGreaterThan(10);
  });
});

describe("time", () => {
  test("a message that never ends", async () => {
    const receiver = await startReceiver({ limits: { message_timeout_ms: 150 } });
    const peer = await Peer.connect(receiver.port);
    const bytes = message("slow", { chunk: "c" });
    let sent = 0;
    const drip = setInterval(() => {
      if (sent < bytes.length - 1) peer.write(bytes.subarray(sent, ++sent));
    }, 10);
    await expectRefused(peer, receiver, "message_timeout");
    clearInterval(drip);
    expect(receiver.lines.warnings[0].fields.tag).toBe("t");
  });

  test("a message that takes its time, and gets there", async () => {
    const receiver = await startReceiver({ limits: { message_timeout_ms: 60_000 } });
    const peer = await Peer.connect(receiver.port);
    const bytes = message("slow");
    for (let i = 0; i < bytes.length; i++) {
      peer.write(bytes.subarray(i, i + 1));
      await sleep(5);
    }
    await eventually("it is stored", () => receiver.recorder.stored.length === 1);
  });

  test("each message has its own time", async () => {
    const receiver = await startReceiver({ limits: { message_timeout_ms: 1500 } });
    const peer = await Peer.connect(receiver.port);
    const bytes = message("x");
    // The connection is inside a message nearly all the time, but never long inside the same.
    peer.write(bytes.subarray(0, 9));
    for (let i = 0; i < 10; i++) {
      await sleep(250);
      peer.write(Buffer.concat([bytes.subarray(9), bytes.subarray(0, 9)]));
    }
    await eventually("ten are stored", () => receiver.recorder.stored.length === 10);
    expect(peer.isClosed).toBe(false);
  });

  test("a handshake that never comes", async () => {
    const receiver = await startReceiver({ shared_key: "k", limits: { message_timeout_ms: 100 } });
    const peer = await Peer.connect(receiver.port);
    await expectRefused(peer, receiver, "handshake_timeout");
  });

  test("a handshake before which nil comes again and again", async () => {
    const receiver = await startReceiver({ shared_key: "k", limits: { message_timeout_ms: 100 } });
    const peer = await Peer.connect(receiver.port);
    const beats = setInterval(() => peer.write(Buffer.of(0xc0)), 10);
    try {
      await expectRefused(peer, receiver, "handshake_timeout");
    } finally {
      clearInterval(beats);
    }
  });

  test("silence, but not while Weir is the one to speak", async () => {
    const receiver = await startReceiver({ limits: { idle_timeout_ms: 1500 } });
    const [idle, waiting] = [await Peer.connect(receiver.port), await Peer.connect(receiver.port)];
    receiver.recorder.hold();
    waiting.write(message("x", { chunk: "c" }));
    await idle.closed();
    expect(receiver.lines.warnings).toEqual([]);
    expect(await receiver.metric('weir_forward_rejected_total{reason="idle"}')).toBe(1);
    await sleep(2000);
    expect(waiting.isClosed).toBe(false);
    receiver.recorder.release();
    await waiting.read(1);
    await waiting.closed();
  });
});

describe("connections", () => {
  test("one more than allowed is closed at once, and room is found again", async () => {
    const { port, recorder, lines, metric } = await startReceiver({ limits: { connections_max: 2 } });
    const [first, second] = [await Peer.connect(port), await Peer.connect(port)];
    first.write(message("a"));
    await eventually("the first is in", () => recorder.stored.length === 1);
    for (let i = 0; i < 3; i++) await (await Peer.connect(port)).closed();
    expect(await metric("weir_forward_connections_refused_total")).toBe(3);
    expect(lines.warnings.length).toBe(1); // Once a minute is enough.
    second.socket.end();
    await second.closed();
    await eventually("there is room", async () => (await metric("weir_forward_connections")) === 1);
    const third = await Peer.connect(port);
    third.write(message("b"));
    await eventually("the third is in", () => recorder.stored.length === 2);
    expect(first.isClosed).toBe(false);
  });
});

describe("memory", () => {
  test("over the limit sockets are not read, and not closed", async () => {
    const receiver = await startReceiver({ limits: { memory_bytes_max: 2 * MIB } });
    receiver.recorder.hold();
    const peers = await Promise.all(Array.from({ length: 20 }, () => Peer.connect(receiver.port)));
    const text = "x".repeat(400_000);
    for (const [i, peer] of peers.entries()) {
      for (let n = 0; n < 4; n++) peer.write(message(text, { chunk: `${i}.${n}` }));
    }
    await eventually("the limit is reached", () => receiver.server.memoryBytes() > 2 * MIB);
    let peak = 0;
    for (let i = 0; i < 40; i++) {
      peak = Math.max(peak, receiver.server.memoryBytes());
      await sleep(10);
    }
    // One message may pass the limit, and each socket has a piece that was on its way when reading stopped.
    expect(peak).toBeLessThan(2 * MIB + 2 * 400_000 + 20 * 3 * 65_536);
    expect(receiver.recorder.calls).toBeLessThan(20);
    expect(peers.some(({ isClosed }) => isClosed)).toBe(false);
    receiver.recorder.release();
    await Promise.all(peers.map((peer) => peer.read(4 * encode({ ack: "0.0" }).length)));
    expect(receiver.recorder.stored.length).toBe(80);
    expect(receiver.lines.warnings).toEqual([]);
    await eventually("all is free", () => receiver.server.memoryBytes() === 0);
  });

  test("unfinished messages that together are too large still come to their end", async () => {
    const receiver = await startReceiver({ limits: { memory_bytes_max: 500_000 } });
    const peers = await Promise.all(Array.from({ length: 12 }, () => Peer.connect(receiver.port)));
    const bytes = message("x".repeat(300_000), { chunk: "c" });
    for (const peer of peers) peer.write(bytes.subarray(0, 150_000));
    await eventually("they fill the memory", () => receiver.server.memoryBytes() > 500_000);
    for (const peer of peers) peer.write(bytes.subarray(150_000));
    await Promise.all(peers.map((peer) => peer.read(1)));
    expect(peers.some(({ isClosed }) => isClosed)).toBe(false);
    await eventually("all is free", () => receiver.server.memoryBytes() === 0);
  });

  test("peers that never end their messages hold the others up for the time of one message, and no longer", async () => {
    const limits = { memory_bytes_max: 500_000, message_timeout_ms: 2000 };
    const receiver = await startReceiver({ limits });
    const good = await Peer.connect(receiver.port);
    const bad = await Promise.all(Array.from({ length: 30 }, () => Peer.connect(receiver.port)));
    for (const peer of bad) peer.write(message("x".repeat(300_000)).subarray(0, 40_000));
    await eventually("they fill the memory", () => receiver.server.memoryBytes() > 500_000);
    const start = performance.now();
    good.write(message("good", { chunk: "g" }));
    await good.read(1);
    expect(performance.now() - start).toBeLessThan(4 * limits.message_timeout_ms);
    expect(good.isClosed).toBe(false);
    const ended = receiver.lines.warnings.map(({ fields }) => fields.reason);
    expect(ended.length).toBeGreaterThan(0);
    expect(new Set(ended)).toEqual(new Set(["message_timeout"]));
    // Those whose memory is not needed keep their time; it ends as well.
    await eventually("all is free", () => receiver.server.memoryBytes() === 0);
    expect(receiver.recorder.stored.length).toBe(1);
  });

  test("unfinished messages are not ended for time in which the intake takes nothing", async () => {
    const receiver = await startReceiver({ limits: { memory_bytes_max: 500_000, message_timeout_ms: 2000 } });
    receiver.recorder.refuse();
    const first = await Peer.connect(receiver.port);
    first.write(message("held", { chunk: "h" }));
    const texts = Array.from({ length: 12 }, (_, i) => message("x".repeat(300_000), { chunk: `c${i}` }));
    const peers = await Promise.all(texts.map(() => Peer.connect(receiver.port)));
    for (const [i, peer] of peers.entries()) peer.write(texts[i].subarray(0, 150_000));
    await sleep(3500);
    expect(peers.some(({ isClosed }) => isClosed)).toBe(false);
    receiver.recorder.accept();
    for (const [i, peer] of peers.entries()) peer.write(texts[i].subarray(150_000));
    await Promise.all([first, ...peers].map((peer) => peer.read(1)));
    expect(receiver.recorder.stored.length).toBe(13);
  });

  test("a connection that goes while it holds memory gives it back", async () => {
    const receiver = await startReceiver();
    const peers = await Promise.all(Array.from({ length: 5 }, () => Peer.connect(receiver.port)));
    for (const peer of peers) peer.write(message("x".repeat(100_000)).subarray(0, 80_000));
    await eventually("it is held", () => receiver.server.memoryBytes() > 5 * 80_000);
    for (const peer of peers) peer.socket.resetAndDestroy();
    await eventually("it is free", () => receiver.server.memoryBytes() === 0);
  });

  test("a peer that does not read its acks is not read, and at last thrown out", async () => {
    const receiver = await startReceiver({ limits: { message_timeout_ms: 400 } });
    const peer = await Peer.connect(receiver.port);
    peer.socket.pause();
    const many = Buffer.concat(
      Array.from({ length: 500 }, (_, i) => encode(["t", [], { chunk: `${i}`.padEnd(4000, "x") }])),
    );
    const flood = setInterval(() => {
      if (peer.socket.writableLength < 4 * MIB) peer.write(many);
    }, 5);
    await eventually("it is thrown out", async () => receiver.lines.warnings.length === 1);
    clearInterval(flood);
    expect(receiver.lines.warnings[0].fields.reason).toBe("acks_unread");
    expect(receiver.server.memoryBytes()).toBeLessThan(16 * MIB);
  });
});

describe("an intake that takes nothing", () => {
  test("no ack, no reading, nobody thrown out; then everything, acks or not", async () => {
    const { recorder, port, lines, metric, server } = await startReceiver({ limits: { message_timeout_ms: 1000 } });
    recorder.refuse();
    const [asking, silent] = [await Peer.connect(port), await Peer.connect(port)];
    asking.write(message("a", { chunk: "c" }));
    silent.write(message("b"));
    await eventually("it was offered", () => recorder.calls > 0);
    await sleep(20);
    const late = await Peer.connect(port);
    late.write(message("late", { chunk: "d" }));
    asking.write(message("more", { chunk: "e" }));
    await sleep(2000);
    expect([asking.reads, late.reads].flat()).toEqual([]);
    expect([asking, silent, late].some(({ isClosed }) => isClosed)).toBe(false);
    expect(lines.warnings.length).toBe(1);
    await eventually("what is held is counted", async () => (await metric("weir_forward_held_messages")) >= 1);
    recorder.accept();
    await asking.read(2 * encode({ ack: "c" }).length);
    await late.read(1);
    await eventually("all are stored", () => recorder.stored.length === 4);
    await eventually("all is free", () => server.memoryBytes() === 0);
  });

  test("that says it takes entries and then doesn't is not asked without pause", async () => {
    const { recorder, port } = await startReceiver();
    recorder.refuse();
    const peer = await Peer.connect(port);
    const began = performance.now();
    const lying = setInterval(() => recorder.accept() ?? recorder.refuse(), 1);
    peer.write(message("a", { chunk: "c" }));
    await sleep(300);
    clearInterval(lying);
    expect(recorder.calls).toBeLessThan(40 * Math.max(1, (performance.now() - began) / 300));
    recorder.accept();
    await peer.read(1);
    expect(recorder.stored.length).toBe(1);
  });

  test("what an agent gave up on is stored all the same", async () => {
    const { recorder, port } = await startReceiver();
    recorder.refuse();
    const peer = await Peer.connect(port);
    peer.write(message("a"));
    await eventually("it was offered", () => recorder.calls === 1);
    peer.socket.destroy();
    await sleep(20);
    recorder.accept();
    await eventually("it is stored", () => recorder.stored.length === 1);
  });

  test("a message that it refuses for good ends that connection alone", async () => {
    const { recorder, port, lines } = await startReceiver();
    recorder.refuse(new WeirError("intake_entry_too_large", "entry of 9 bytes, want at most 8"));
    const [bad, good] = [await Peer.connect(port), await Peer.connect(port)];
    bad.write(message("a", { chunk: "c" }));
    await bad.closed();
    expect(bad.reads).toEqual([]);
    expect(lines.warnings.map(({ fields }) => fields.reason)).toEqual(["intake_entry_too_large"]);
    recorder.accept();
    good.write(message("b", { chunk: "d" }));
    await good.read(1);
  });
});
