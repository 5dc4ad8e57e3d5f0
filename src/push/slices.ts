import { setImmediate as nextTurn } from "node:timers/promises";
import type { Sliced } from "./stream.ts";

/** How long a body may hold the event loop before others have a turn. */
const SLICE_MS = 5;

/** Runs a decoder to its end, in slices. */
export async function runSliced<T>(work: Sliced<T>): Promise<T> {
  let started = performance.now();
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    if (performance.now() - started < SLICE_MS) continue;
    await nextTurn();
    started = performance.now();
  }
}
