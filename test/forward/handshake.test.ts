import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { decode, encode } from "../../src/codec/msgpack.ts";
import { WeirError } from "../../src/core/errors.ts";
import { ping, readHelo, readPong, ServerHandshake, sameBytes } from "../../src/forward/handshake.ts";
import { Random } from "../random.ts";
import { CASES, caseNamed } from "./cases.ts";
import { eventsOf } from "./events.ts";
import { eventually, Peer, startReceiver, stopAll } from "./harness.ts";

afterEach(stopAll);

const KEY = "correct horse battery staple";
const USERS = [
  { name: "other", password: "x" },
  { name: "fluent", password: "s3cret" },
];

const HANDSHAKES = CASES.filter(({ exchange }) => exchange.some(({ note }) => note === "HELO")).filter(
  // There the client never answers a HELO that it only got half of.
  ({ name }) => name !== "shared-key-helo-split",
);

/** A server that says the same HELO as the captured one, so the captured PING fits. */
function serverLike(helo: Buffer, name: string): ServerHandshake {
  const { nonce, auth } = readHelo(helo);
  const given = [nonce, auth];
  const settings = {
    sharedKey: name.startsWith("empty") ? "" : KEY,
    users: auth.length > 0 ? USERS : [],
    hostname: "collector.example",
  };
  return new ServerHandshake(settings, () => given.shift() ?? Buffer.alloc(16));
}

/** What a HELO says, whichever of str and bin it uses. */
function heloMeaning(helo: Buffer): unknown {
  const { nonce, auth } = readHelo(helo);
  return [nonce.toString("hex"), auth.toString("hex")];
}

describe("captured handshakes", () => {
  test.each(HANDSHAKES)("$name: the same answers as the captured server's", ({ name, exchange }) => {
    const connections = new Set(exchange.map(({ conn }) => conn));
    for (const conn of connections) {
      const turns = exchange.filter((turn) => turn.conn === conn);
      const helo = turns.find(({ note }) => note === "HELO")?.bytes ?? Buffer.alloc(0);
      const pings = turns.filter(({ dir }) => dir === "client");
      const pong = turns.find(({ note }) => note.startsWith("PONG"));
      const server = serverLike(helo, name);
      expect(heloMeaning(server.helo())).toEqual(heloMeaning(helo));
      const { ok, reply } = server.answer(pings[0].bytes);
      if (name === "between-two-agents-bad-key") {
        // That server hangs up without a word; the protocol has one for it.
        expect(decode(reply, 0, reply.length).value).toEqual(["PONG", false, "shared_key mismatch", "", ""]);
      } else {
        expect(reply.equals(pong?.bytes ?? Buffer.alloc(0))).toBe(true);
      }
      expect(ok).toBe(pong?.note === "PONG ok");
    }
  });

  test("HELO is the captured one to the byte", () => {
    const { exchange } = caseNamed("shared-key-user");
    const { bytes } = exchange.find(({ note }) => note === "HELO") ?? { bytes: Buffer.alloc(0) };
    expect(serverLike(bytes, "shared-key-user").helo().equals(bytes)).toBe(true);
  });
});

