import type { Command } from "commander";
import { entryPrinter, OUTPUT_FORMS, OUTPUT_HELP, outputForm } from "./entry-output.ts";
import { type CliIo, type Output, runCommand } from "./io.ts";
import { DEFAULT_URL, serverUrl } from "./loki-client.ts";
import { wholeNumber } from "./numbers.ts";
import { followTail } from "./tail-client.ts";
import { DEFAULT_SINCE, timeRange } from "./times.ts";

export interface FollowOptions {
  readonly since: string;
  readonly limit: string;
  readonly output: string;
  readonly url?: string;
  readonly tenant?: string;
}

/** `weir tail`: prints lines as they arrive. */
export function register(program: Command, io: CliIo): void {
  program
    .command("tail")
    .summary("print lines as they arrive")
    .description("Prints the last lines that a LogQL query finds, then new ones as they arrive, until Ctrl-C.")
    .argument("<logql>", 'log query, such as \'{app="web"} |= "503"\'')
    .option("-n, --limit <lines>", "how many earlier lines to print first", "10")
    .option("--since <duration>", "how far back those may be", DEFAULT_SINCE)
    .option("-o, --output <form>", `${OUTPUT_FORMS.join(", ")}: see below`, "text")
    .option("--url <url>", `where weir listens for HTTP (env: WEIR_URL) (default: "${DEFAULT_URL}")`)
    .option("--tenant <id>", "whose logs, where the server tells tenants apart (env: WEIR_TENANT)")
    .addHelpText("after", OUTPUT_HELP)
    .action((logql: string, options: FollowOptions) => runCommand(io, (out) => followQuery(logql, options, io, out)));
}

/** Follows until Ctrl-C, which ends it with exit code 0, or until nobody reads the output any more. */
export async function followQuery(logql: string, options: FollowOptions, io: CliIo, out: Output): Promise<void> {
  const base = serverUrl(options.url, io.env, options.tenant);
  const print = entryPrinter(outputForm(options.output), io.isTTY.stdout);
  const limit = wholeNumber("--limit", options.limit);
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const { fromNs } = timeRange({ since: options.since }, nowNs);
  const interrupted = new AbortController();
  const forget = io.onInterrupt(() => interrupted.abort());
  try {
    await followTail(
      // The API knows no history of 0 lines, so none means one that begins now.
      { base, query: logql, startNs: limit === 0 ? nowNs : fromNs, limit: Math.max(1, limit) },
      {
        signal: AbortSignal.any([interrupted.signal, out.signal]),
        onNotice: (text) => io.stderr.write(`weir: ${text}\n`),
        onEntries: async (entries) => {
          for (const entry of entries) await out.write(print(entry));
        },
      },
    );
  } finally {
    forget();
  }
}
