import { Slices } from "../core/slices.ts";
import { timeSpanOf } from "../query/plan.ts";
import type { WantedLines } from "../query/snapshots.ts";
import { OpenBlockView, type PackedOpenBlock, packedBuffers } from "../store/open-view.ts";
import type { BlockInfo, BlockView, PendingBlock } from "../store/view.ts";
import type { WriterSnapshot } from "../store/writer.ts";
import type { SnapshotPart } from "./worker-messages.ts";

/** Bytes of a part after which it is sent: about a millisecond of copying. */
const PART_BYTES = 4 * 1024 * 1024;
/** What a block takes beside its bytes, roughly. */
const BLOCK_BYTES = 512;
const NO_BYTES = new Uint8Array();

/** A PendingBlock as plain data. */
export interface PackedPending {
  readonly tenant: string;
  readonly labels: PendingBlock["labels"];
  readonly canonical: string;
  readonly info: BlockInfo;
  /** Empty where only times and sizes are wanted. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

type Send = (part: SnapshotPart, memory: ArrayBuffer[]) => void;

/**
 * Copies what is wanted of snapshots for another thread, in slices and parts. What a snapshot shows never changes, so the
 * time that this takes makes no difference to what arrives.
 */
export async function packSnapshots(
  snapshots: readonly Pick<WriterSnapshot, "pending" | "open">[],
  wanted: WantedLines,
  send: Send,
): Promise<void> {
  const { startNs, endNs, ids, withText } = wanted;
  const slices = new Slices();
  let part: { pending: PackedPending[]; open: PackedOpenBlock[] } = { pending: [], open: [] };
  let memory: ArrayBuffer[] = [];
  let bytes = 0;
  const flush = () => {
    if (part.pending.length + part.open.length > 0) send(part, memory);
    part = { pending: [], open: [] };
    memory = [];
    bytes = 0;
  };
  const added = async (size: number) => {
    bytes += size + BLOCK_BYTES;
    if (bytes >= PART_BYTES) flush();
    await slices.turn();
  };
  const reaches = ({ timeMinNs, timeMaxNs }: Pick<BlockInfo, "timeMinNs" | "timeMaxNs">) =>
    timeMaxNs >= startNs && timeMinNs < endNs;
  for (const { pending, open } of snapshots) {
    for (const block of pending) {
      if (!reaches(block.info)) continue;
      if (ids !== null && !ids.some(({ slot, low8 }) => block.mayHoldId(slot, low8))) continue;
      const packed = packPending(block, withText);
      if (packed.bytes.length > 0) memory.push(packed.bytes.buffer);
      part.pending.push(packed);
      await added(packed.bytes.length);
    }
    for (const view of open) {
      if (view.rows === 0 || !reaches(timeSpanOf(view))) continue;
      const packed = viewOf(view).pack(withText);
      memory.push(...packedBuffers(packed));
      part.open.push(packed);
      await added(withText ? packed.textBytes : 0);
    }
  }
  flush();
}

/** The blocks of a part as a query sees them. */
export function unpackPart({ pending, open }: SnapshotPart): { pending: PendingBlock[]; open: BlockView[] } {
  return {
    // Those that certainly have no wanted id were left out.
    pending: pending.map((block) => ({ ...block, bytes: Buffer.from(block.bytes.buffer), mayHoldId: () => true })),
    open: open.map((block) => OpenBlockView.from(block)),
  };
}

function packPending({ tenant, labels, canonical, info, bytes }: PendingBlock, withText: boolean): PackedPending {
  return { tenant, labels, canonical, info, bytes: withText ? new Uint8Array(bytes) : NO_BYTES };
}

function viewOf(view: BlockView): OpenBlockView {
  if (view instanceof OpenBlockView) return view;
  throw new Error("a writer's open block is of another kind than it should be");
}
