import { codeOf, WeirError } from "../core/errors.ts";
import { formatRfc3339 } from "../core/time.ts";
import type { Entry } from "./entry-output.ts";
import type { Direction } from "./loki-client.ts";

/** Lines asked for at a time. Loki refuses more than 5,000; less keeps memory low and the first lines early. */
const PAGE_LINES = 1000;

export interface PagingRequest {
  readonly fromNs: bigint;
  readonly toNs: bigint;
  readonly direction: Direction;
  /** Most lines to give; Infinity for all. */
  readonly limit: number;
}

/** Lines of [fromNs, toNs) in the order of the direction, at most `limit`. */
export type FetchPage = (page: { fromNs: bigint; toNs: bigint; limit: number }) => Promise<Entry[]>;

/**
 * All lines of a range, however few the server gives at once. The API has no cursor, only times, and many lines may share
 * one: so each page begins at the very time at which the last one ended, and what was given already at that time is
 * left out, counted by what it says.
 *
 * Errors: those of `fetchPage`, and `too_many_at_once` when more lines have one time than the server gives for one query.
 */
export async function* pagesOf(request: PagingRequest, fetchPage: FetchPage): AsyncGenerator<Entry[]> {
  let { fromNs, toNs } = request;
  let left = request.limit;
  let pageLines = PAGE_LINES;
  let edge: Edge | null = null;
  while (left > 0) {
    const limit = Math.min(pageLines, left + (edge?.lines ?? 0));
    const page = await fetchLarger(fetchPage, { fromNs, toNs, limit }, limit > PAGE_LINES ? edge : null);
    const fresh: Entry[] = edge === null ? page : notSeen(page, edge);
    yield fresh.slice(0, left);
    left -= fresh.length;
    const last = page.at(-1);
    if (last === undefined || page.length < limit) return;
    edge = edgeOf(page, last.ns);
    pageLines = linesToAsk(edge.lines);
    if (request.direction === "forward") fromNs = last.ns;
    else toNs = last.ns + 1n;
  }
}

/**
 * Always more than the `known` lines that the next page begins with, or it would bring nothing. 5,000 is what Loki
 * allows unless it is configured otherwise, so that is tried before anything larger.
 */
function linesToAsk(known: number): number {
  if (known * 2 <= PAGE_LINES) return PAGE_LINES;
  return known < 5000 ? 5000 : known * 2;
}

/** What was given already at the time where the next page begins. */
interface Edge {
  readonly ns: bigint;
  readonly lines: number;
  readonly counts: ReadonlyMap<string, number>;
}

function edgeOf(page: readonly Entry[], ns: bigint): Edge {
  const counts = new Map<string, number>();
  let lines = 0;
  for (let i = page.length - 1; i >= 0 && page[i]?.ns === ns; i--) {
    const key = keyOf(page[i] as Entry);
    counts.set(key, (counts.get(key) ?? 0) + 1);
    lines++;
  }
  return { ns, lines, counts };
}

function notSeen(page: readonly Entry[], edge: Edge): Entry[] {
  const counts = new Map(edge.counts);
  return page.filter((entry) => {
    if (entry.ns !== edge.ns) return true;
    const key = keyOf(entry);
    const count = counts.get(key) ?? 0;
    if (count > 0) counts.set(key, count - 1);
    return count === 0;
  });
}

function keyOf({ labels, metadata, parsed, line }: Entry): string {
  return JSON.stringify([labels, metadata, parsed, line.toString()]);
}

async function fetchLarger(
  fetchPage: FetchPage,
  page: { fromNs: bigint; toNs: bigint; limit: number },
  edge: Edge | null,
): Promise<Entry[]> {
  try {
    return await fetchPage(page);
  } catch (error) {
    if (edge === null || codeOf(error) !== "server_refused") throw error;
    throw new WeirError(
      "too_many_at_once",
      `at least ${edge.lines} lines have the time ${formatRfc3339(edge.ns)}, and the server gives no more in one query ` +
        `(${error instanceof Error ? error.message : ""}): narrow the query, or raise the server's limit`,
      { cause: error },
    );
  }
}
