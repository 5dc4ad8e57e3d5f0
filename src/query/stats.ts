import { noPlanCounts, type PlanCounts } from "./plan.ts";
import { addStats, type BatchResult, emptyStats, type ScanStats } from "./scan-job.ts";

/** What a query cost. Times are in milliseconds. */
export class QueryStats {
  /** Blocks in segments, and compressed ones whose segment is not committed yet. */
  readonly stored: ScanStats = emptyStats();
  /** Open blocks in memory. */
  readonly open: ScanStats = emptyStats();
  /** Blocks that the plan chose, and those of them that were never read because better lines were found first. */
  plannedBlocks = 0;
  /** What the plans looked at and passed over. */
  readonly plan: PlanCounts = noPlanCounts();
  /** Blocks that were counted from their segment's index alone. */
  fromIndex = 0;
  batches = 0;
  /** What other queriers did of that: batches, and what they read for them. */
  readonly peers: { batches: number; readonly names: Set<string>; readonly stored: ScanStats } = {
    batches: 0,
    names: new Set(),
    stored: emptyStats(),
  };
  queueMs = 0;
  execMs = 0;
  entries = 0;

  /** Takes in what a batch of stored blocks cost. */
  addBatch({ stats, peer }: BatchResult): void {
    addStats(this.stored, stats);
    if (peer === undefined) return;
    this.peers.batches++;
    this.peers.names.add(peer);
    addStats(this.peers.stored, stats);
  }

  /** The object that Loki's answers carry under `stats`; Grafana's inspector and `logcli --stats` show it. */
  toLoki(): Record<string, unknown> {
    const { stored, open } = this;
    const seconds = this.execMs / 1000;
    const bytes = stored.textBytes + open.textBytes;
    const lines = stored.lines + open.lines;
    const rate = (amount: number) => (seconds > 0 ? Math.round(amount / seconds) : 0);
    return {
      summary: {
        bytesProcessedPerSecond: rate(bytes),
        linesProcessedPerSecond: rate(lines),
        totalBytesProcessed: bytes,
        totalLinesProcessed: lines,
        execTime: seconds,
        queueTime: this.queueMs / 1000,
        subqueries: this.peers.batches,
        totalEntriesReturned: this.entries,
        splits: 0,
        shards: 0,
        totalPostFilterLines: stored.matched + open.matched,
        totalStructuredMetadataBytesProcessed: 0,
      },
      querier: { store: this.lokiStore(stored, emptyStats(), this.plannedBlocks) },
      ingester: {
        totalReached: 1,
        totalChunksMatched: open.blocks,
        totalBatches: this.batches,
        totalLinesSent: open.matched,
        store: this.lokiStore(emptyStats(), open, 0),
      },
      cache: {},
      index: { totalChunks: this.plan.blocks, postFilterChunks: this.plannedBlocks, shardsDuration: 0 },
    };
  }

  private lokiStore(read: ScanStats, head: ScanStats, planned: number): Record<string, unknown> {
    return {
      totalChunksRef: planned,
      totalChunksDownloaded: read.blocks,
      chunksDownloadTime: 0,
      queryReferencedStructuredMetadata: false,
      chunk: {
        headChunkBytes: head.textBytes,
        headChunkLines: head.lines,
        decompressedBytes: read.textBytes,
        decompressedLines: read.lines,
        compressedBytes: read.readBytes,
        totalDuplicates: 0,
        postFilterLines: read.matched + head.matched,
        headChunkStructuredMetadataBytes: 0,
        decompressedStructuredMetadataBytes: 0,
      },
      chunkRefsFetchTime: 0,
    };
  }
}