describe("PING", () => {
  const NONCE = Buffer.from("0123456789abcdef");
  const AUTH = Buffer.from("salt-for-users!!");
  const server = (users: typeof USERS = []): ServerHandshake => {
    const given = [NONCE, AUTH];
    return new ServerHandshake({ sharedKey: KEY, users, hostname: "weir" }, () => given.shift() ?? Buffer.alloc(0));
  };
  const sha = (...parts: (string | Buffer)[]): string => {
    const hash = createHash("sha512");
    for (const part of parts) hash.update(part);
    return hash.digest("hex");
  };
  const SALT = Buffer.from("ff00fe01fd02fc03fb04fa05f906f807", "hex");
  const keyDigest = sha(SALT, "agent", NONCE, KEY);

  test.each([
    { name: "the key alone", users: [], parts: ["", ""], ok: true },
    { name: "a user whom nobody asked for", users: [], parts: ["who", "ever"], ok: true },
    { name: "the right user", users: USERS, parts: ["fluent", sha(AUTH, "fluent", "s3cret")], ok: true },
    { name: "the first user", users: USERS, parts: ["other", sha(AUTH, "other", "x")], ok: true },
    { name: "no user where one is wanted", users: USERS, parts: ["", ""], ok: false },
    { name: "a wrong password", users: USERS, parts: ["fluent", sha(AUTH, "fluent", "wrong")], ok: false },
    { name: "another's password", users: USERS, parts: ["fluent", sha(AUTH, "fluent", "x")], ok: false },
    { name: "another's digest", users: USERS, parts: ["fluent", sha(AUTH, "other", "x")], ok: false },
    { name: "an unknown user", users: USERS, parts: ["nobody", sha(AUTH, "nobody", "")], ok: false },
    {
      name: "a digest in upper case",
      users: USERS,
      parts: ["fluent", sha(AUTH, "fluent", "s3cret").toUpperCase()],
      ok: false,
    },
    {
      name: "a digest cut short",
      users: USERS,
      parts: ["fluent", sha(AUTH, "fluent", "s3cret").slice(0, 127)],
      ok: false,
    },
  ])("$name: let in is $ok", ({ users, parts, ok }) => {
    const result = server(users).answer(encode(["PING", "agent", SALT, keyDigest, ...parts]));
    expect(result).toMatchObject({ ok, clientHostname: "agent", reason: ok ? "" : "username/password mismatch" });
    const { value } = decode(result.reply, 0, result.reply.length);
    const proof = sha(SALT, "weir", NONCE, KEY);
    expect(value).toEqual(
      ok ? ["PONG", true, "", "weir", proof] : ["PONG", false, "username/password mismatch", "", ""],
    );
  });

  test.each([
    { name: "another key", digest: sha(SALT, "agent", NONCE, "other") },
    { name: "another nonce", digest: sha(SALT, "agent", "0000000000000000", KEY) },
    { name: "another name", digest: sha(SALT, "agent2", NONCE, KEY) },
    { name: "nothing", digest: "" },
    { name: "the empty key", digest: sha(SALT, "agent", NONCE, "") },
  ])("refuses a digest of $name", ({ digest }) => {
    const { ok, reason } = server().answer(encode(["PING", "agent", SALT, digest, "", ""]));
    expect([ok, reason]).toEqual([false, "shared_key mismatch"]);
  });

  test("strings may be str or bin", () => {
    const bin = (text: string): Buffer => Buffer.from(text);
    const message = encode([bin("PING"), bin("agent"), SALT, bin(keyDigest), bin(""), bin("")]);
    expect(server().answer(message).ok).toBe(true);
  });

  test.each([
    { name: "events", message: ["tag", [[1, {}]]] },
    { name: "PONG", message: ["PONG", true, "", "h", "d"] },
    { name: "a PING of five", message: ["PING", "agent", SALT, keyDigest, ""] },
    { name: "a PING with a number", message: ["PING", "agent", 1, keyDigest, "", ""] },
    { name: "another word of six", message: ["PONG", "agent", SALT, keyDigest, "", ""] },
  ])("anything else is refused: $name", ({ message }) => {
    let fault: unknown;
    try {
      server().answer(encode(message as never));
    } catch (error) {
      fault = error;
    }
    expect(fault).toBeInstanceOf(WeirError);
    expect(fault).toMatchObject({ code: "bad_message", context: { reason: "handshake" } });
  });

  test("changed bytes never get in", () => {
    const random = new Random();
    const good = encode(["PING", "agent", SALT, keyDigest, "fluent", sha(AUTH, "fluent", "s3cret")]);
    for (let i = 0; i < 5000; i++) {
      const bytes = Buffer.from(good);
      bytes[random.below(bytes.length)] ^= 1 << random.below(8);
      try {
        expect(server(USERS).answer(bytes).ok).toBe(false);
      } catch (error) {
        if (!(error instanceof WeirError)) throw error;
      }
    }
  });
});

test("nonce and salt are new for each connection", () => {
  const settings = { sharedKey: "", users: USERS, hostname: "weir" };
  const helos = Array.from({ length: 50 }, () => readHelo(new ServerHandshake(settings).helo()));
  expect(new Set(helos.map(({ nonce }) => nonce.toString("hex"))).size).toBe(50);
  expect(new Set(helos.map(({ auth }) => auth.toString("hex"))).size).toBe(50);
  expect(helos[0].nonce.length).toBe(16);
});

test("the client's PING is what the server wants", () => {
  const server = new ServerHandshake({ sharedKey: "k", users: USERS, hostname: "weir" });
  const helo = readHelo(server.helo());
  expect(server.answer(ping(helo, "k", "agent", USERS[1])).ok).toBe(true);
  expect(server.answer(ping(helo, "other", "agent", USERS[1])).ok).toBe(false);
  expect(readPong(server.answer(ping(helo, "k", "agent")).reply)).toEqual({
    ok: false,
    reason: "username/password mismatch",
  });
});

