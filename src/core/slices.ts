import { setImmediate as nextTurn } from "node:timers/promises";

/** How long the main thread works on one thing before others get a turn. Receiving must not wait for more than 20 ms. */
const SLICE_MS = 4;

/** Cuts work on the main thread into slices. */
export class Slices {
  private since = performance.now();

  /** When the present slice should end, as `performance.now()` counts. */
  deadline(): number {
    return this.since + SLICE_MS;
  }

  /** Gives others a turn when the slice is used up. */
  async turn(): Promise<void> {
    if (performance.now() < this.deadline()) return;
    await nextTurn();
    this.since = performance.now();
  }
}
