export type Timer = NodeJS.Timeout;

/** Timers, handed in so that a test need not wait for a backoff. */
export interface Timers {
  set(act: () => void, delayMs: number): Timer;
  clear(timer: Timer): void;
}

export const realTimers: Timers = {
  set: (act, delayMs) => setTimeout(act, delayMs),
  clear: (timer) => clearTimeout(timer),
};
