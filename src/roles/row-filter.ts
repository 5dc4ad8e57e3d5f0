import type { CompiledDeletes, RowTest } from "../query/deletes.ts";
import type { RowFilter, StreamFilter } from "../store/compact/removals.ts";
import type { DeleteRequest } from "../store/deletes-object.ts";
import type { Retention } from "../store/retention.ts";
import type { BlockView } from "../store/view.ts";

/** The id under which compaction counts what has expired. Those of requests begin with another word. */
export const RETENTION = "retention";
export const idOf = ({ tenant, id }: Pick<DeleteRequest, "tenant" | "id">): string => `delete/${tenant}/${id}`;

/** What compaction leaves out of each stream: what has expired by `nowMs`, and what the requests mean that `requestsOf` gives. */
export function rowFilter(
  retention: Retention,
  requestsOf: (tenant: string) => readonly DeleteRequest[],
  compiled: CompiledDeletes,
  nowMs: number,
): RowFilter {
  return (tenant, labels, canonical) => {
    const cutoffNs = retention.cutoffNs(tenant, canonical, labels, nowMs);
    const requests = requestsOf(tenant).filter(({ query }) => compiled.query(query).matchesStream(labels));
    return cutoffNs === null && requests.length === 0 ? null : new StreamRemovals(cutoffNs, requests, compiled);
  };
}

/** What goes of one stream. */
class StreamRemovals implements StreamFilter {
  private readonly cutoffNs: bigint | null;
  private readonly requests: readonly DeleteRequest[];
  private readonly compiled: CompiledDeletes;

  constructor(cutoffNs: bigint | null, requests: readonly DeleteRequest[], compiled: CompiledDeletes) {
    this.cutoffNs = cutoffNs;
    this.requests = requests;
    this.compiled = compiled;
  }

  block(timeMinNs: bigint, timeMaxNs: bigint): null | "rows" | { readonly all: string } {
    // A block of which only some lines have expired stays until the others have: it is hidden, and copied as it is.
    if (this.cutoffNs !== null && timeMaxNs < this.cutoffNs) return { all: RETENTION };
    let verdict: null | "rows" = null;
    for (const request of this.requests) {
      const { query, startNs, endNs } = request;
      if (startNs > timeMaxNs || endNs < timeMinNs) continue;
      const takesAll = startNs <= timeMinNs && endNs >= timeMaxNs && !this.compiled.query(query).hasFilter;
      if (takesAll) return { all: idOf(request) };
      verdict = "rows";
    }
    return verdict;
  }

  rows(view: BlockView): (row: number) => string | null {
    const tests: readonly { readonly id: string; readonly test: RowTest }[] = this.requests.map((request) => ({
      id: idOf(request),
      test: this.compiled.rowTest(request),
    }));
    return (row) => {
      for (const { id, test } of tests) if (test(view, row)) return id;
      return null;
    };
  }
}
