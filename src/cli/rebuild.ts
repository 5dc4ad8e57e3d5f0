import type { Command } from "commander";
import { type CliIo, type Output, runCommand } from "./io.ts";
import { count } from "./progress.ts";
import { CONFIG_HELP, STORE_ARGUMENT, type StoreFlags, withStore } from "./store-url.ts";

interface Flags extends StoreFlags {
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

/** `weir rebuild`: a new catalog from the segments alone. */
export function register(program: Command, io: CliIo): void {
  program
    .command("rebuild")
    .summary("rebuild a store's catalog from its segments")
    .description(
      "Makes a new catalog out of what the segments say of themselves, when the catalog is damaged or gone. Stop everything that uses the store first.",
    )
    .argument("<url>", STORE_ARGUMENT)
    .option("--dry-run", "say what would be done, and change nothing")
    .option("--force", "go on although something was written to the store a moment ago")
    .option("--config <file>", CONFIG_HELP)
    .action((url: string, flags: Flags) => runCommand(io, (out) => rebuild(url, flags, io, out)));
}

async function rebuild(url: string, flags: Flags, io: CliIo, out: Output): Promise<void> {
  const { rebuildCatalog } = await import("../store/rebuild.ts");
  const { dryRun = false, force = false } = flags;
  const report = await withStore(url, flags, io, dryRun, (objects) =>
    rebuildCatalog(objects, { dryRun, force, now: Date.now }),
  );
  const { damaged, entries, leftOut } = report;
  for (const line of damaged) await out.write(`damaged    ${line}\n`);
  for (const line of entries) await out.write(`${dryRun ? "in the way" : "removed   "} ${line}\n`);
  await out.write(
    `segments   ${count(report.segments)} of ${count(report.found)}, ${count(report.lines)} lines; ${count(leftOut.length)} left out (replaced, or never committed), ${count(damaged.length)} damaged\n`,
  );
  await out.write(
    report.root === null
      ? "nothing was changed\n"
      : `catalog    ${report.root}, ${count(report.pages)} pages; what was left out is deleted after the compactor's grace time\n`,
  );
  if (damaged.length > 0) io.exitCode = 1;
}
