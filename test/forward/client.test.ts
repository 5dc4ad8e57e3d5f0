import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { encode } from "../../src/codec/msgpack.ts";
import { ForwardClient, type ForwardClientOptions, type ForwardEvent } from "../../src/forward/client.ts";
import { parseListenUrl } from "../../src/forward/listen-url.ts";
import { eventsOf } from "./events.ts";
import { eventually, type Receiver, startReceiver, stopAll } from "./harness.ts";

const clients: ForwardClient[] = [];
const servers: net.Server[] = [];
afterEach(async () => {
  await stopAll();
  for (const server of servers.splice(0)) server.close();
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

async function connect(url: string, options: Partial<ForwardClientOptions> = {}): Promise<ForwardClient> {
  const to = parseListenUrl(url);
  if (typeof to === "string") throw new Error(to);
  const client = await ForwardClient.connect({ ...options, to });
  clients.push(client);
  return client;
}

/** A server that answers what it is told to. */
async function serverThat(onConnection: (socket: net.Socket) => void): Promise<string> {
  const server = net.createServer(onConnection);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `tcp://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

const event = (n: number): ForwardEvent => ({ sec: 1_700_000_000 + n, nsec: n, record: { log: `line ${n}`, n } });
const events = ({ recorder }: Receiver): unknown[] => recorder.stored.flatMap(({ payload }) => eventsOf(payload));

describe("sends", () => {
  test("events, and resolves when they are acknowledged", async () => {
    const receiver = await startReceiver();
    const client = await connect(receiver.server.addresses[0]);
    receiver.recorder.hold();
    let done = false;
    const sent = client.send("web", [event(1), event(2)]).then(() => {
      done = true;
    });
    await eventually("it is on its way", () => receiver.recorder.pending.length === 1);
    await sleep(20);
    expect(done).toBe(false);
    receiver.recorder.release();
    await sent;
    expect(events(receiver)).toEqual([
      { tag: "web", time_ns: "1700000001000000001", metadata: {}, record: { log: "line 1", n: 1 } },
      { tag: "web", time_ns: "1700000002000000002", metadata: {}, record: { log: "line 2", n: 2 } },
    ]);
  });

  test("many chunks at a time, and no more than allowed", async () => {
    const receiver = await startReceiver();
    const client = await connect(receiver.server.addresses[0], { inFlightMax: 3 });
    receiver.recorder.hold();
    const sent = Array.from({ length: 10 }, (_, n) => client.send("web", [event(n)]));
    await eventually("three are on their way", () => receiver.recorder.pending.length === 3);
    await sleep(30);
    expect(receiver.recorder.pending.length).toBe(3);
    receiver.recorder.release();
    await Promise.all(sent);
    expect(events(receiver).length).toBe(10);
  });

  test("the same events under the same id, so they are stored once", async () => {
    const receiver = await startReceiver();
    const client = await connect(receiver.server.addresses[0]);
    await client.send("web", [event(1)]);
    await client.send("web", [event(1)]);
    await client.send("web", [event(1)], { chunk: "another" });
    expect(events(receiver).length).toBe(2);
  });

  test("without asking for an ack", async () => {
    const receiver = await startReceiver();
    receiver.recorder.hold();
    const client = await connect(receiver.server.addresses[0]);
    await client.send("web", [event(1)], { chunk: null });
    await client.close();
    receiver.recorder.release();
    await eventually("it is stored", () => events(receiver).length === 1);
    expect(receiver.recorder.stored[0].dedupeKey).toBeUndefined();
  });

  test("entries that are MessagePack already", async () => {
    const receiver = await startReceiver();
    const client = await connect(receiver.server.addresses[0]);
    const entries = Buffer.concat([encode([1, { log: "a" }]), encode([2, { log: "b" }])]);
    await client.sendPacked("web", entries, { chunk: "c", size: 2 });
    expect(events(receiver).length).toBe(2);
  });

  test("over TLS, through a Unix socket, and with key and user", async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "weir-client-"));
    const certificates = path.resolve(import.meta.dirname, "../fixtures/tls");
    const receiver = await startReceiver({
      listen: ["tls://127.0.0.1:0", `unix://${folder}/weir.sock`],
      tls: { cert_file: `${certificates}/server.pem`, key_file: `${certificates}/server.key` },
      shared_key: "k",
      users: [{ name: "u", password: "p" }],
    });
    const handshake = { sharedKey: "k", user: { name: "u", password: "p" } };
    const ca = readFileSync(`${certificates}/ca.pem`);
    const secure = await connect(receiver.server.addresses[0], { ...handshake, tls: { ca } });
    await secure.send("web", [event(1)]);
    const local = await connect(receiver.server.addresses[1], handshake);
    await local.send("web", [event(2)]);
    expect(events(receiver).length).toBe(2);
    rmSync(folder, { recursive: true });
  });
});

