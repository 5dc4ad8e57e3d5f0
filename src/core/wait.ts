/** The longest that a timer may take; Node lets one that is longer end at once. */
export const TIMER_MS_MAX = 2 ** 31 - 1;

/** Waits `ms`, or until `signal` is aborted; never rejects. */
export function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    signal.addEventListener("abort", finish);
    if (signal.aborted) finish();
  });
}

/** Whether `work` ends, well or not, before `ms` have passed. Whoever began it hears of its error. */
export async function endsWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const ended = await Promise.race([
    work.then(
      () => true,
      () => true,
    ),
    new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), ms);
    }),
  ]);
  clearTimeout(timer);
  return ended;
}

/** Says how many of `ms` from now on are left, 0 at least. */
export function countdown(ms: number): () => number {
  const end = performance.now() + ms;
  return () => Math.max(0, end - performance.now());
}

/** What `work` gives, or a rejection as soon as the signal is aborted; `work` is then nobody's. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return await raceAbort(work, signal, () => {
    throw signal.reason;
  });
}

/** Resolves when `work` does, or as soon as the signal is aborted; `work` is then nobody's. Rejects as `work` does before. */
export async function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  await raceAbort(work, signal, () => {});
}

async function raceAbort<T>(work: Promise<T>, signal: AbortSignal, onAbort: () => T): Promise<T> {
  let stop = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    if (signal.aborted) stop();
    return await Promise.race([work, aborted.then(onAbort)]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
