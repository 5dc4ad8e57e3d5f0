import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { register } from "../../src/cli/send.ts";
import { EventCursor, readForwardMessage } from "../../src/codec/forward-message.ts";
import { WeirError } from "../../src/core/errors.ts";
import type { EntryDraft } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { forwardOptions } from "../../src/forward/options.ts";
import { type ForwardServer, startForward } from "../../src/forward/server.ts";
import { fakeIo, run } from "./harness.ts";

/** The real receiver, with an intake log in memory that knows repeats. */
class Receiver {
  readonly drafts: EntryDraft[] = [];
  repeats = 0;
  server: ForwardServer | null = null;
  private readonly seen = new Set<string>();

  async start(options: Record<string, unknown> = {}): Promise<string> {
    this.server = await startForward(
      forwardOptions.parse({ listen: ["tcp://127.0.0.1:0"], udp_heartbeat: false, ...options }),
      {
        name: "forward",
        tenant: "fake",
        append: async (draft) => {
          const key = draft.dedupeKey;
          if (key !== undefined && this.seen.has(key)) {
            this.repeats++;
            return { offset: null };
          }
          if (key !== undefined) this.seen.add(key);
          this.drafts.push(draft);
          return { offset: this.drafts.length - 1 };
        },
        whenWritable: async () => undefined,
        metrics: new Metrics(),
        log: silentLogger,
      },
    );
    return this.server.addresses[0] ?? "";
  }

  /** Tag and line, as latin1 so that bytes can be compared. */
  lines(): string[] {
    const lines: string[] = [];
    const cursor = new EventCursor();
    for (const { payload } of this.drafts) {
      cursor.open(payload, readForwardMessage(payload));
      while (cursor.next()) {
        const record = cursor.bytes.subarray(cursor.recordStart, cursor.recordEnd);
        if (record.toString("latin1", 0, 5) !== "\x81\xa3log") throw new Error("want a record of one field, log");
        const head = [0xd9, 0xda, 0xdb].indexOf(record[5] ?? 0);
        lines.push(record.subarray(head === -1 ? 6 : 7 + (head === 0 ? 0 : head === 1 ? 1 : 3)).toString("latin1"));
      }
    }
    return lines;
  }
}

