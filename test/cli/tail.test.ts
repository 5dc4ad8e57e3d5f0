import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import type { Entry } from "../../src/cli/entry-output.ts";
import { register as registerQuery } from "../../src/cli/query.ts";
import { register } from "../../src/cli/tail.ts";
import { followTail } from "../../src/cli/tail-client.ts";
import { fakeIo, run, until } from "./harness.ts";

const T = 1_714_554_000_000_000_000n;

function streams(...lines: [ns: bigint, line: string][]): string {
  return JSON.stringify({
    streams: lines.map(([ns, line]) => ({ stream: { app: "a" }, values: [[`${ns}`, line, {}]] })),
    encodingFlags: ["categorize-labels"],
  });
}

describe("tail", () => {
  let http: Server;
  let sockets: WebSocketServer;
  let url: string;
  let asked: URLSearchParams[];
  /** What the server does with the connections it gets, one after the other; the last one repeats. */
  let plays: ((socket: WebSocket) => void)[];
  let refuse: { status: number; body: string } | null;

  beforeEach(async () => {
    asked = [];
    refuse = null;
    http = createServer();
    sockets = new WebSocketServer({ noServer: true });
    http.on("upgrade", (request: IncomingMessage, socket, head) => {
      asked.push(new URL(request.url ?? "", "http://x").searchParams);
      if (refuse !== null) {
        socket.end(`HTTP/1.1 ${refuse.status} No\r\nContent-Length: ${refuse.body.length}\r\n\r\n${refuse.body}`);
        return;
      }
      sockets.handleUpgrade(request, socket, head, (ws) => {
        plays[Math.min(asked.length, plays.length) - 1]?.(ws);
      });
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  });

  afterEach(async () => {
    for (const client of sockets.clients) client.terminate();
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
  });

  test("prints lines as they arrive; Ctrl-C ends it with exit code 0", async () => {
    plays = [
      (socket) => {
        socket.send(streams([T, "one"]));
        setTimeout(() => socket.send(streams([T + 1n, "two"], [T + 2n, "three"])), 20);
      },
    ];
    const io = fakeIo();
    const running = run(register, ["tail", '{app="a"}', "--url", url, "--output", "raw", "--limit", "5"], io);
    await until(() => io.out().includes("three"));
    io.interrupt();
    expect(await running).toEqual({ stdout: "one\ntwo\nthree\n", stderr: "", exitCode: 0 });
    expect(asked[0]?.get("query")).toBe('{app="a"}');
    expect(asked[0]?.get("limit")).toBe("5");
    expect(Number(asked[0]?.get("start")) / 1e6).toBeLessThan(Date.now() - 3_590_000);
  });

  test("query --follow is the same", async () => {
    plays = [(socket) => socket.send(streams([T, "one"]))];
    const io = fakeIo();
    const running = run(registerQuery, ["query", "{}", "--url", url, "--follow"], io);
    await until(() => io.out().length > 0);
    io.interrupt();
    expect((await running).stdout).toBe('2024-05-01T09:00:00Z {app="a"} one\n');
  });

  test("without history it begins now", async () => {
    plays = [(socket) => socket.send(streams([T, "one"]))];
    const io = fakeIo();
    const before = Date.now();
    const running = run(register, ["tail", "{}", "--url", url, "--limit", "0"], io);
    await until(() => io.out().length > 0);
    io.interrupt();
    await running;
    expect(Number(asked[0]?.get("start")) / 1e6).toBeGreaterThanOrEqual(before - 1);
  });

  test("a lost connection is made again, and no line is printed twice", async () => {
    plays = [
      (socket) => {
        socket.send(streams([T, "zero"], [T + 5n, "same"], [T + 5n, "same"], [T + 5n, "other"]), () =>
          socket.terminate(),
        );
      },
      // History from the newest time on: the three again, one more of the same, and what was missed.
      (socket) => {
        socket.send(
          streams([T + 5n, "same"], [T + 5n, "same"], [T + 5n, "same"], [T + 5n, "other"], [T + 6n, "missed"]),
          () => socket.close(1001, "going away"),
        );
      },
      (socket) => socket.send(streams([T + 6n, "missed"], [T + 7n, "last"])),
    ];
    const lines: string[] = [];
    const notices: string[] = [];
    const stop = new AbortController();
    const running = followTail(
      { base: url, query: "{}", startNs: T, limit: 10 },
      {
        signal: stop.signal,
        retryMs: [1],
        onNotice: (text) => notices.push(text),
        onEntries: async (entries: Entry[]) => {
          lines.push(...entries.map(({ line }) => String(line)));
        },
      },
    );
    await until(() => lines.includes("last"));
    stop.abort();
    await running;
    expect(lines).toEqual(["zero", "same", "same", "other", "same", "missed", "last"]);
    expect(notices).toEqual([
      "connection lost (code 1006), trying again",
      "connected again",
      "connection lost (going away), trying again",
      "connected again",
    ]);
    expect(asked.map((params) => [params.get("start"), params.get("limit")])).toEqual([
      [`${T}`, "10"],
      [`${T + 5n}`, "5000"],
      [`${T + 6n}`, "5000"],
    ]);
  });

  test("a connection on which nothing comes is taken for dead", async () => {
    plays = [() => undefined, (socket) => socket.send(streams([T, "back"]))];
    const stop = new AbortController();
    let got = 0;
    const running = followTail(
      { base: url, query: "{}", startNs: T, limit: 10 },
      {
        signal: stop.signal,
        retryMs: [1],
        silenceMs: 30,
        onNotice: () => undefined,
        onEntries: async (entries) => {
          got += entries.length;
        },
      },
    );
    await until(() => got > 0);
    stop.abort();
    await running;
    expect(asked.length).toBeGreaterThanOrEqual(2);
  });

  test("the server says when it left lines out", async () => {
    plays = [
      (socket) => {
        socket.send(JSON.stringify({ streams: [], dropped_entries: [{ timestamp: "1", labels: {} }] }));
        socket.send(streams([T, "one"]));
      },
    ];
    const io = fakeIo();
    const running = run(register, ["tail", "{}", "--url", url], io);
    await until(() => io.out().length > 0);
    io.interrupt();
    expect((await running).stderr).toBe(
      "weir: lines left out by the server, because they are not read fast enough: 1\n",
    );
  });

  test("a query that the server refuses before the upgrade", async () => {
    refuse = { status: 400, body: "parse error : syntax error: unexpected $end" };
    expect(await run(register, ["tail", "{", "--url", url])).toEqual({
      stdout: "",
      stderr: "weir: parse error : syntax error: unexpected $end\n",
      exitCode: 1,
    });
  });

  test("a query that the server refuses after the upgrade", async () => {
    plays = [(socket) => socket.close(1011, "only log selector is supported")];
    expect(await run(register, ["tail", "rate({}[1m])", "--url", url])).toEqual({
      stdout: "",
      stderr: "weir: only log selector is supported\n",
      exitCode: 1,
    });
  });

  test("nobody listens", async () => {
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
    const ran = await run(register, ["tail", "{}", "--url", url]);
    expect(ran.stderr).toContain(`weir: cannot reach ${url}: connect ECONNREFUSED`);
    expect(ran.exitCode).toBe(1);
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  });

  test("something that is not Loki's API", async () => {
    plays = [(socket) => socket.send("hello")];
    const ran = await run(register, ["tail", "{}", "--url", url]);
    expect(ran.stderr).toContain("is not JSON");
    expect(ran.exitCode).toBe(1);
  });
});