test("sameBytes", () => {
  expect(sameBytes(Buffer.from("abc"), Buffer.from("abc"))).toBe(true);
  expect(sameBytes(Buffer.from("abc"), Buffer.from("abd"))).toBe(false);
  expect(sameBytes(Buffer.from("abc"), Buffer.from("ab"))).toBe(false);
  expect(sameBytes(Buffer.alloc(0), Buffer.alloc(0))).toBe(true);
});

describe("over a socket", () => {
  const OPTIONS = { shared_key: KEY, users: USERS, self_hostname: "collector.example" };
  const event = encode(["t", [[1, { log: "x" }]], { chunk: "c" }]);
  const ack = encode({ ack: "c" });

  test("HELO, PONG and ack come in one write each, and events count from PONG on", async () => {
    const { port, recorder } = await startReceiver(OPTIONS);
    const peer = await Peer.connect(port);
    await peer.read(1);
    expect(peer.reads.length).toBe(1);
    const question = ping(readHelo(peer.reads[0]), KEY, "agent-1.example", USERS[1]);
    for (let i = 0; i < question.length; i++) peer.write(question.subarray(i, i + 1));
    await eventually("PONG", () => peer.reads.length === 2);
    expect(readPong(peer.reads[1])).toEqual({ ok: true, reason: "" });
    peer.write(event);
    await eventually("ack", () => peer.reads.length === 3);
    expect(peer.reads[2].equals(ack)).toBe(true);
    expect(recorder.stored.flatMap(({ payload }) => eventsOf(payload)).length).toBe(1);
  });

  test("PING and events in one piece", async () => {
    const { port } = await startReceiver(OPTIONS);
    const peer = await Peer.connect(port);
    const helo = await peer.read(1);
    peer.write(Buffer.concat([ping(readHelo(helo), KEY, "agent", USERS[1]), event]));
    await eventually("the ack", () => peer.bytes.subarray(-ack.length).equals(ack));
  });

  test.each([
    { name: "a wrong key", key: "wrong", user: USERS[1], says: "shared_key mismatch" },
    {
      name: "a wrong password",
      key: KEY,
      user: { name: "fluent", password: "no" },
      says: "username/password mismatch",
    },
  ])("$name: PONG false, the end, one line, nothing stored", async ({ key, user, says }) => {
    const { port, recorder, lines, metric } = await startReceiver(OPTIONS);
    const peer = await Peer.connect(port);
    const helo = await peer.read(1);
    peer.write(Buffer.concat([ping(readHelo(helo), key, "agent", user), event]));
    await peer.closed();
    expect(readPong(peer.bytes.subarray(helo.length))).toEqual({ ok: false, reason: says });
    expect(recorder.calls).toBe(0);
    expect(lines.warnings.map(({ text }) => text.includes(says))).toEqual([true]);
    expect(JSON.stringify(lines.all)).not.toContain(KEY);
    expect(await metric('weir_forward_rejected_total{reason="handshake"}')).toBe(1);
  });

  test("events without PING are refused, as from the captured client that lost half its HELO", async () => {
    const { port, recorder, lines } = await startReceiver({ shared_key: KEY });
    const peer = await Peer.connect(port);
    const [{ bytes }] = caseNamed("shared-key-helo-split").files;
    await peer.read(1);
    peer.write(bytes);
    await peer.closed();
    expect(recorder.calls).toBe(0);
    expect(lines.warnings.map(({ fields }) => [fields.reason, fields.tag])).toEqual([["handshake", "app.web"]]);
  });

  test("before PING little is kept", async () => {
    const { port, recorder, lines } = await startReceiver({ shared_key: KEY });
    const peer = await Peer.connect(port);
    peer.write(encode(["t", Buffer.alloc(100_000)]));
    await peer.closed();
    expect(recorder.calls).toBe(0);
    expect(lines.warnings.map(({ fields }) => fields.reason)).toEqual(["too_long"]);
  });

  test("the empty key is a key", async () => {
    const { port, recorder } = await startReceiver({ shared_key: "" });
    const peer = await Peer.connect(port);
    const helo = await peer.read(1);
    expect(readHelo(helo).auth.length).toBe(0);
    peer.write(ping(readHelo(helo), "", "agent"), event);
    await eventually("the event is stored", () => recorder.stored.length === 1);
    const other = await Peer.connect(port);
    await other.read(1);
    other.write(event);
    await other.closed();
    await sleep(10);
    expect(recorder.stored.length).toBe(1);
  });

  test("a PING of another connection does not fit", async () => {
    const { port, recorder } = await startReceiver({ shared_key: KEY });
    const [one, two] = [await Peer.connect(port), await Peer.connect(port)];
    await two.read(1);
    two.write(ping(readHelo(await one.read(1)), KEY, "agent"), event);
    await two.closed();
    expect(recorder.calls).toBe(0);
  });
});
