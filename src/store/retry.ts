import { WeirError } from "../core/errors.ts";

const FIRST_WAIT_MS = 100;
/** Long enough to leave a struggling store alone, short enough to notice soon that it is back. */
const LONGEST_WAIT_MS = 10_000;

export interface RetryDeps {
  /** Resolves after `ms`, or at once when `signal` is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** 0 to below 1. */
  readonly random: () => number;
  readonly onRetry: (error: WeirError, attempt: number, waitMs: number) => void;
}

/**
 * Calls `attempt` (with 0, 1, 2, …) until it succeeds or fails with an error that trying again cannot mend. Waits in
 * between twice as long each time, less a random part up to half, so that many workers do not come back at once.
 * Rejects with `aborted` as soon as `signal` is aborted while it waits.
 */
export async function retry<T>(
  attempt: (attempt: number) => Promise<T>,
  signal: AbortSignal,
  { sleep, random, onRetry }: RetryDeps,
): Promise<T> {
  for (let i = 0; ; i++) {
    if (signal.aborted) throw new WeirError("aborted", "the writer's uncommitted work was discarded");
    try {
      return await attempt(i);
    } catch (error) {
      if (!(error instanceof WeirError) || !error.retriable) throw error;
      const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** i) * (1 - random() / 2);
      onRetry(error, i, waitMs);
      await sleep(waitMs, signal);
    }
  }
}