/** Stands between client and server, and can break a connection before its answer is through. */
async function proxy(
  target: string,
  breakAnswers: number,
): Promise<{ address: string; connections: () => number; close: () => void }> {
  const { port, hostname } = new URL(target.replace("tcp:", "http:"));
  let left = breakAnswers;
  let connections = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((client) => {
    connections++;
    const upstream = net.connect(Number(port), hostname);
    sockets.add(client).add(upstream);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on("error", () => to.destroy());
      from.on("end", () => to.end());
    }
    client.on("data", (bytes) => upstream.write(bytes));
    upstream.on("data", (bytes) => {
      if (left > 0) {
        left--;
        client.destroy();
        upstream.destroy();
      } else client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    connections: () => connections,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe("weir send", () => {
  let folder: string;
  const open: (() => unknown)[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-send-"));
  });
  afterAll(() => rm(folder, { recursive: true }));
  afterEach(async () => {
    for (const close of open.splice(0)) await close();
  });

  async function receiver(options?: Record<string, unknown>): Promise<{ to: string; got: Receiver }> {
    const got = new Receiver();
    const to = await got.start(options);
    open.push(() => got.server?.close());
    return { to, got };
  }

  async function file(name: string, bytes: string | Buffer): Promise<string> {
    const path = join(folder, name);
    await writeFile(path, typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
    return path;
  }

  test("sends the lines of files, byte for byte, and says so", async () => {
    const { to, got } = await receiver();
    const a = await file("a.log", "one\r\n\xff\x00bytes\n\nlast");
    const b = await file("b.log.gz", gzipSync("inflated\n"));
    const ran = await run(register, ["send", a, b, "--tag", "web", "--to", to]);
    expect(got.lines()).toEqual(["one\r", "\xff\x00bytes", "", "last", "inflated"]);
    expect(got.drafts.map(({ payload }) => readForwardMessage(payload).tag)).toEqual(["web", "web"]);
    expect(ran.stdout).toMatch(/^5 lines, 23 B sent and acknowledged in \d+\.\d\d s \([\d,]+ lines\/s\)\n$/);
    expect(ran).toMatchObject({ stderr: "", exitCode: 0 });
  });

  test("- is stdin", async () => {
    const { to, got } = await receiver();
    await run(register, ["send", "-", "--tag", "web", "--to", to], fakeIo({ stdin: Buffer.from("a\nb") }));
    expect(got.lines()).toEqual(["a", "b"]);
  });

  test("WEIR_TO says where", async () => {
    const { to, got } = await receiver();
    await run(register, ["send", await file("to.log", "a\n"), "--tag", "web"], fakeIo({ env: { WEIR_TO: to } }));
    expect(got.lines()).toEqual(["a"]);
  });

  test("an empty file is no mistake", async () => {
    const { to, got } = await receiver();
    const ran = await run(register, ["send", await file("empty.log", ""), "--tag", "web", "--to", to]);
    expect(got.drafts).toEqual([]);
    expect(ran.stdout).toMatch(/^0 lines, 0 B sent and acknowledged/);
    expect(ran.exitCode).toBe(0);
  });

  test("--no-ack sends no chunk ids", async () => {
    const { to, got } = await receiver();
    const ran = await run(register, ["send", await file("n.log", "a\nb\n"), "--tag", "web", "--to", to, "--no-ack"]);
    while (got.drafts.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    expect(got.lines()).toEqual(["a", "b"]);
    expect(got.drafts[0]?.dedupeKey).toBeUndefined();
    expect(ran.stdout).toContain("sent without acknowledgement");
  });

  test("acknowledgements that get lost: every line arrives, none twice", async () => {
    const { to, got } = await receiver();
    const relay = await proxy(to, 2);
    open.push(relay.close);
    const lines = Array.from({ length: 60_000 }, (_, i) => `line ${i} ${"x".repeat(60)}`);
    const path = await file("many.log", `${lines.join("\n")}\n`);
    const ran = await run(register, ["send", path, "--tag", "web", "--to", relay.address]);
    expect(ran.exitCode).toBe(0);
    expect(ran.stdout).toContain("60,000 lines");
    expect(relay.connections()).toBe(3);
    expect(got.repeats).toBeGreaterThan(0);
    expect(got.lines().toSorted()).toEqual(lines.toSorted());
    expect(ran.stderr).toContain("connection lost");
  });

  test("two runs of the same file are stored twice: they are two runs", async () => {
    const { to, got } = await receiver();
    const path = await file("twice.log", "a\n");
    await run(register, ["send", path, "--tag", "web", "--to", to]);
    await run(register, ["send", path, "--tag", "web", "--to", to]);
    expect(got.lines()).toEqual(["a", "a"]);
  });

  test.each([
    { name: "by flags", args: ["--shared-key", "k", "--user", "u", "--password", "p"], env: {} },
    { name: "by the environment", args: ["--user", "u"], env: { WEIR_SHARED_KEY: "k", WEIR_PASSWORD: "p" } },
  ])("key and user $name", async ({ args, env }) => {
    const { to, got } = await receiver({ shared_key: "k", users: [{ name: "u", password: "p" }] });
    const path = await file("key.log", "a\n");
    const ran = await run(
      register,
      ["send", path, "--tag", "web", "--to", to, ...args],
      fakeIo({ env: env as Record<string, string> }),
    );
    expect(got.lines()).toEqual(["a"]);
    expect(ran.exitCode).toBe(0);
  });

  test("over TLS, with a certificate of the CA that is named", async () => {
    const tls = { cert_file: "test/fixtures/tls/server.pem", key_file: "test/fixtures/tls/server.key" };
    const { to, got } = await receiver({ listen: ["tls://127.0.0.1:0"], tls });
    const path = await file("tls.log", "a\n");
    const stranger = await run(register, ["send", path, "--tag", "web", "--to", to]);
    expect(stranger.stderr).toMatch(/^weir: forward: tls:.*certificate/);
    expect(stranger.exitCode).toBe(1);
    const ran = await run(register, ["send", path, "--tag", "web", "--to", to, "--ca", "test/fixtures/tls/ca.pem"]);
    expect(ran).toMatchObject({ stderr: "", exitCode: 0 });
    expect(got.lines()).toEqual(["a"]);
  });

  test("a wrong key is one line and exit code 1", async () => {
    const { to, got } = await receiver({ shared_key: "k" });
    const ran = await run(register, [
      "send",
      await file("wrong.log", "a\n"),
      "--tag",
      "web",
      "--to",
      to,
      "--shared-key",
      "x",
    ]);
    expect(ran.stderr).toMatch(/^weir: forward: tcp:\S+ refuses this client: shared_key mismatch\n$/);
    expect(ran).toMatchObject({ stdout: "", exitCode: 1 });
    expect(got.drafts).toEqual([]);
  });

  test("no key where one is wanted", async () => {
    const { to } = await receiver({ shared_key: "k" });
    const ran = await run(register, ["send", await file("none.log", "a\n"), "--tag", "web", "--to", to]);
    expect(ran.exitCode).toBe(1);
    expect(ran.stderr).toMatch(/^weir: forward: tcp:\S+ asks for a shared key; none is given\n$/);
  });

  test("nobody listens", async () => {
    const { to, got } = await receiver();
    await got.server?.close();
    const ran = await run(register, ["send", await file("x.log", "a\n"), "--tag", "web", "--to", to]);
    expect(ran.stderr).toMatch(
      /^weir: forward: tcp:\S+: connect ECONNREFUSED \S+; is weir running there\? \(--to says where\)\n$/,
    );
    expect(ran).toMatchObject({ stdout: "", exitCode: 1 });
  });

  test("--rate keeps to it", async () => {
    const { to, got } = await receiver();
    const path = await file("rate.log", "x\n".repeat(60));
    const start = performance.now();
    await run(register, ["send", path, "--tag", "web", "--to", to, "--rate", "200"]);
    // The first 20 lines go at once, the other 40 take 0.2 s.
    expect(performance.now() - start).toBeGreaterThan(190);
    expect(got.lines()).toHaveLength(60);
  });

  test("on a terminal: a progress bar, taken away at the end", async () => {
    const { to } = await receiver();
    const path = await file("bar.log", `${"x".repeat(99)}\n`.repeat(20_000));
    const { stderr } = await run(register, ["send", path, "--tag", "web", "--to", to], fakeIo({ tty: true }));
    expect(stderr).toMatch(/^\r\u001b\[K\[#*-*\] +\d+% {2}[\d,]+ lines, [\d.]+ k?M?B, [\d,]+ lines\/s/);
    expect(stderr.endsWith("\r\u001b[K")).toBe(true);
  });

  test.each([
    {
      name: "a file that is not there, before anything is sent",
      args: ["good", "none.log"],
      says: /^weir: cannot read none\.log: ENOENT/,
    },
    {
      name: "an address that is none",
      args: ["good", "--to", "http://x"],
      says: /^weir: --to: got "http:\/\/x", want tcp:/,
    },
    { name: "a rate of nothing", args: ["good", "--rate", "0"], says: /^weir: --rate: got 0/ },
    { name: "a user without a password", args: ["good", "--user", "u"], says: /^weir: --user needs --password/ },
    {
      name: "a user without a key",
      args: ["good", "--user", "u", "--password", "p"],
      says: /^weir: --user needs --shared-key/,
    },
    {
      name: "a CA file that is not there",
      args: ["good", "--ca", "ca.pem"],
      says: /^weir: --ca: cannot read ca\.pem: ENOENT/,
    },
  ])("refuses $name", async ({ args, says }) => {
    const { to, got } = await receiver();
    const good = await file("good.log", "a\n");
    const address = args.includes("--to") ? [] : ["--to", to];
    const ran = await run(register, [
      "send",
      ...args.map((arg) => (arg === "good" ? good : arg)),
      "--tag",
      "web",
      ...address,
    ]);
    expect(ran.stderr).toMatch(says);
    expect(ran.exitCode).toBe(1);
    expect(got.drafts).toEqual([]);
  });

  test("the intake log's refusal is waited out", async () => {
    // A retriable refusal keeps the message at the server; the client only waits for its acknowledgement.
    const got = new Receiver();
    let full = true;
    got.server = await startForward(forwardOptions.parse({ listen: ["tcp://127.0.0.1:0"], udp_heartbeat: false }), {
      name: "forward",
      tenant: "fake",
      append: async (draft) => {
        if (full) throw new WeirError("intake_full", "full", { retriable: true });
        got.drafts.push(draft);
        return { offset: 0 };
      },
      whenWritable: async () => {
        await new Promise((resolve) => setTimeout(resolve, 50));
        full = false;
      },
      metrics: new Metrics(),
      log: silentLogger,
    });
    open.push(() => got.server?.close());
    const ran = await run(register, [
      "send",
      await file("full.log", "a\n"),
      "--tag",
      "web",
      "--to",
      got.server.addresses[0] ?? "",
    ]);
    expect(ran.exitCode).toBe(0);
    expect(got.lines()).toEqual(["a"]);
  });
});
