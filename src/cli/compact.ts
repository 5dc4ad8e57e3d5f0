import type { Command } from "commander";
import { createLogger } from "../core/log.ts";
import { Metrics } from "../core/metrics.ts";
import { loadPipeline } from "./check.ts";
import { type CliIo, runCommand } from "./io.ts";
import { environmentOverrides } from "./settings.ts";
import { firstSignal } from "./signals.ts";
import { mustBeThere, STORE_ARGUMENT } from "./store-url.ts";

interface Flags {
  readonly once?: boolean;
  readonly config?: string;
}

const DEFAULT_PIPELINE = "pipelines/quickstart.yaml";

/** `weir compact`: the compactor alone, for a store that other processes write. */
export function register(program: Command, io: CliIo): void {
  program
    .command("compact")
    .argument("<url>", STORE_ARGUMENT)
    .description("merge small segments of a store into large ones, and remove what has expired or was deleted")
    .option("--once", "do what is due, and end")
    .option("--config <file>", "pipeline file with the options: compactor, store, retention, s3", DEFAULT_PIPELINE)
    .action(async (url: string, flags: Flags) => {
      await runCommand(io, (out) => compact(url, flags, io, (text) => out.write(text)));
    });
}

async function compact(
  url: string,
  { once = false, config: file = DEFAULT_PIPELINE }: Flags,
  io: CliIo,
  print: (text: string) => Promise<void>,
): Promise<void> {
  const config = await loadPipeline(file, { env: io.env, overrides: environmentOverrides(io.env, "s3") });
  const log = createLogger(config.log_level);
  await mustBeThere(url);
  // Loaded here alone: the other commands need nothing of the store.
  const { openCompactor } = await import("../roles/compactor-alone.ts");
  const alone = await openCompactor(url, config.sections, { metrics: new Metrics(), log });
  try {
    if (once) {
      const { report, failure } = await alone.role.once();
      await print(
        `${report.merges} merges: ${report.segmentsIn} segments (${report.bytesIn} bytes) are ${report.segmentsOut} ` +
          `(${report.bytesOut} bytes) now; ${report.removedLines} lines removed, ${report.deleted} objects deleted\n`,
      );
      if (failure !== null) throw failure.error;
      return;
    }
    const signal = firstSignal();
    alone.role.start();
    await print(`Compacting ${url}. Stop with Ctrl-C: that is safe at any moment.\n`);
    await signal;
  } finally {
    await alone.close();
  }
}
