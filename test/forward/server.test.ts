import dgram from "node:dgram";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { readForwardMessage } from "../../src/codec/forward-message.ts";
import { encode } from "../../src/codec/msgpack.ts";
import { WeirError } from "../../src/core/errors.ts";
import { freePort } from "../live/free-port.ts";
import { Random } from "../random.ts";
import { CASES, caseNamed } from "./cases.ts";
import { eventsOf } from "./events.ts";
import { eventually, Peer, type Receiver, startReceiver, stopAll } from "./harness.ts";

afterEach(stopAll);

const random = new Random();

/** A PackedForward message of one event. */
function message(tag: string, text: string, options: Record<string, string | number> = {}): Buffer {
  return encode([tag, encode([1_700_000_000, { log: text }]), options]);
}

function ackOf(chunk: string): Buffer {
  return encode({ ack: chunk });
}

function eventsIn({ recorder }: Receiver): unknown[] {
  return recorder.stored.flatMap(({ payload }) => eventsOf(payload));
}

const WITHOUT_HANDSHAKE = CASES.filter(({ files }) => files.every(({ frames }) => frames[0]?.mode !== "PING"));

describe("captured connections", () => {
  test.each(WITHOUT_HANDSHAKE)("$name: its events are stored", async ({ files, expected }) => {
    const receiver = await startReceiver();
    for (const { bytes } of files) {
      const peer = await Peer.connect(receiver.port);
      for (const piece of bytes.length < 2000 ? random.split(bytes) : [bytes]) peer.write(piece);
      peer.socket.end();
      await peer.closed();
    }
    // What is sent again with the same chunk id is stored once.
    const logs = expected.filter((event) => !Object.hasOwn(event as object, "signal"));
    const unique = [...new Map(logs.map((event) => [JSON.stringify(event), event])).values()];
    expect(eventsIn(receiver)).toEqual(receiver.recorder.stored.some((d) => d.dedupeKey) ? unique : logs);
    const signals = expected.length - logs.length;
    expect(receiver.lines.warnings.length).toBe(signals > 0 ? 1 : 0);
    const { metric } = receiver;
    const dropped =
      (await metric('weir_forward_dropped_messages_total{signal="metrics"}')) +
      (await metric('weir_forward_dropped_messages_total{signal="traces"}'));
    expect(dropped).toBe(signals);
    expect(await metric("weir_forward_events_total")).toBe(eventsIn(receiver).length);
    await eventually("all is free", () => receiver.server.memoryBytes() === 0);
  });

  const withAcks = WITHOUT_HANDSHAKE.filter(({ exchange }) => exchange.some(({ note }) => note === "ack"));
  test.each(withAcks)("$name: its acks are the same", async ({ name, exchange }) => {
    const receiver = await startReceiver();
    const connections = new Set(exchange.map(({ conn }) => conn));
    for (const conn of connections) {
      const peer = await Peer.connect(receiver.port);
      const turns = exchange.filter((turn) => turn.conn === conn && turn.dir !== "event");
      let acks = Buffer.alloc(0);
      for (const { dir, bytes, note } of turns) {
        if (dir === "client") peer.write(bytes);
        // Where the captured server was asked to misbehave, ours must not follow.
        else if (note === "ack" && name !== "require-ack-split") acks = Buffer.concat([acks, bytes]);
        if (dir === "server") await peer.read(acks.length);
      }
      peer.socket.end();
      await peer.closed();
      if (["require-ack-lost", "require-ack-silent", "require-ack-wrong", "require-ack-split"].includes(name)) continue;
      expect(peer.bytes.equals(acks)).toBe(true);
    }
    expect(receiver.lines.warnings.length).toBe(name.startsWith("metrics") ? 1 : 0);
  });
});

