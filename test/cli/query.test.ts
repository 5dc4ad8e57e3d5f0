import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { register } from "../../src/cli/query.ts";
import { fakeIo, run } from "./harness.ts";

const T = 1_714_554_000_000_000_000n;

const STREAMS = [
  {
    stream: { app: "a" },
    values: [
      [`${T + 3n}`, "third"],
      [`${T + 1n}`, "first\u001b[2J"],
    ],
  },
  {
    stream: { app: "b" },
    values: [[`${T + 2n}`, 'se"cond', { structuredMetadata: { trace_id: "ab" }, parsed: { status: "503" } }]],
  },
];

describe("weir query", () => {
  let server: Server;
  let url: string;
  let asked: URLSearchParams[];
  let answer: { status: number; body: string };

  beforeEach(async () => {
    asked = [];
    answer = {
      status: 200,
      body: JSON.stringify({ status: "success", data: { resultType: "streams", result: STREAMS } }),
    };
    server = createServer((request, response) => {
      let body = "";
      request.on("data", (data) => {
        body += data;
      });
      request.on("end", () => {
        asked.push(new URLSearchParams(body));
        response.statusCode = answer.status;
        response.end(answer.body);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  test("text: newest first, over all streams", async () => {
    expect(await run(register, ["query", '{app=~".+"}', "--url", url])).toEqual({
      stdout: [
        '2024-05-01T09:00:00.000000003Z {app="a"} third',
        '2024-05-01T09:00:00.000000002Z {app="b"} se"cond',
        '2024-05-01T09:00:00.000000001Z {app="a"} first\u001b[2J',
        "",
      ].join("\n"),
      stderr: "",
      exitCode: 0,
    });
  });

  test("json: one object a line, with metadata and parsed labels", async () => {
    const { stdout } = await run(register, ["query", "{}", "--url", url, "--output", "json"]);
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line))[1],
    ).toEqual({
      time: "2024-05-01T09:00:00.000000002Z",
      labels: { app: "b" },
      metadata: { trace_id: "ab" },
      parsed: { status: "503" },
      line: 'se"cond',
    });
  });

  test("raw: lines alone; WEIR_URL says where", async () => {
    const { stdout } = await run(register, ["query", "{}", "-o", "raw"], fakeIo({ env: { WEIR_URL: `${url}/` } }));
    expect(stdout).toBe('third\nse"cond\nfirst\u001b[2J\n');
  });

  test("on a terminal: colours, and a line can't clear the screen", async () => {
    const { stdout } = await run(register, ["query", "{}", "--url", url], fakeIo({ tty: true }));
    expect(stdout).toContain('\u001b[36m{app="a"}\u001b[0m third');
    expect(stdout).toContain("first\\x1b[2J");
    expect(stdout).not.toContain("\u001b[2J");
  });

  test("sends query, range, limit and direction", async () => {
    await run(register, [
      "query",
      '{a="b"} |= "ü"',
      "--url",
      url,
      "--from",
      "1714550400",
      "--to",
      "2024-05-01T09:00:00Z",
      "--limit",
      "7",
      "--direction",
      "FORWARD",
    ]);
    expect(asked.map((params) => Object.fromEntries(params))).toEqual([
      {
        query: '{a="b"} |= "ü"',
        start: "1714550400000000000",
        end: "1714554000000000000",
        limit: "7",
        direction: "forward",
      },
    ]);
  });

  test.each([{ args: ["--limit", "0"] }, { args: ["--all"] }])("$args pages through everything", async ({ args }) => {
    await run(register, ["query", "{}", "--url", url, ...args]);
    expect(asked.map((params) => params.get("limit"))).toEqual(["1000"]);
  });

  test("the server's warnings are said once, on stderr", async () => {
    const values = Array.from({ length: 1000 }, (_, i) => [`${T - BigInt(i)}`, `line ${i}`]);
    answer.body = JSON.stringify({
      status: "success",
      warnings: ["a segment is missing"],
      data: { resultType: "streams", result: [{ stream: { app: "a" }, values }] },
    });
    const { stderr, exitCode } = await run(register, ["query", "{}", "--url", url, "--limit", "1500"]);
    expect(asked.length).toBe(2);
    expect(stderr).toBe("weir: a segment is missing\n");
    expect(exitCode).toBe(0);
  });

  test("the server's error is printed as it is", async () => {
    answer = { status: 400, body: "parse error at line 1, col 2: syntax error: unexpected $end\n" };
    expect(await run(register, ["query", "{", "--url", url])).toEqual({
      stdout: "",
      stderr: "weir: parse error at line 1, col 2: syntax error: unexpected $end\n",
      exitCode: 1,
    });
  });

  test.each([
    { name: "not JSON", body: "<html>", says: /^weir: the answer of http:\S+ is not JSON/ },
    {
      name: "not Loki's",
      body: '{"hits":[]}',
      says: /^weir: the answer of http:\S+ is not what Loki's API gives: data: /,
    },
    {
      name: "a matrix",
      body: '{"data":{"resultType":"matrix","result":[]}}',
      says: /^weir: the query gives a matrix, and lines were expected\n$/,
    },
  ])("an answer that is $name", async ({ body, says }) => {
    answer = { status: 200, body };
    const ran = await run(register, ["query", "{}", "--url", url]);
    expect(ran.stderr).toMatch(says);
    expect(ran.exitCode).toBe(1);
  });

  test("nobody listens", async () => {
    await new Promise((resolve) => server.close(resolve));
    const ran = await run(register, ["query", "{}", "--url", url]);
    expect(ran.stderr).toBe(
      `weir: cannot reach ${url}: connect ECONNREFUSED ${url.slice(7)}; is weir running there? (--url or WEIR_URL say where)\n`,
    );
    expect(ran.exitCode).toBe(1);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)); // For afterEach to close.
  });

  test.each([
    { args: ["--limit", "-1"], says: '--limit: got "-1"' },
    { args: ["--output", "xml"], says: '--output: got "xml", want text, json or raw' },
    { args: ["--direction", "up"], says: '--direction: got "up"' },
    { args: ["--url", "127.0.0.1:3100"], says: '--url: got "127.0.0.1:3100", want an address' },
    { args: ["--follow", "--all"], says: "--follow has no use for --all" },
  ])("refuses $args", async ({ args, says }) => {
    const ran = await run(register, ["query", "{}", "--url", url, ...args]);
    expect(ran.stderr).toContain(says);
    expect(ran.exitCode).toBe(1);
    expect(asked).toEqual([]);
  });

  test("a reader that leaves ends it quietly, with exit code 0 and no further page", async () => {
    const values = Array.from({ length: 1000 }, (_, i) => [`${T - BigInt(i)}`, `line ${i}`]);
    answer.body = JSON.stringify({ data: { resultType: "streams", result: [{ stream: { app: "a" }, values }] } });
    let writes = 0;
    const stdout = new Writable({
      write(_chunk, _encoding, done) {
        done(++writes > 10 ? Object.assign(new Error("write EPIPE"), { code: "EPIPE" }) : null);
      },
    });
    const ran = await run(register, ["query", "{}", "--url", url, "--all"], fakeIo({ stdout }));
    expect(ran).toMatchObject({ stderr: "", exitCode: 0 });
    expect(asked.length).toBe(1);
  });

  test("a full disk behind stdout is an error", async () => {
    const stdout = new Writable({
      write(_chunk, _encoding, done) {
        done(Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }));
      },
    });
    const ran = await run(register, ["query", "{}", "--url", url], fakeIo({ stdout }));
    expect(ran.stderr).toBe("weir: cannot write the output: ENOSPC: no space left on device, write\n");
    expect(ran.exitCode).toBe(1);
  });
});
