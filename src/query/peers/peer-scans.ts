import { WeirError } from "../../core/errors.ts";
import { nextJobId, ScanControl, type ScanExecutor } from "../scan-job.ts";
import type { PeerMetrics } from "./metrics.ts";
import type { Hello } from "./protocol.ts";
import { encodeResult } from "./result-frame.ts";
import { decodeScanRequest, type ScanRequest } from "./scan-request.ts";

/** Batches of other queriers that are here at one time. */
const SCANS_MAX = 256;
/** Bytes of all their requests, from the moment that they come, and of what was found, until it is taken. Most requests are some kilobytes. */
const HELD_BYTES_MAX = 64 * 1024 * 1024;

export interface PeerScansDeps {
  /** This process. */
  readonly id: string;
  readonly version: string;
  /** The own threads: what comes from another querier is not handed on. */
  readonly executor: ScanExecutor;
  readonly metrics: PeerMetrics;
}

/** Scans batches for other queriers. */
export class PeerScans {
  private readonly deps: PeerScansDeps;
  private running = 0;
  private held = 0;

  constructor(deps: PeerScansDeps) {
    this.deps = deps;
    deps.metrics.running = () => this.running;
  }

  hello(): Hello {
    const { id, version, executor } = this.deps;
    return { id, version, parallel: executor.parallel, ahead: executor.ahead };
  }

  /**
   * Counts a request of so many bytes, before it is read; what is returned counts an answer to it in its place, and ends with 0. Throws
   * `querier_busy` while those that are here take too much.
   */
  admit(bytes: number): (bytes: number) => void {
    if (this.held + bytes > HELD_BYTES_MAX) {
      this.deps.metrics.scans.inc({ outcome: "refused" });
      throw busy(`requests and answers of more than ${HELD_BYTES_MAX} bytes are here already`);
    }
    let mine = bytes;
    this.held += mine;
    return (now) => {
      this.held += now - mine;
      mine = now;
    };
  }

  /**
   * Scans what `body` asks for, until it is done, its time is up, or `signal` is aborted: then within a block. Gives a frame. Errors:
   * `bad_scan_request`, `querier_version`, `querier_busy`, `query_cancelled`, `query_timeout`, and those of the executor.
   */
  async run(body: Buffer, signal: AbortSignal): Promise<Buffer> {
    let outcome = "failed";
    try {
      const request = decodeScanRequest(body);
      const { version } = this.deps;
      if (request.version !== version) {
        throw new WeirError("querier_version", `request to scan: got version ${request.version}, want ${version}`);
      }
      if (this.running >= SCANS_MAX) {
        throw busy(`${SCANS_MAX} batches are here already`);
      }
      const frame = await this.scan(request, signal);
      outcome = "done";
      return frame;
    } finally {
      this.deps.metrics.scans.inc({ outcome: signal.aborted ? "cancelled" : outcome });
    }
  }

  private async scan({ job: asked, boundNs, timeoutMs, blocks }: ScanRequest, signal: AbortSignal): Promise<Buffer> {
    const { executor } = this.deps;
    const control = ScanControl.create(asked.backward);
    if (boundNs !== null) control.bound(BigInt.asIntN(64, boundNs));
    const endsAtMs = performance.now() + timeoutMs;
    const job = { ...asked, id: nextJobId(), endsAtMs, control: control.memory };
    let ended: WeirError | null = null;
    const stop = (why: WeirError) => {
      ended ??= why;
      control.stop();
      executor.stop(job);
      executor.end(job); // A batch that waits is given back; one that doesn't end is known to be stuck.
    };
    const onLeave = () => stop(new WeirError("query_cancelled", "the querier that asked has gone"));
    const onLate = () => stop(new WeirError("query_timeout", `the batch was not done within ${timeoutMs} ms`));
    const timer = setTimeout(onLate, timeoutMs).unref();
    signal.addEventListener("abort", onLeave, { once: true });
    if (signal.aborted) onLeave();
    this.running++;
    try {
      const result = await executor.run(job, blocks);
      // What a stopped scan has found is not all there is.
      if (ended !== null) throw ended as WeirError;
      return encodeResult(result);
    } finally {
      this.running--;
      clearTimeout(timer);
      signal.removeEventListener("abort", onLeave);
      executor.end(job);
    }
  }
}

function busy(why: string): WeirError {
  return new WeirError("querier_busy", `${why}; try again`, { retriable: true });
}