describe("acks", () => {
  test("come only when the intake has the message, each in one write", async () => {
    const { recorder, port, metric } = await startReceiver();
    const peer = await Peer.connect(port);
    recorder.hold();
    peer.write(message("t", "a", { chunk: "c1" }), message("t", "b", { chunk: "c2" }));
    await eventually("both are on their way", () => recorder.pending.length === 2);
    await sleep(30);
    expect(peer.reads.length).toBe(0);
    recorder.pending.shift()?.resolve({ offset: 0 });
    expect((await peer.read(1)).equals(ackOf("c1"))).toBe(true);
    recorder.release();
    await peer.read(ackOf("c1").length + 1);
    expect(peer.reads.map((bytes) => bytes.toString("hex"))).toEqual(
      [ackOf("c1"), ackOf("c2")].map((b) => b.toString("hex")),
    );
    expect(await metric("weir_forward_acks_total")).toBe(2);
  });

  test("are not sent to those who don't ask", async () => {
    const { recorder, port } = await startReceiver();
    const peer = await Peer.connect(port);
    peer.write(message("t", "a"), message("t", "b", { chunk: "c" }));
    await peer.read(ackOf("c").length);
    expect(peer.bytes.equals(ackOf("c"))).toBe(true);
    expect(recorder.stored.map(({ dedupeKey }) => dedupeKey)).toEqual([undefined, "t\0c"]);
  });

  test("a repeat is acknowledged and not stored again", async () => {
    const { recorder, port, metric } = await startReceiver();
    const peer = await Peer.connect(port);
    peer.write(message("t", "a", { chunk: "c" }));
    await peer.read(ackOf("c").length);
    const again = await Peer.connect(port);
    again.write(message("t", "a", { chunk: "c" }));
    expect((await again.read(ackOf("c").length)).equals(ackOf("c"))).toBe(true);
    expect(recorder.stored.length).toBe(1);
    expect(await metric("weir_forward_repeats_total")).toBe(1);
    expect(await metric("weir_forward_events_total")).toBe(1);
  });

  test("a repeat of what is still on its way waits for it", async () => {
    const { recorder, port } = await startReceiver();
    recorder.hold();
    const [first, second] = [await Peer.connect(port), await Peer.connect(port)];
    first.write(message("t", "a", { chunk: "c" }));
    await eventually("the first is on its way", () => recorder.pending.length === 1);
    first.socket.destroy(); // The agent's patience ended.
    second.write(message("t", "a", { chunk: "c" }));
    await eventually("the second is too", () => recorder.pending.length === 2);
    await sleep(30);
    expect(second.reads.length).toBe(0);
    recorder.release();
    expect((await second.read(1)).equals(ackOf("c"))).toBe(true);
    expect(recorder.stored.length).toBe(1);
  });

  test("equal chunk ids of different tags are different chunks", async () => {
    const { recorder, port } = await startReceiver();
    const peer = await Peer.connect(port);
    peer.write(message("a", "x", { chunk: "c" }), message("b", "y", { chunk: "c" }));
    await peer.read(2 * ackOf("c").length);
    expect(recorder.stored.length).toBe(2);
  });

  test("repeat the very bytes of an id that is no text, and ids are told apart by them", async () => {
    const { recorder, port } = await startReceiver();
    const peer = await Peer.connect(port);
    const ids = [Buffer.from("a3ff0180", "hex"), Buffer.from("a3fe0181", "hex"), Buffer.from("d903ff0180", "hex")];
    for (const id of ids) {
      const body = encode(["t", encode([1, { log: "x" }])]).subarray(1);
      peer.write(Buffer.concat([Buffer.of(0x93), body, Buffer.from("81a56368756e6b", "hex"), id]));
    }
    const wanted = Buffer.concat(ids.flatMap((id) => [Buffer.from("81a361636b", "hex"), id]));
    expect((await peer.read(wanted.length)).equals(wanted)).toBe(true);
    expect(new Set(recorder.stored.map(({ dedupeKey }) => dedupeKey)).size).toBe(3);
  });

  test("an empty id is acknowledged, and makes no repeat", async () => {
    const { port, recorder } = await startReceiver();
    const peer = await Peer.connect(port);
    for (const log of ["a", "b"]) peer.write(encode(["t", [[1, { log }]], { chunk: "" }]));
    const ack = encode({ ack: "" });
    expect((await peer.read(2 * ack.length)).equals(Buffer.concat([ack, ack]))).toBe(true);
    expect(recorder.stored.map(({ dedupeKey }) => dedupeKey)).toEqual([undefined, undefined]);
  });

  test("reach an agent that has closed its side", async () => {
    const { recorder, port } = await startReceiver();
    recorder.hold();
    const peer = await Peer.connect(port);
    peer.socket.end(message("t", "a", { chunk: "c" }));
    await eventually("it is on its way", () => recorder.pending.length === 1);
    await sleep(30);
    recorder.release();
    expect((await peer.read(1)).equals(ackOf("c"))).toBe(true);
    await peer.closed();
  });

  test("a message without events is acknowledged and not stored", async () => {
    const { recorder, port } = await startReceiver();
    const peer = await Peer.connect(port);
    peer.write(encode(["t", Buffer.alloc(0), { chunk: "a" }]), encode(["t", [], { chunk: "b" }]));
    await peer.read(2 * ackOf("a").length);
    expect(recorder.stored.length).toBe(0);
  });
});

