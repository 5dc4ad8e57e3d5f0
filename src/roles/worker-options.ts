import { z } from "zod";

/** More than any machine has cores for. */
export const WORKERS_MAX = 256;

/** The `workers:` part of the configuration: who takes received logs to the store. */
export const workerOptions = z.strictObject({
  threads: z
    .union([z.literal("auto"), z.int().min(0).max(WORKERS_MAX)])
    .default("auto")
    .describe(
      "Threads that take received logs through the pipelines to the store, each with a partition of the intake log; 0: none, the main thread does it. `auto`: one for each core but one, at least one, so that receiving and answering have a core of their own. The number may be another at each start.",
    ),
});

export type WorkerOptions = z.output<typeof workerOptions>;