describe("fails", () => {
  test("with a retriable error when nobody listens", async () => {
    const { server } = await startReceiver();
    const [address] = server.addresses;
    await server.close();
    await expect(connect(address)).rejects.toMatchObject({ code: "forward_lost", retriable: true });
  });

  test.each([
    { name: "a wrong key", options: { sharedKey: "wrong" }, says: "shared_key mismatch" },
    { name: "a missing user", options: { sharedKey: "k" }, says: "username/password mismatch" },
  ])("for good with $name", async ({ options, says }) => {
    const { server } = await startReceiver({ shared_key: "k", users: [{ name: "u", password: "p" }] });
    const failed = await connect(server.addresses[0], options).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "forward_refused", retriable: false });
    expect(String(failed)).toContain(says);
  });

  test("for good when the server wants a key and there is none", async () => {
    const { server } = await startReceiver({ shared_key: "k" });
    const client = await connect(server.addresses[0]);
    await expect(client.send("web", [event(1)])).rejects.toMatchObject({ code: "forward_refused" });
  });

  test("all chunks on their way when the connection goes, and those that wait for room", async () => {
    const { server, recorder } = await startReceiver();
    const client = await connect(server.addresses[0], { inFlightMax: 2 });
    recorder.refuse();
    const sent = Promise.allSettled(Array.from({ length: 5 }, (_, n) => client.send("web", [event(n)])));
    await eventually("something was offered", () => recorder.calls > 0);
    await server.close();
    for (const result of await sent) {
      expect(result).toMatchObject({ status: "rejected", reason: { code: "forward_lost", retriable: true } });
    }
    await expect(client.send("web", [event(9)])).rejects.toMatchObject({ code: "forward_lost" });
  });

  test("when no ack comes in time", async () => {
    const { server, recorder } = await startReceiver();
    recorder.hold();
    const client = await connect(server.addresses[0], { ackTimeoutMs: 80 });
    await expect(client.send("web", [event(1)])).rejects.toThrow("no acknowledgement within 80 ms");
  });

  test("when the server is silent in the handshake", async () => {
    const address = await serverThat(() => undefined);
    const start = connect(address, { sharedKey: "k", connectTimeoutMs: 80 });
    await expect(start).rejects.toMatchObject({ code: "forward_lost", retriable: true });
  });

  test("when there is no TLS handshake", async () => {
    const address = await serverThat(() => undefined);
    const start = connect(address.replace("tcp:", "tls:"), { connectTimeoutMs: 80 });
    await expect(start).rejects.toMatchObject({
      code: "forward_lost",
      retriable: true,
      message: expect.stringContaining("no connection within 80 ms"),
    });
  });

  test.each([
    { name: "an ack for what was not sent", answer: encode({ ack: "other" }) },
    { name: "something that is no ack", answer: encode(["hello"]) },
    { name: "something that is no MessagePack", answer: Buffer.of(0xc1) },
    { name: "something without end", answer: Buffer.concat([Buffer.from("dbffffffff", "hex"), Buffer.alloc(100_000)]) },
  ])("when the server sends $name", async ({ answer }) => {
    const address = await serverThat((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", () => socket.write(answer));
    });
    const client = await connect(address);
    await expect(client.send("web", [event(1)])).rejects.toMatchObject({ code: "forward_lost" });
  });

  test("when the same id is on its way already", async () => {
    const { server, recorder } = await startReceiver();
    recorder.hold();
    const client = await connect(server.addresses[0]);
    const first = client.send("web", [event(1)], { chunk: "c" });
    await expect(client.send("web", [event(2)], { chunk: "c" })).rejects.toMatchObject({ code: "forward_repeat" });
    recorder.release();
    await first;
  });
});

test("a server that breaks the connection off while it is closed is no error of closing it", async () => {
  const address = await serverThat((socket) => {
    socket.on("error", () => undefined);
    socket.on("end", () => socket.resetAndDestroy());
    socket.resume();
  });
  const client = await connect(address);
  await client.close();
});

test("acks in pieces and several in one", async () => {
  const sentIds = ["a", "b", "c"];
  const address = await serverThat((socket) => {
    let bytes = 0;
    socket.on("data", (chunk) => {
      bytes += chunk.length;
      if (bytes < 3 * 40) return;
      const answer = Buffer.concat(sentIds.map((ack) => encode({ ack })));
      socket.write(answer.subarray(0, 3));
      setTimeout(() => socket.write(answer.subarray(3)), 20);
    });
  });
  const client = await connect(address);
  await Promise.all(sentIds.map((chunk, n) => client.send("web", [event(n)], { chunk })));
});
