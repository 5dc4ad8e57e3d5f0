import { constants } from "node:os";

/**
 * Resolves at the first SIGTERM, SIGINT, or SIGHUP, which a terminal that is closed sends. The second ends the process at once, but
 * for a SIGHUP: of those a closed terminal sends several. To be asked for before anyone can be told that the process runs: a signal
 * that comes at once has to find somebody.
 */
export function firstSignal(): Promise<void> {
  let isStopping = false;
  return new Promise((resolve) => {
    const onSignal = (signal: NodeJS.Signals) => {
      if (isStopping && signal !== "SIGHUP") process.exit(128 + constants.signals[signal]);
      isStopping = true;
      resolve();
    };
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, onSignal);
  });
}
