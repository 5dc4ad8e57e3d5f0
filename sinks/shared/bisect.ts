import { WeirError } from "../../src/core/errors.ts";
import type { Refused, SinkRecord, WriteResult } from "../../src/core/sink.ts";
import { ALL_TAKEN } from "../../src/core/sink.ts";

/**
 * What the destination said to some records as a whole: taken, but for those that it names (places in what was sent), or refused with
 * a reason for at least one of them. `final`: it is not to be asked again, so all of them count as refused.
 */
export type Verdict =
  | { readonly taken: true; readonly but?: readonly Refused[] }
  | { readonly taken: false; readonly reason: string; readonly final?: boolean };

/**
 * Sends a batch as a whole, and when it is refused in halves, and so on, until each refused record stands alone: so one bad
 * record costs about twice log2 of the batch more requests, and no good one is lost with it. Rejects with what `send` rejects
 * with as long as nothing was taken; after that what is left comes later, and what was taken is not sent again.
 */
export async function sendInHalves<T = SinkRecord>(
  batch: readonly T[],
  send: (part: readonly T[]) => Promise<Verdict>,
): Promise<WriteResult> {
  const failed: Refused[] = [];
  let hasTaken = false;
  // Places [start, end), the next one last.
  const todo: [start: number, end: number][] = batch.length === 0 ? [] : [[0, batch.length]];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const [start, end] = next;
    let verdict: Verdict;
    try {
      verdict = await send(start === 0 && end === batch.length ? batch : batch.slice(start, end));
    } catch (error) {
      const rest = [next, ...todo].flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i));
      return { failed: [...failed, ...sentLater(rest, error, hasTaken)] };
    }
    if (verdict.taken) {
      hasTaken = true;
      for (const one of verdict.but ?? []) failed.push({ ...one, position: start + one.position });
    } else if (end - start === 1 || verdict.final === true) {
      for (let position = start; position < end; position++) {
        failed.push({ position, reason: verdict.reason, retriable: false });
      }
    } else {
      const middle = (start + end) >>> 1;
      todo.push([middle, end], [start, middle]);
    }
  }
  return failed.length === 0 ? ALL_TAKEN : { failed };
}

/**
 * What becomes of records that were not taken because of an error, when others of their batch were (`hasTaken`): they come again, alone.
 * Throws the error where nothing was taken, and one that says nothing of the destination.
 */
export function sentLater(positions: readonly number[], error: unknown, hasTaken: boolean): Refused[] {
  if (!hasTaken || !(error instanceof WeirError) || !error.retriable) throw error;
  return positions.map((position) => ({ position, reason: error.message, retriable: true }));
}
