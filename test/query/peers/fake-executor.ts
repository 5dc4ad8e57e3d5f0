import {
  type BatchBlock,
  type BatchResult,
  emptyResult,
  ScanControl,
  type ScanExecutor,
  type ScanJob,
} from "../../../src/query/scan-job.ts";

export interface Call {
  readonly job: ScanJob;
  readonly blocks: readonly BatchBlock[];
  readonly control: ScanControl;
  readonly finish: (result?: BatchResult) => void;
  readonly fail: (error: unknown) => void;
}

/** An executor whose batches end when a test says so. */
export class FakeExecutor implements ScanExecutor {
  readonly parallel: number;
  readonly ahead: number;
  /** Batches under way. */
  readonly calls: Call[] = [];
  /** Batches that ever came. */
  seen = 0;
  /** Jobs that were stopped, and that were ended. */
  readonly stopped: number[] = [];
  readonly ended: number[] = [];
  /** Ends each batch at once. */
  isQuick = false;

  constructor(parallel = 1, ahead = parallel) {
    this.parallel = parallel;
    this.ahead = ahead;
  }

  run(job: ScanJob, blocks: readonly BatchBlock[]): Promise<BatchResult> {
    this.seen++;
    if (this.isQuick) return Promise.resolve(emptyResult());
    return new Promise((resolve, reject) => {
      const gone = () => this.calls.splice(this.calls.indexOf(call), 1);
      const call: Call = {
        ...{ job, blocks, control: new ScanControl(job.control, job.backward) },
        finish: (result = emptyResult()) => {
          gone();
          resolve(result);
        },
        fail: (error) => {
          gone();
          reject(error);
        },
      };
      this.calls.push(call);
    });
  }

  stop({ id }: ScanJob): void {
    this.stopped.push(id);
  }

  end({ id }: ScanJob): void {
    this.ended.push(id);
  }

  async close(): Promise<void> {}
}
