import type { Command } from "commander";
import type { VerifyReport } from "../store/verify.ts";
import { type CliIo, type Output, runCommand } from "./io.ts";
import { count, size } from "./progress.ts";
import { CONFIG_HELP, STORE_ARGUMENT, type StoreFlags, withStore } from "./store-url.ts";

interface Flags extends StoreFlags {
  readonly indexOnly?: boolean;
  readonly leftovers?: boolean;
}

/** How often the progress is shown. */
const PROGRESS_EVERY_MS = 200;

/** `weir verify`: reads a whole store and checks every checksum in it. */
export function register(program: Command, io: CliIo): void {
  program
    .command("verify")
    .summary("check everything in a store")
    .description(
      "Reads a whole store and checks catalog, indexes and blocks; exit code 1 when something is wrong. Changes nothing, and may run while the store is in use.",
    )
    .argument("<url>", STORE_ARGUMENT)
    .option("--index-only", "do not read the lines: catalog and indexes alone, which is much quicker")
    .option("--leftovers", "list the objects that nothing names")
    .option("--config <file>", CONFIG_HELP)
    .action((url: string, flags: Flags) => runCommand(io, (out) => verify(url, flags, io, out)));
}

async function verify(url: string, flags: Flags, io: CliIo, out: Output): Promise<void> {
  const { verifyStore } = await import("../store/verify.ts");
  const problems: string[] = [];
  let shownMs = 0;
  const report = await withStore(url, flags, io, true, (objects) =>
    verifyStore(objects, {
      indexOnly: flags.indexOnly === true,
      onProblem: (problem) => problems.push(problem),
      onProgress: (done, of) => {
        if (!io.isTTY.stderr || performance.now() - shownMs < PROGRESS_EVERY_MS) return;
        shownMs = performance.now();
        io.stderr.write(`\r\x1b[K${count(done)} of ${count(of)} segments`);
      },
    }),
  );
  if (shownMs > 0) io.stderr.write("\r\x1b[K");
  for (const problem of problems) await out.write(`wrong      ${problem}\n`);
  for (const line of summary(report, flags)) await out.write(`${line}\n`);
  const isEmpty = report.root === 0 && report.entries === 0 && report.segments === 0;
  if (isEmpty) await out.write("nothing    is in this store; is its address right?\n");
  if (problems.length > 0 || isEmpty) io.exitCode = 1;
}

function summary(report: VerifyReport, { indexOnly = false, leftovers = false }: Flags): string[] {
  const checked = indexOnly ? "indexes read" : "read";
  const lines = [
    `catalog    root ${report.root}, ${count(report.pages)} pages, ${count(report.entries)} entries after it: ${count(report.named)} segments`,
    `segments   ${count(report.segments)} ${checked}: ${count(report.blocks)} blocks, ${count(report.lines)} lines, ${size(report.textBytes)} of text in ${size(report.bytes)}`,
    `leftovers  ${count(report.leftovers.length)} objects that nothing names, ${count(report.garbage)} that were replaced and wait for their end: ${size(report.leftoverBytes)}`,
  ];
  if (leftovers) lines.push(...report.leftovers.map((key) => `           ${key}`));
  lines.push(report.problems === 0 ? "ok" : `${count(report.problems)} things are wrong`);
  return lines;
}
