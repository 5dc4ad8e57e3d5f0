/**
 * Resolves at the first SIGTERM or SIGINT; the second ends the process at once. To be asked for before anyone can be told that
 * the process runs: a signal that comes at once has to find somebody.
 */
export function firstSignal(): Promise<void> {
  let signals = 0;
  return new Promise((resolve) => {
    const onSignal = (signal: NodeJS.Signals) => {
      signals++;
      if (signals > 1) process.exit(signal === "SIGINT" ? 130 : 143);
      resolve();
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  });
}
