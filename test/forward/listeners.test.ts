import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encode } from "../../src/codec/msgpack.ts";
import { eventually, Peer, startReceiver, stopAll } from "./harness.ts";

const CERTIFICATES = path.resolve(import.meta.dirname, "../fixtures/tls");
const file = (name: string): string => path.join(CERTIFICATES, name);
const pem = (name: string): Buffer => readFileSync(file(name));
const SERVER = { cert_file: file("server.pem"), key_file: file("server.key") };
const TLS = { listen: ["tls://127.0.0.1:0"], tls: SERVER };
const EVENT = encode(["t", [[1, { log: "x" }]], { chunk: "c" }]);
const ACK = encode({ ack: "c" });

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "weir-forward-"));
});
afterEach(async () => {
  await stopAll();
  rmSync(folder, { recursive: true, force: true });
});

describe("TLS", () => {
  test("with a certificate of one's own", async () => {
    const { port, recorder, server } = await startReceiver(TLS);
    expect(server.addresses).toEqual([`tls://127.0.0.1:${port}`]);
    const peer = await Peer.connectTls(port, { ca: pem("ca.pem") });
    peer.write(EVENT);
    expect((await peer.read(1)).equals(ACK)).toBe(true);
    expect(recorder.stored.length).toBe(1);
  });

  test("HELO comes in one read, and a large message in many", async () => {
    const { port } = await startReceiver({ ...TLS, shared_key: "" });
    const peer = await Peer.connectTls(port, { ca: pem("ca.pem") });
    await peer.read(1);
    expect(peer.reads.length).toBe(1);
    const { port: open, recorder } = await startReceiver(TLS);
    const other = await Peer.connectTls(open, { ca: pem("ca.pem") });
    other.write(encode(["t", [[1, { log: "x".repeat(3_000_000) }]], { chunk: "c" }]));
    await other.read(1);
    expect(recorder.stored[0].payload.length).toBeGreaterThan(3_000_000);
  });

  test("an agent that has closed its side still gets its ack", async () => {
    const { port, recorder } = await startReceiver(TLS);
    recorder.hold();
    const peer = await Peer.connectTls(port, { ca: pem("ca.pem"), allowHalfOpen: true } as object);
    peer.socket.end(EVENT);
    await eventually("it is on its way", () => recorder.pending.length === 1);
    recorder.release();
    expect((await peer.read(1)).equals(ACK)).toBe(true);
  });

  test("an agent that does not trust the certificate sends nothing", async () => {
    const { port, recorder } = await startReceiver(TLS);
    await expect(Peer.connectTls(port, { ca: pem("stranger.pem") })).rejects.toThrow();
    expect(recorder.calls).toBe(0);
  });

  test("client certificates are demanded where a CA is set", async () => {
    const { port, recorder, lines, metric } = await startReceiver({
      listen: ["tls://127.0.0.1:0"],
      tls: { ...SERVER, client_ca_file: file("ca.pem") },
    });
    const ca = pem("ca.pem");
    const friend = await Peer.connectTls(port, { ca, cert: pem("client.pem"), key: pem("client.key") });
    friend.write(EVENT);
    await friend.read(1);
    for (const own of [{}, { cert: pem("stranger.pem"), key: pem("stranger.key") }]) {
      // With TLS 1.3 the client learns of the refusal only after its own side of the handshake.
      const peer = await Peer.connectTls(port, { ca, ...own }).catch(() => null);
      peer?.write(EVENT);
      await peer?.closed();
    }
    expect(recorder.stored.length).toBe(1);
    await eventually("both refusals are logged", () => lines.warnings.length === 2);
    for (const { fields } of lines.warnings) expect(fields.peer).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(await metric('weir_forward_rejected_total{reason="tls"}')).toBe(2);
  });

  test("plain bytes on a TLS listener end that connection with one line", async () => {
    const { port, lines } = await startReceiver(TLS);
    const peer = await Peer.connect(port);
    peer.write(EVENT);
    await peer.closed();
    await eventually("it is logged", () => lines.warnings.length === 1);
    expect(lines.warnings[0].fields.peer).toMatch(/^127\.0\.0\.1:\d+$/);
  });

  test("a connection that leaves before its handshake is nothing to report", async () => {
    const { port, lines, recorder } = await startReceiver(TLS);
    const peer = await Peer.connect(port);
    peer.socket.end();
    await peer.closed();
    const next = await Peer.connectTls(port, { ca: pem("ca.pem") });
    next.write(EVENT);
    await next.read(1);
    expect(recorder.stored.length).toBe(1);
    expect(lines.warnings).toEqual([]);
  });

  test("a handshake that never comes ends the connection, and its place is free", async () => {
    const { port, lines } = await startReceiver({
      ...TLS,
      limits: { message_timeout_ms: 3000, connections_max: 1 },
    });
    const peer = await Peer.connect(port);
    await peer.closed();
    expect(lines.warnings.map(({ text }) => text)).toEqual([expect.stringContaining("TLS handshake timeout")]);
    const next = await Peer.connectTls(port, { ca: pem("ca.pem") });
    next.write(EVENT);
    expect((await next.read(1)).equals(ACK)).toBe(true);
  });

  test("sockets in their handshake count, and do not hold up the close", async () => {
    const { port, server, metric } = await startReceiver({ ...TLS, limits: { connections_max: 2 } });
    const silent = [await Peer.connect(port), await Peer.connect(port)];
    const third = await Peer.connect(port);
    await third.closed();
    expect(await metric("weir_forward_connections_refused_total")).toBe(1);
    const start = performance.now();
    await server.close();
    expect(performance.now() - start).toBeLessThan(30_000); // What waits for a handshake is given up after a minute.
    await Promise.all(silent.map((peer) => peer.closed()));
  });

  test.each([
    {
      name: "a certificate that is not there",
      tls: { ...SERVER, cert_file: "/nowhere/x.pem" },
      says: "/nowhere/x.pem",
    },
    { name: "a key of another certificate", tls: { ...SERVER, key_file: file("client.key") }, says: "key" },
    { name: "a file that is no certificate", tls: { ...SERVER, cert_file: file("make.sh") }, says: "make.sh" },
    {
      name: "a client CA that is not there",
      tls: { ...SERVER, client_ca_file: "/nowhere/ca.pem" },
      says: "/nowhere/ca.pem",
    },
  ])("$name is one clear sentence at start", async ({ tls, says }) => {
    const failed = await startReceiver({ ...TLS, tls }).catch((error: unknown) => error);
    expect(failed).toMatchObject({ name: "WeirError", code: "bad_certificate" });
    expect(String(failed)).toContain(says);
    expect(String(failed)).not.toContain("\n");
  });
});