describe("drafts", () => {
  test("have the receiver's name, the tenant, the time, and the message as it came", async () => {
    const { recorder, port } = await startReceiver();
    const peer = await Peer.connect(port);
    const sent = message("t", "a", { chunk: "c" });
    peer.write(sent);
    await peer.read(1);
    const [draft] = recorder.stored;
    expect(draft).toMatchObject({ kind: 1, tenant: "fake", source: "agents", receivedMs: 1_700_000_000_000 });
    expect(draft.payload.equals(sent)).toBe(true);
    expect("inflated" in draft).toBe(false);
  });

  test("of compressed messages have the entries inflated beside them", async () => {
    const { recorder, port } = await startReceiver();
    const [{ bytes }] = caseNamed("compress-gzip").files;
    const peer = await Peer.connect(port);
    peer.write(bytes);
    await eventually("it is stored", () => recorder.stored.length === 1);
    expect(recorder.stored[0].inflated?.length).toBe(26_869);
  });

  test("come in the order of the messages, compressed or not", async () => {
    const { recorder, port } = await startReceiver();
    const [{ bytes: zipped }] = caseNamed("compress-gzip").files;
    const peer = await Peer.connect(port);
    const sent: Buffer[] = [];
    for (let i = 0; i < 50; i++) sent.push(i % 3 === 0 ? zipped : message("t", `${i}`));
    peer.write(Buffer.concat(sent));
    await eventually("all are stored", () => recorder.stored.length === 50);
    for (const [i, { payload }] of recorder.stored.entries()) expect(payload.equals(sent[i])).toBe(true);
  });
});

