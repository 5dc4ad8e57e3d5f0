import { joinNs } from "../../core/time.ts";
import { parseBlock, type StoredBlock } from "../block-view.ts";
import { corrupt } from "../errors.ts";
import type { MergedStream } from "./block-maker.ts";
import type { StreamBlock } from "./pieces.ts";

/**
 * Reads the header of a block and holds it to what its segment's index says: compaction must not put a block where it does
 * not belong. Throws `block_corrupt`.
 */
export function readStreamBlock(
  bytes: Buffer,
  { input, block, rows, textBytes, length, minSec, minNsec, maxSec, maxNsec }: StreamBlock,
  stream: Pick<MergedStream, "tenant" | "canonical" | "section">,
): StoredBlock {
  const place = { key: input.key, offset: input.index.offsets[block] };
  const view = parseBlock(bytes, place);
  const differs = (what: string, got: string | number | bigint, want: string | number | bigint) =>
    corrupt("block_corrupt", `${what} of a block, by its header and by the index`, got, want, place);
  if (view.length !== length) throw differs("bytes", view.length, length);
  if (view.rows !== rows) throw differs("rows", view.rows, rows);
  if (view.textBytes !== textBytes) throw differs("bytes of text", view.textBytes, textBytes);
  if (!view.isOf(stream.section)) {
    if (view.canonical !== stream.canonical) throw differs("labels", view.canonical, stream.canonical);
    if (view.tenant !== stream.tenant) throw differs("tenant", view.tenant, stream.tenant);
  }
  const min = joinNs(minSec, minNsec);
  const max = joinNs(maxSec, maxNsec);
  if (view.timeMinNs !== min) throw differs("least time", view.timeMinNs, min);
  if (view.timeMaxNs !== max) throw differs("greatest time", view.timeMaxNs, max);
  return view;
}