describe("Unix sockets", () => {
  test("carry messages, with the permissions that are set, and go with the receiver", async () => {
    const socket = path.join(folder, "weir.sock");
    const { server, recorder, lines } = await startReceiver({ listen: [`unix://${socket}`] });
    expect(server.addresses).toEqual([`unix://${socket}`]);
    expect(statSync(socket).mode & 0o777).toBe(0o660);
    const peer = await Peer.connect({ path: socket });
    peer.write(EVENT);
    expect((await peer.read(1)).equals(ACK)).toBe(true);
    expect(recorder.stored.length).toBe(1);
    peer.write(Buffer.from("nonsense"));
    await peer.closed();
    expect(lines.warnings[0].fields.peer).toBe(socket);
    await server.close();
    expect(() => statSync(socket)).toThrow("ENOENT");
  });

  test("beside TCP and TLS, and with other permissions", async () => {
    const socket = path.join(folder, "weir.sock");
    const listen = ["tcp://127.0.0.1:0", `unix://${socket}`, "tls://127.0.0.1:0"];
    const { server, recorder } = await startReceiver({ listen, tls: SERVER, unix_permissions: "600" });
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    const [tcp, , secure] = server.addresses.map((address) => Number(address.split(":").at(-1)));
    const peers = [
      await Peer.connect(tcp),
      await Peer.connect({ path: socket }),
      await Peer.connectTls(secure, { ca: pem("ca.pem") }),
    ];
    for (const [i, peer] of peers.entries()) {
      peer.write(encode(["t", [[1, { log: "x" }]], { chunk: `${i}` }]));
      await peer.read(1);
    }
    expect(recorder.stored.length).toBe(3);
  });

  test("one that a killed process left behind is replaced", async () => {
    const socket = path.join(folder, "weir.sock");
    const left = net.createServer();
    await new Promise<void>((resolve) => left.listen(socket, resolve));
    // Renamed away and back, so that closing the server does not remove it.
    const aside = path.join(folder, "aside.sock");
    const { linkSync } = await import("node:fs");
    linkSync(socket, aside);
    await new Promise<void>((resolve) => left.close(() => resolve()));
    linkSync(aside, socket);
    const { recorder } = await startReceiver({ listen: [`unix://${socket}`] });
    const peer = await Peer.connect({ path: socket });
    peer.write(EVENT);
    await eventually("it is stored", () => recorder.stored.length === 1);
  });

  test("one that somebody listens on stays, and is a clear error", async () => {
    const socket = path.join(folder, "weir.sock");
    const first = await startReceiver({ listen: [`unix://${socket}`] });
    const failed = await startReceiver({ listen: [`unix://${socket}`] }).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "listen_failed" });
    expect(String(failed)).toContain("in use");
    const peer = await Peer.connect({ path: socket });
    peer.write(EVENT);
    await eventually("the first still listens", () => first.recorder.stored.length === 1);
  });

  test.each([
    { name: "a folder that is not there", where: "none/weir.sock" },
    { name: "a file that is no socket", where: "file" },
  ])("$name is a clear error", async ({ where }) => {
    writeFileSync(path.join(folder, "file"), "precious");
    const target = path.join(folder, where);
    const failed = await startReceiver({ listen: [`unix://${target}`] }).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: "listen_failed" });
    expect(String(failed)).toContain(target);
    expect(readFileSync(path.join(folder, "file"), "utf8")).toBe("precious");
  });
});