describe("malformed input", () => {
  const faulty = encode(["bad.tag", [[1, "no record"]], { chunk: "c" }]);
  test.each([
    { name: "a faulty event", bytes: faulty, reason: "shape", tag: "bad.tag", at: 12 },
    {
      name: "bytes that are no message",
      bytes: Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      reason: "not_msgpack",
      tag: "",
      at: 0,
    },
    {
      name: "0xc1 inside",
      bytes: Buffer.from("92a174 9192 01 81a161 c1".replaceAll(" ", ""), "hex"),
      reason: "not_msgpack",
      tag: "t",
      at: 9,
    },
    {
      name: "compressed entries that are none",
      bytes: encode(["t", Buffer.from("x"), { compressed: "gzip" }]),
      reason: "inflate",
      tag: "t",
      at: 0,
    },
    {
      name: "an unknown compression",
      bytes: encode(["t", Buffer.from("x"), { compressed: "lz4" }]),
      reason: "compression",
      tag: "t",
      at: 18,
    },
    {
      name: "a handshake that nobody asked for",
      bytes: encode(["PING", "h", "s", "d", "", ""]),
      reason: "shape",
      tag: "PING",
      at: 0,
    },
  ])("$name: one line, one count, the end of that connection alone", async ({ bytes, reason, tag, at }) => {
    const { recorder, port, lines, metric } = await startReceiver();
    const [bad, good] = [await Peer.connect(port), await Peer.connect(port)];
    const before = message("t", "before", { chunk: "a" });
    bad.write(Buffer.concat([before, bytes, message("t", "behind", { chunk: "b" })]));
    await bad.closed();
    // What came whole before the fault is stored and acknowledged; nothing after it is.
    expect(bad.bytes.equals(ackOf("a"))).toBe(true);
    expect(lines.warnings.length).toBe(1);
    const { text, fields } = lines.warnings[0];
    expect(fields).toMatchObject({ reason, tag, offset: before.length + at, receiver: "agents" });
    expect(String(fields.peer)).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(text).toContain(String(fields.peer));
    expect(text).toContain(`byte ${before.length + at} of the connection`);
    expect(await metric(`weir_forward_rejected_total{reason="${reason}"}`)).toBe(1);
    good.write(message("t", "good", { chunk: "g" }));
    await good.read(1);
    expect(recorder.stored.map(({ payload }) => readForwardMessage(payload).chunk)).toEqual(["a", "g"]);
  });

  test("a whole message before a framing fault is stored, though it takes its time", async () => {
    const { recorder, port, lines } = await startReceiver();
    const [{ bytes }] = caseNamed("compress-gzip-ack").files;
    const peer = await Peer.connect(port);
    peer.write(Buffer.concat([bytes, Buffer.from("nonsense")]));
    await peer.closed();
    expect(recorder.stored.length).toBe(1);
    expect(peer.bytes.length).toBeGreaterThan(0);
    expect(lines.warnings.map(({ fields }) => fields.offset)).toEqual([bytes.length]);
  });

  test("a connection that ends inside a message", async () => {
    const { recorder, port, lines, metric } = await startReceiver();
    const peer = await Peer.connect(port);
    peer.socket.end(message("cut.tag", "text").subarray(0, 20));
    await peer.closed();
    expect(recorder.stored.length).toBe(0);
    expect(lines.warnings.map(({ fields }) => [fields.reason, fields.tag, fields.offset])).toEqual([
      ["cut", "cut.tag", 20],
    ]);
    expect(await metric('weir_forward_rejected_total{reason="cut"}')).toBe(1);
  });

  test("strangers who come again and again are all counted, and fill no disk with lines about them", async () => {
    const { port, lines, metric } = await startReceiver();
    for (let i = 0; i < 60; i++) {
      const peer = await Peer.connect(port);
      peer.write(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
      await peer.closed();
    }
    expect(await metric('weir_forward_rejected_total{reason="not_msgpack"}')).toBe(60);
    // Twenty, and one for each ten seconds that a slow machine may take.
    expect(lines.warnings.length).toBeGreaterThanOrEqual(20);
    expect(lines.warnings.length).toBeLessThan(40);
  });

  test("nil, and connections that say nothing, are no faults", async () => {
    const { recorder, port, lines } = await startReceiver();
    const silent = await Peer.connect(port);
    silent.socket.end();
    await silent.closed();
    const reset = await Peer.connect(port);
    reset.socket.resetAndDestroy();
    const nil = await Peer.connect(port);
    nil.write(Buffer.of(0xc0), message("t", "a"), Buffer.of(0xc0, 0xc0));
    await eventually("the message is stored", () => recorder.stored.length === 1);
    nil.socket.end();
    await nil.closed();
    expect(lines.all).toEqual([]);
  });
});

describe("signals that are no logs", () => {
  test("are acknowledged, counted, and warned of once a connection", async () => {
    const { recorder, port, lines, metric } = await startReceiver();
    for (let i = 0; i < 2; i++) {
      const peer = await Peer.connect(port);
      peer.write(encode(["m", Buffer.from("anything"), { chunk: "a", fluent_signal: 1 }]));
      peer.write(encode(["m", [[1, [{ not: "a record" }]]], { chunk: "b", fluent_signal: 2 }]));
      peer.write(encode(["m", Buffer.from("no gzip"), { chunk: "c", fluent_signal: 1, compressed: "gzip" }]));
      await peer.read(3 * ackOf("a").length);
      expect(peer.bytes.equals(Buffer.concat(["a", "b", "c"].map(ackOf)))).toBe(true);
    }
    expect(recorder.calls).toBe(0);
    expect(lines.warnings.length).toBe(2);
    expect(lines.warnings[0].fields).toMatchObject({ tag: "m", signal: "metrics" });
    expect(await metric('weir_forward_dropped_messages_total{signal="metrics"}')).toBe(4);
    expect(await metric('weir_forward_dropped_messages_total{signal="traces"}')).toBe(2);
  });
});

describe("listeners", () => {
  test("several at once, each with the port it got", async () => {
    const { server, recorder } = await startReceiver({ listen: ["tcp://127.0.0.1:0", "tcp://localhost:0"] });
    expect(server.addresses.length).toBe(2);
    for (const address of server.addresses) {
      const peer = await Peer.connect(Number(/:(\d+)$/.exec(address)?.[1]));
      peer.write(message("t", "a"));
    }
    await eventually("both arrive", () => recorder.stored.length === 2);
  });

  test("a port in use is one clear sentence, and leaves nothing open", async () => {
    const { port } = await startReceiver();
    const other = await freePort();
    const listen = [`tcp://127.0.0.1:${other}`, `tcp://127.0.0.1:${port}`];
    const failed = await startReceiver({ listen }).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(WeirError);
    expect(failed).toMatchObject({ code: "listen_failed" });
    expect(String(failed)).toContain(`tcp://127.0.0.1:${port}`);
    expect(String(failed)).toContain("in use");
    const again = await startReceiver({ listen: [`tcp://127.0.0.1:${other}`] });
    expect(again.port).toBe(other);
  });

  test("an address that this machine does not have", async () => {
    await expect(startReceiver({ listen: ["tcp://192.0.2.1:0"] })).rejects.toMatchObject({ code: "listen_failed" });
  });
});

describe("heartbeats over UDP", () => {
  /** Null when none has come for a while, unless it is known that one will. */
  const ask = async (port: number, { from = 0, isSure = false } = {}): Promise<Buffer | null> => {
    const socket = dgram.createSocket("udp4");
    try {
      socket.bind(from, "127.0.0.2");
      await once(socket, "listening");
      socket.send(Buffer.of(0), port, "127.0.0.1");
      const message = once(socket, "message");
      const answer = await (isSure ? message : Promise.race([message, sleep(300)]));
      return answer === undefined ? null : (answer as [Buffer])[0];
    } finally {
      socket.close();
    }
  };

  test("are answered", async () => {
    const { port, metric } = await startReceiver();
    expect(await ask(port, { isSure: true })).toEqual(Buffer.of(0));
    expect(await metric("weir_forward_heartbeats_total")).toBe(1);
  });

  test("an answer is not answered: two receivers would never stop", async () => {
    const { port } = await startReceiver();
    expect(await ask(port, { from: port })).toBeNull();
  });

  test("a server on another port that answers as well is not answered without end", async () => {
    const { port } = await startReceiver();
    const other = dgram.createSocket("udp4");
    let answers = 0;
    other.on("message", () => {
      answers++;
      other.send(Buffer.of(0), port, "127.0.0.1");
    });
    other.bind(0, "127.0.0.1");
    await once(other, "listening");
    other.send(Buffer.of(0), port, "127.0.0.1");
    await eventually("it answers", () => answers > 0);
    await sleep(300);
    other.close();
    expect(answers).toBeLessThan(10);
  });

  test("can be turned off", async () => {
    const { port } = await startReceiver({ udp_heartbeat: false });
    expect(await ask(port)).toBeNull();
  });
});

describe("pause and resume", () => {
  test("stop reading and go on, with nothing lost and nobody thrown out", async () => {
    const { server, recorder, port } = await startReceiver({
      limits: { message_timeout_ms: 1500, idle_timeout_ms: 1500 },
    });
    const peer = await Peer.connect(port);
    peer.write(message("t", "a").subarray(0, 5));
    await eventually("its beginning is read", () => server.memoryBytes() > 0);
    server.pause();
    peer.write(message("t", "a").subarray(5), message("t", "b", { chunk: "c" }));
    const late = await Peer.connect(port);
    late.write(message("t", "c"));
    await sleep(2500);
    expect(recorder.stored.length).toBe(0);
    server.resume();
    await peer.read(1);
    await eventually("all three arrive", () => recorder.stored.length === 3);
  });
});

describe("close", () => {
  test("waits for what is on its way, acknowledges it, and then hangs up", async () => {
    const { server, recorder, port } = await startReceiver();
    recorder.hold();
    const peer = await Peer.connect(port);
    peer.write(message("t", "a", { chunk: "c" }));
    await eventually("it is on its way", () => recorder.pending.length === 1);
    const closing = server.close();
    peer.write(message("t", "too late", { chunk: "d" }));
    await sleep(50);
    expect(peer.isClosed).toBe(false);
    recorder.release();
    await closing;
    await peer.closed();
    expect(peer.bytes.equals(ackOf("c"))).toBe(true);
    expect(recorder.stored.length).toBe(1);
    await expect(Peer.connect(port)).rejects.toThrow("ECONNREFUSED");
  });

  test("ends in bounded time when the intake never answers", async () => {
    const { server, recorder, port } = await startReceiver();
    recorder.hold();
    const peer = await Peer.connect(port);
    peer.write(message("t", "a", { chunk: "c" }));
    await eventually("it is on its way", () => recorder.pending.length === 1);
    const start = performance.now();
    await server.close();
    expect(performance.now() - start).toBeLessThan(30_000);
    await peer.closed();
    expect(peer.bytes.length).toBe(0);
  });

  test("may be called again", async () => {
    const { server } = await startReceiver();
    await Promise.all([server.close(), server.close()]);
  });
});
