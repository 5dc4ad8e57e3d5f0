/* A scan worker thread: takes jobs and batches from the pool, and answers each batch. */
import { parentPort, workerData } from "node:worker_threads";
import { codeOf, messageOf } from "../core/errors.ts";
import type { ReadBlock } from "../store/prefetch.ts";
import { openThreadReader } from "../store/thread-reader.ts";
import { BatchScan } from "./batch-scan.ts";
import { buffersOf } from "./entries.ts";
import { partialBuffers } from "./metric/scanner.ts";
import type { FromWorker, ToWorker, WorkerSetup } from "./pool.ts";
import type { BatchBlock, ScanJob } from "./scan-job.ts";

const port = parentPort;
if (port === null) throw new Error("scan-worker runs only as a worker thread");
const { objectsUrl } = workerData as WorkerSetup;
const source = await openThreadReader(objectsUrl);
const jobs = new Map<number, BatchScan | { code: string; message: string }>();
// Batches run one after the other: a store that is read asynchronously must not mix two of them.
let work: Promise<void> = Promise.resolve();

port.on("message", (message: ToWorker) => {
  switch (message.type) {
    case "job":
      jobs.set(message.job.id, open(message.job));
      return;
    case "end":
      work = work.then(() => {
        jobs.delete(message.job);
      });
      return;
    case "batch": {
      // A remote store begins to send at once, while the batches before this one are scanned.
      const scan = jobs.get(message.job);
      const read = source.open(scan instanceof BatchScan ? scan.toRead(message.blocks) : []);
      work = work.then(() => batch(message.job, message.batch, message.blocks, read));
    }
  }
});

function open(job: ScanJob): BatchScan | { code: string; message: string } {
  try {
    return new BatchScan(job);
  } catch (error) {
    return { code: codeOf(error), message: messageOf(error) };
  }
}

async function batch(job: number, number: number, blocks: readonly BatchBlock[], read: ReadBlock): Promise<void> {
  const scan = jobs.get(job);
  if (scan === undefined || !(scan instanceof BatchScan)) {
    const error = scan ?? { code: "query_cancelled", message: "the query has ended" };
    answer({ batch: number, error }, []);
    return;
  }
  const result = await scan.run(blocks, read, source.isRemote ? takeTurn : undefined);
  const { entries, partial } = result;
  const buffers = [
    ...(entries === null ? [] : buffersOf(entries)),
    ...(partial === null ? [] : partialBuffers(partial)),
  ];
  answer({ batch: number, result }, buffers);
}

/** What has come over the network meanwhile is taken in. */
function takeTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function answer(message: FromWorker, transfer: ArrayBuffer[]): void {
  port?.postMessage(message, transfer);
}
