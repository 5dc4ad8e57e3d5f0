import { randomBytes } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { Admission } from "../../src/query/admission.ts";
import { type ApiSetup, makeApi, queryString, type TestApi } from "./harness.ts";

const NEVER = new AbortController().signal;

/** Work that goes on until it is told to end. */
class Held {
  readonly began: string[] = [];
  private readonly ends = new Map<string, () => void>();

  run(admission: Admission, tenant: string, name: string, signal: AbortSignal = NEVER): Promise<string> {
    return admission.run(tenant, signal, async () => {
      this.began.push(name);
      await new Promise<void>((resolve) => this.ends.set(name, resolve));
      return name;
    });
  }

  async end(name: string): Promise<void> {
    this.ends.get(name)?.();
    await turn();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("admission", () => {
  test("runs so many at once, and goes round over the tenants that wait", async () => {
    const admission = new Admission(2, 10);
    const held = new Held();
    for (const name of ["a1", "a2", "a3", "a4", "a5"]) void held.run(admission, "a", name);
    for (const name of ["b1", "b2"]) void held.run(admission, "b", name);
    void held.run(admission, "c", "c1");
    await turn();
    expect(held.began).toEqual(["a1", "a2"]);
    expect([admission.runningCount, admission.waitingCount]).toEqual([2, 6]);
    for (const name of ["a1", "a2", "a3", "b1", "c1", "a4", "b2", "a5"]) await held.end(name);
    expect(held.began).toEqual(["a1", "a2", "a3", "b1", "c1", "a4", "b2", "a5"]);
    expect([admission.runningCount, admission.waitingCount]).toEqual([0, 0]);
  });

  test("lets so many of a tenant wait, whatever others do", async () => {
    const admission = new Admission(1, 2);
    const held = new Held();
    for (const name of ["a1", "a2", "a3"]) void held.run(admission, "a", name);
    await expect(held.run(admission, "a", "a4")).rejects.toMatchObject({ code: "query_busy" });
    void held.run(admission, "b", "b1");
    await held.end("a1");
    await held.end("a2");
    await held.end("b1");
    expect(held.began).toEqual(["a1", "a2", "b1", "a3"]);
    await held.end("a3");
  });

  test("forgets who leaves while waiting, and passes on the turn of who leaves as it comes", async () => {
    const admission = new Admission(1, 5);
    const held = new Held();
    const [gone, late] = [new AbortController(), new AbortController()];
    void held.run(admission, "a", "a1");
    const a2 = held.run(admission, "a", "a2", gone.signal);
    const a3 = held.run(admission, "a", "a3", late.signal).catch(() => "gone");
    const a4 = held.run(admission, "a", "a4");
    gone.abort();
    await expect(a2).rejects.toThrow();
    expect(admission.waitingCount).toBe(2);
    const ending = held.end("a1");
    late.abort();
    await ending;
    await a3;
    await turn();
    expect(held.began.at(-1)).toBe("a4");
    await held.end("a4");
    expect(await a4).toBe("a4");
    expect(admission.runningCount).toBe(0);
    await expect(admission.run("a", gone.signal, async () => 1)).rejects.toThrow();
  });

  test("a failure gives its place back", async () => {
    const admission = new Admission(1, 5);
    await expect(admission.run("a", NEVER, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await admission.run("a", NEVER, async () => 2)).toBe(2);
  });
});

describe("limits", () => {
  const T0 = 1_700_000_000_000_000_000n;
  const RANGE = { start: String(T0), end: String(T0 + 3_600_000_000_000n) };
  let api: TestApi | null = null;
  afterEach(async () => {
    await api?.close();
    api = null;
  });

  async function withLines(setup: ApiSetup, tenant = "fake", filler = "x".repeat(500)): Promise<TestApi> {
    api = await makeApi(setup);
    for (let i = 0; i < 200; i++) {
      api.append({
        labels: { app: "a", i: String(i % 10) },
        ns: T0 + BigInt(i) * 1_000_000_000n,
        text: `line ${i} ${filler}`,
        tenant,
      });
      if (i % 20 === 19) await api.flush();
    }
    return api;
  }
  const as = (tenant: string): RequestInit => ({ headers: { "x-scope-orgid": tenant } });
  const query = (extra: Record<string, string> = {}) =>
    `/loki/api/v1/query_range${queryString({ query: '{app="a"} |= "line"', ...RANGE, limit: "5000", ...extra })}`;

  test("on matchers hold for every selector", async () => {
    const it = await withLines({ query: { max_streams_matchers_per_query: 2 } });
    const three = '{app="a", i=~".+", i!="3"}';
    const says = "max streams matchers per query exceeded, matchers-count > limit (3 > 2)\n";
    for (const path of [
      query({ query: three }),
      query({ query: `sum(rate({app="a"}[1m])) + sum(rate(${three}[1m]))` }),
      `/loki/api/v1/series${queryString({ ...RANGE, match: three })}`,
      `/loki/api/v1/index/stats${queryString({ ...RANGE, query: three })}`,
    ]) {
      expect(await it.get(path)).toMatchObject({ status: 400, text: says });
    }
    expect((await it.get(query({ query: '{app="a", i="3"}' }))).status).toBe(200);
  });

  test("may be a tenant's own", async () => {
    const it = await withLines(
      {
        http: { auth_enabled: true },
        query: { overrides: { small: { max_entries_limit_per_query: 10, max_query_length: "30m" } } },
      },
      "small",
    );
    expect(await it.get(query(), as("small"))).toMatchObject({
      status: 400,
      text: "the query time range exceeds the limit (query length: 1h0m0s, limit: 30m)\n",
    });
    const end = String(T0 + 600_000_000_000n);
    expect(await it.get(query({ end }), as("small"))).toMatchObject({
      status: 400,
      text: "max entries limit per query exceeded, limit > max_entries_limit_per_query (5000 > 10)\n",
    });
    expect((await it.get(query({ end }), as("large"))).status).toBe(200);
  });

  test.each([
    { kind: "lines", text: '{app="a"} |= "line"' },
    { kind: "numbers", text: 'sum(count_over_time({app="a"} |= "line" [1h]))' },
  ])("on bytes end a query for $kind, or cut its answer where that is asked for", async ({ text }) => {
    const it = await withLines({ query: { max_query_bytes_read: 20_000 } });
    const refused = await it.get(query({ query: text, step: "3600" }));
    expect(refused.status).toBe(400);
    expect(refused.text).toMatch(
      /^the query would read too many bytes \(query: \d+B, limit: 20000B\); consider adding more specific stream selectors/,
    );
    const part = await it.get(query({ query: text, step: "3600", partial: "true" }));
    expect(part.status).toBe(200);
    const { warnings, data } = JSON.parse(part.text) as { warnings: string[]; data: { result: unknown[] } };
    expect(warnings).toEqual([
      expect.stringMatching(/^the answer is not complete: the query was ended when it had read more bytes/),
    ]);
    expect(data.result.length).toBeGreaterThan(0);
  });

  test("on time end a query", async () => {
    const it = await withLines({ query: { query_timeout: "200ms" } });
    it.reader.index = () => new Promise(() => undefined);
    expect(await it.get(query())).toMatchObject({
      status: 504,
      text: expect.stringMatching(/^request timed out, decrease the duration of the request/) as string,
    });
  });

  test("on time cut an answer where that is asked for", async () => {
    // Text that does not compress, and blocks that hold a segment's lines, so that the first segment is worth a batch.
    const noise = randomBytes(30_000).toString("base64");
    const it = await withLines({ query: { query_timeout: "9s" }, store: { block_bytes: 262_144 } }, "fake", noise);
    const index = it.reader.index.bind(it.reader);
    let calls = 0;
    // The first segment comes at once, the next when five sixths of the time have passed.
    it.reader.index = (info) =>
      ++calls === 1 ? index(info) : new Promise((resolve) => setTimeout(() => resolve(index(info)), 7500));
    const part = await it.get(query({ partial: "true" }));
    expect(part.status).toBe(200);
    const { warnings, data } = JSON.parse(part.text) as { warnings: string[]; data: { result: unknown[] } };
    expect(warnings.join("\n")).toMatch(/the limit of its time \(query_timeout: 9s\)/);
    expect(data.result.length).toBeGreaterThan(0);
  });
});
