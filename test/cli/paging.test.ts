import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Entry } from "../../src/cli/entry-output.ts";
import { type FetchPage, pagesOf } from "../../src/cli/paging.ts";
import { WeirError } from "../../src/core/errors.ts";

/** A server over `lines`, in order of time, that answers as Loki does and refuses more than `most` at once. */
function server(lines: readonly Entry[], direction: "forward" | "backward", most = 5000): FetchPage {
  return async ({ fromNs, toNs, limit }) => {
    if (limit > most) throw new WeirError("server_refused", `limit > max (${limit} > ${most})`);
    const found = lines.filter(({ ns }) => ns >= fromNs && ns < toNs);
    if (direction === "backward") found.reverse();
    return found.slice(0, limit);
  };
}

function linesAt(times: readonly number[], name: (i: number) => string = (i) => `line ${i}`): Entry[] {
  return [...times]
    .sort((a, b) => a - b)
    .map((ns, i) => ({ ns: BigInt(ns), labels: { app: "a" }, metadata: {}, parsed: {}, line: name(i) }));
}

async function all(request: Parameters<typeof pagesOf>[0], fetchPage: FetchPage): Promise<Entry[]> {
  const got: Entry[] = [];
  for await (const page of pagesOf(request, fetchPage)) got.push(...page);
  return got;
}

const RANGE = { fromNs: 0n, toNs: 1_000_000n };

describe("pagesOf", () => {
  test("gives every line once in order, whatever times they share", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 50 }), fc.integer({ min: 1, max: 900 })), { maxLength: 12 }),
        fc.constantFrom("forward" as const, "backward" as const),
        fc.integer({ min: 1, max: 3 }),
        async (runs, direction, texts) => {
          // Runs of equal times, and texts that repeat, so that identical lines at one time occur as well.
          const lines = linesAt(
            runs.flatMap(([ns, count]) => Array<number>(count).fill(ns)),
            (i) => `line ${i % texts}`,
          );
          const want = direction === "forward" ? lines : [...lines].reverse();
          const got = await all(
            { ...RANGE, direction, limit: Number.POSITIVE_INFINITY },
            server(lines, direction, 1e6),
          );
          expect(got).toEqual(want);
        },
      ),
      { numRuns: 60 },
    );
  });

  test.each([1, 999, 1000, 1001, 2500, 2999, 3000, 5000])("a limit of %i stops there", async (limit) => {
    const lines = linesAt(Array.from({ length: 3000 }, (_, i) => Math.floor(i / 7)));
    const got = await all({ ...RANGE, direction: "forward", limit }, server(lines, "forward"));
    expect(got).toEqual(lines.slice(0, limit));
  });

  test("4,999 lines of one time are read from a server that gives 5,000 at most", async () => {
    const lines = linesAt([1, ...Array<number>(4999).fill(2), 3]);
    const got = await all(
      { ...RANGE, direction: "forward", limit: Number.POSITIVE_INFINITY },
      server(lines, "forward"),
    );
    expect(got).toEqual(lines);
  });

  test("more than the server gives at once: an error with the time, not silence", async () => {
    const lines = linesAt(Array<number>(5001).fill(2_000_000_000 - 1));
    const request = { fromNs: 0n, toNs: 10n ** 10n, direction: "forward" as const, limit: Number.POSITIVE_INFINITY };
    await expect(all(request, server(lines, "forward"))).rejects.toThrow(
      "at least 5000 lines have the time 1970-01-01T00:00:01.999999999Z, and the server gives no more in one query " +
        "(limit > max (10000 > 5000)): narrow the query, or raise the server's limit",
    );
  });
});
