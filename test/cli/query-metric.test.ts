import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { register } from "../../src/cli/query.ts";
import { run } from "./harness.ts";

const QUERY = 'sum by (app) (rate({env="p"}[5m]))';

const MATRIX = {
  status: "success",
  warnings: ["some lines are missing"],
  data: {
    resultType: "matrix",
    result: [
      {
        metric: { app: "a" },
        values: [
          [1_714_554_000, "1.5"],
          [1_714_554_060.5, "+Inf"],
        ],
      },
      { metric: {}, values: [[1_714_554_000, "NaN"]] },
    ],
  },
};

const EXPLAINED = {
  type: "metric",
  query: 'sum by (app)(rate({env="p"} |= "x"[5m]))',
  reads: [
    {
      expression: 'rate({env="p"} |= "x"[5m]) into by (app)',
      selector: '{env="p"}',
      reads: "lines",
      filters_metadata: true,
      literals: [["x", "y"]],
      labels: ["app"],
    },
  ],
  catalog: { parts_read: 1, segments_opened: 3 },
  blocks: {
    seen: 100,
    pruned_by_labels: 60,
    pruned_by_time: 10,
    pruned_by_ids: 0,
    hidden: 1,
    planned: 29,
    counted_from_index: 4,
    read: 25,
    pruned_by_metadata: 5,
    headers_only: 5,
    inflated: 20,
    pruned_by_literal: 2,
    open: 0,
  },
  bytes: { read: 12345, inflated: 67890 },
  lines: { looked_at: 500, passed: 50 },
  time_ms: { waited: 0, ran: 7.5 },
  results: 2,
  warnings: [],
};

describe("weir query of numbers", () => {
  let server: Server;
  let url: string;
  let asked: { path: string; params: URLSearchParams }[];
  let answer: unknown;

  beforeEach(async () => {
    asked = [];
    answer = MATRIX;
    server = createServer((request, response) => {
      let body = "";
      request.on("data", (data) => {
        body += data;
      });
      request.on("end", () => {
        asked.push({ path: request.url ?? "", params: new URLSearchParams(body) });
        response.end(JSON.stringify(answer));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  test("text: a line for each value, series after series", async () => {
    const ran = await run(register, ["query", QUERY, "--url", url, "--step", "1m"]);
    expect(ran.stdout).toBe(
      '2024-05-01T09:00:00Z {app="a"} 1.5\n2024-05-01T09:01:00.5Z {app="a"} +Inf\n2024-05-01T09:00:00Z {} NaN\n',
    );
    expect(ran.stderr).toBe("weir: some lines are missing\n");
    expect(asked).toHaveLength(1);
    expect(asked[0].path).toBe("/loki/api/v1/query_range");
    expect(Object.fromEntries(asked[0].params)).toMatchObject({ query: QUERY, step: "1m" });
    expect(asked[0].params.has("limit")).toBe(false);
  });

  test("json and raw", async () => {
    const json = await run(register, ["query", QUERY, "--url", url, "-o", "json"]);
    expect(json.stdout.split("\n")[1]).toBe('{"time":"2024-05-01T09:01:00.5Z","labels":{"app":"a"},"value":"+Inf"}');
    const raw = await run(register, ["query", QUERY, "--url", url, "-o", "raw"]);
    expect(raw.stdout).toBe("1.5\n+Inf\nNaN\n");
  });

  test("--step has no use for lines", async () => {
    const ran = await run(register, ["query", '{env="p"}', "--url", url, "--step", "1m"]);
    expect(ran.stderr).toBe("weir: --step is for metric queries; this one gives lines\n");
    expect(ran.exitCode).not.toBe(0);
    expect(asked).toEqual([]);
  });

  test("--explain says what is done instead", async () => {
    answer = { status: "success", data: EXPLAINED };
    const ran = await run(register, ["query", QUERY, "--url", url, "--explain", "--limit", "7"]);
    expect(asked[0].path).toBe("/api/v1/explain");
    expect(asked[0].params.get("limit")).toBe("7");
    expect(ran).toMatchObject({ stderr: "", exitCode: 0 });
    expect(ran.stdout).toBe(`metric query: sum by (app)(rate({env="p"} |= "x"[5m]))

reads lines of {env="p"}
  for       rate({env="p"} |= "x"[5m]) into by (app)
  metadata  label filters are tried on metadata columns first
  literal   "x" or "y"
  labels    app

           1  catalog parts read
           3  segment indexes read
         100  blocks in them and in memory
         -60  by labels
         -10  by time
           0  by id filter
          -1  expired or deleted
          29  blocks planned
           4  counted from the index alone
           0  open in memory
          25  blocks read
           5  header only (5 ruled out by metadata)
          20  inflated (2 without the literal)
       12345  bytes read
       67890  bytes of text inflated
         500  lines in the blocks looked at
          50  lines passed
           2  series in the answer

took 7.5 ms, after waiting 0 ms
`);
  });

  test("--explain says what other queriers did", async () => {
    const peers = { queriers: 2, batches: 12, blocks_read: 19, bytes_inflated: 60000 };
    answer = { status: "success", data: { ...EXPLAINED, peers } };
    const { stdout } = await run(register, ["query", QUERY, "--url", url, "--explain"]);
    expect(stdout).toContain(`          50  lines passed
           2  other queriers took part
          19  of the blocks read by them (in 12 batches)
       60000  of the bytes inflated by them
           2  series in the answer
`);
  });
});
