import type { Explained } from "./loki-client.ts";

/** What was done for a query, for people: first what had to be read, then how much of it there was. */
export function explanationText({
  type,
  query,
  reads,
  blocks,
  bytes,
  lines,
  peers,
  time_ms,
  catalog,
  results,
}: Explained): string {
  const out: string[] = [`${type} query: ${query}`];
  for (const read of reads) {
    out.push("", `reads ${read.reads === "headers" ? "block headers" : "lines"} of ${read.selector}`);
    if (read.expression !== query) out.push(`  for       ${read.expression}`);
    if (read.filters_metadata) out.push("  metadata  label filters are tried on metadata columns first");
    for (const group of read.literals)
      out.push(`  literal   ${group.map((text) => JSON.stringify(text)).join(" or ")}`);
    const labels = read.labels === null ? "all of them" : read.labels.length === 0 ? "none" : read.labels.join(", ");
    out.push(`  labels    ${labels}`);
  }
  const row = (count: number, what: string) => `${String(count).padStart(12)}  ${what}`;
  return [
    ...out,
    "",
    row(catalog.parts_read, "catalog parts read"),
    row(catalog.segments_opened, "segment indexes read"),
    row(blocks.seen, "blocks in them and in memory"),
    row(-blocks.pruned_by_labels, "by labels"),
    row(-blocks.pruned_by_time, "by time"),
    row(-blocks.pruned_by_ids, "by id filter"),
    row(-blocks.hidden, "expired or deleted"),
    row(blocks.planned, "blocks planned"),
    row(blocks.counted_from_index, "counted from the index alone"),
    row(blocks.open, "open in memory"),
    row(blocks.read, "blocks read"),
    row(blocks.headers_only, `header only (${blocks.pruned_by_metadata} ruled out by metadata)`),
    row(blocks.inflated, `inflated (${blocks.pruned_by_literal} without the literal)`),
    row(bytes.read, "bytes read"),
    row(bytes.inflated, "bytes of text inflated"),
    row(lines.looked_at, "lines in the blocks looked at"),
    row(lines.passed, "lines passed"),
    ...(peers === undefined || peers.batches === 0
      ? []
      : [
          row(peers.queriers, "other queriers took part"),
          row(peers.blocks_read, `of the blocks read by them (in ${peers.batches} batches)`),
          row(peers.bytes_inflated, "of the bytes inflated by them"),
        ]),
    row(results, type === "log" ? "lines in the answer" : "series in the answer"),
    "",
    `took ${time_ms.ran} ms, after waiting ${time_ms.waited} ms`,
    "",
  ].join("\n");
}
