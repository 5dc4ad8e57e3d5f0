import type { Command } from "commander";
import { isLog } from "../query/syntax/ast.ts";
import { QueryError } from "../query/syntax/errors.ts";
import { parseQuery } from "../query/syntax/parse.ts";
import { entryPrinter, OUTPUT_FORMS, OUTPUT_HELP, outputForm } from "./entry-output.ts";
import { explanationText } from "./explain-output.ts";
import { type CliIo, type Output, runCommand, usageError } from "./io.ts";
import {
  DEFAULT_URL,
  DIRECTIONS,
  type Direction,
  explainQuery,
  queryRange,
  querySamples,
  serverUrl,
} from "./loki-client.ts";
import { sampleLines } from "./metric-output.ts";
import { wholeNumber } from "./numbers.ts";
import { pagesOf } from "./paging.ts";
import { followQuery } from "./tail.ts";
import { DEFAULT_SINCE, timeRange } from "./times.ts";

interface QueryOptions {
  since?: string;
  from?: string;
  to?: string;
  limit: string;
  all?: boolean;
  direction: string;
  follow?: boolean;
  output: string;
  step?: string;
  explain?: boolean;
  url?: string;
  tenant?: string;
}

/** Lines that an explanation looks for when all are wanted: what one page of them is. */
const LIMIT_MAX = 1000;

const EXAMPLES = `
Examples:
  weir query '{app="web"} |= "503"' --since 15m
  weir query '{app="web"} | json | status >= 500' --from 2024-05-01T09:00:00Z --to 2024-05-01T10:00:00Z --all
  weir query '{namespace="shop"}' --output json | jq -r .metadata.trace_id
  weir query 'sum by (app) (count_over_time({namespace="shop"} |= "error" [5m]))' --since 2h --step 5m
  weir query '{namespace="shop"} | detected_level="error"' --explain`;

/** `weir query`: asks a running Weir (or any Loki) for lines, or for numbers made of them. */
export function register(program: Command, io: CliIo): void {
  program
    .command("query")
    .summary("ask a running weir for lines or numbers")
    .description("Prints the lines that a LogQL query finds, or the numbers that it counts.")
    .argument("<logql>", 'query, such as \'{app="web"} |= "503"\' or \'sum by (app) (rate({env="prod"}[5m]))\'')
    .option("--since <duration>", `how far back to look, such as 30m or 7d (default: ${DEFAULT_SINCE})`)
    .option("--from <time>", "where to begin: RFC 3339, a unix time, or relative such as -30m; inclusive")
    .option("--to <time>", "where to end, in the same forms; exclusive (default: now)")
    .option("-n, --limit <lines>", "most lines to print; 0 for all of them", "100")
    .option("--all", "the same as --limit 0")
    .option("--direction <direction>", `${DIRECTIONS.join(" or ")}: the newest lines first, or the oldest`, "backward")
    .option("-f, --follow", "print new lines as they arrive, like weir tail")
    .option("-o, --output <form>", `${OUTPUT_FORMS.join(", ")}: see below`, "text")
    .option("--step <duration>", "time between two values of a metric query (default: a 250th of the range)")
    .option("--explain", "print what is done for the query, instead of its answer")
    .option("--url <url>", `where weir listens for HTTP (env: WEIR_URL) (default: "${DEFAULT_URL}")`)
    .option("--tenant <id>", "whose logs, where the server tells tenants apart (env: WEIR_TENANT)")
    .addHelpText("after", OUTPUT_HELP + EXAMPLES)
    .action((logql: string, options: QueryOptions) =>
      runCommand(io, (out) =>
        options.follow === true ? follow(logql, options, io, out) : query(logql, options, io, out),
      ),
    );
}

async function query(logql: string, options: QueryOptions, io: CliIo, out: Output): Promise<void> {
  const base = serverUrl(options.url, io.env, options.tenant);
  const print = entryPrinter(outputForm(options.output), io.isTTY.stdout);
  const direction = directionOf(options.direction);
  const limit = options.all === true ? 0 : wholeNumber("--limit", options.limit);
  const range = timeRange(options, BigInt(Date.now()) * 1_000_000n);
  if (options.explain === true) {
    const wanted = { ...range, query: logql, step: options.step, direction, limit: limit === 0 ? LIMIT_MAX : limit };
    await out.write(explanationText(await explainQuery(base, wanted, out.signal)));
    return;
  }
  if (isMetric(logql)) {
    const { series, warnings } = await querySamples(base, { ...range, query: logql, step: options.step }, out.signal);
    for (const warning of warnings) io.stderr.write(`weir: ${warning}\n`);
    for (const line of sampleLines(series, outputForm(options.output))) await out.write(line);
    return;
  }
  if (options.step !== undefined) throw usageError("--step is for metric queries; this one gives lines");
  const warned = new Set<string>();
  const pages = pagesOf(
    { ...range, direction, limit: limit === 0 ? Number.POSITIVE_INFINITY : limit },
    async (page) => {
      const { entries, warnings } = await queryRange(base, { ...page, query: logql, direction }, out.signal);
      for (const warning of warnings) {
        // Each page may say the same again.
        if (!warned.has(warning)) io.stderr.write(`weir: ${warning}\n`);
        warned.add(warning);
      }
      return entries;
    },
  );
  for await (const page of pages) {
    for (const entry of page) await out.write(print(entry));
    if (out.signal.aborted) return;
  }
}

/** Whether the query gives numbers. What we can't read ourselves is left to the server, which may know more. */
function isMetric(logql: string): boolean {
  try {
    return !isLog(parseQuery(logql));
  } catch (error) {
    if (error instanceof QueryError) return false;
    throw error;
  }
}

async function follow(logql: string, options: QueryOptions, io: CliIo, out: Output): Promise<void> {
  for (const name of ["from", "to", "all"] as const) {
    if (options[name] !== undefined)
      throw usageError(`--follow has no use for --${name}; --since and --limit say what to print first`);
  }
  await followQuery(logql, { ...options, since: options.since ?? DEFAULT_SINCE }, io, out);
}

function directionOf(text: string): Direction {
  const direction = DIRECTIONS.find((name) => name === text.toLowerCase());
  if (direction === undefined) throw usageError(`--direction: got ${JSON.stringify(text)}, want backward or forward`);
  return direction;
}
