/* A scan worker thread: takes jobs and batches from the pool, and answers each batch. */
import { parentPort, workerData } from "node:worker_threads";
import { codeOf, messageOf } from "../core/errors.ts";
import { openThreadReader } from "../store/thread-reader.ts";
import { BatchScan } from "./batch-scan.ts";
import { buffersOf } from "./entries.ts";
import type { FromWorker, ToWorker, WorkerSetup } from "./pool.ts";
import type { BatchBlock, ScanJob } from "./scan-job.ts";

const port = parentPort;
if (port === null) throw new Error("scan-worker runs only as a worker thread");
const { objectsUrl } = workerData as WorkerSetup;
const read = await openThreadReader(objectsUrl);
const jobs = new Map<number, BatchScan | { code: string; message: string }>();
// Batches run one after the other: a store that is read asynchronously must not mix two of them.
let work: Promise<void> = Promise.resolve();

port.on("message", (message: ToWorker) => {
  work = work.then(() => take(message));
});

async function take(message: ToWorker): Promise<void> {
  switch (message.type) {
    case "job":
      jobs.set(message.job.id, open(message.job));
      return;
    case "end":
      jobs.delete(message.job);
      return;
    case "batch":
      await batch(message.job, message.batch, message.blocks);
  }
}

function open(job: ScanJob): BatchScan | { code: string; message: string } {
  try {
    return new BatchScan(job, read);
  } catch (error) {
    return { code: codeOf(error), message: messageOf(error) };
  }
}

async function batch(job: number, number: number, blocks: readonly BatchBlock[]): Promise<void> {
  const scan = jobs.get(job);
  if (scan === undefined || !(scan instanceof BatchScan)) {
    const error = scan ?? { code: "query_cancelled", message: "the query has ended" };
    answer({ batch: number, error }, []);
    return;
  }
  const result = await scan.run(blocks);
  answer({ batch: number, result }, result.entries === null ? [] : buffersOf(result.entries));
}

function answer(message: FromWorker, transfer: ArrayBuffer[]): void {
  port?.postMessage(message, transfer);
}
