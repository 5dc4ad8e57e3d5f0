import type { Command } from "commander";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { joinNs } from "../core/time.ts";
import { compileSelector } from "../query/compile.ts";
import { LineQuery } from "../query/line-query.ts";
import { parseLogQuery } from "../query/syntax/parse.ts";
import type { StoredBlock } from "../store/block-view.ts";
import { walkSegmentFile } from "../store/walk.ts";
import { type Entry, entryPrinter, OUTPUT_FORMS, OUTPUT_HELP, outputForm } from "./entry-output.ts";
import { type CliIo, type Output, runCommand, usageError } from "./io.ts";

const DETAILS = `
Lines come file by file and stream by stream, each stream in order of time; with raw, byte for byte.
An argument that begins with { is the query: a selector, or a whole log query with filters and parsers.

Examples:
  weir cat data/store/segments/*/*/*.gz '{app="web"} |= "503"'
  weir cat SEGMENT.gz --output raw | sha256sum`;

/** `weir cat`: reads segment files without a server. */
export function register(program: Command, io: CliIo): void {
  program
    .command("cat")
    .summary("print the lines of segment files, with no server")
    .description("Prints the lines of segment files with their times and labels; no server is asked.")
    .usage("[options] <segment...> [logql]")
    .argument("<segments...>", "segment files, and at the end a log query")
    .option("-o, --output <form>", `${OUTPUT_FORMS.join(", ")}: see below`, "text")
    .addHelpText("after", OUTPUT_HELP + DETAILS)
    .action((args: string[], options: { output: string }) =>
      runCommand(io, (out) => cat(args, options.output, io, out)),
    );
}

async function cat(args: readonly string[], output: string, io: CliIo, out: Output): Promise<void> {
  const form = outputForm(output);
  const query = args.find((arg) => arg.trimStart().startsWith("{"));
  const files = args.filter((arg) => arg !== query);
  if (files.length === 0) throw usageError("no segment file is given, only a query");
  const print = entryPrinter(form, io.isTTY.stdout);
  const reader = new SegmentCat(query ?? "");
  for (const file of files) {
    for await (const entries of reader.entriesOf(file)) {
      for (const entry of entries) await out.write(print(entry));
      if (out.signal.aborted) return;
    }
  }
}

/** Reads segments with one query. */
class SegmentCat {
  private readonly wants: (labels: StoredBlock["labels"]) => boolean;
  private readonly query: LineQuery;

  /** `logql` may be "" for everything. Throws QueryError. */
  constructor(logql: string) {
    this.wants = logql === "" ? () => true : compileSelector(parseLogQuery(logql).matchers);
    this.query = new LineQuery(logql, true);
  }

  /**
   * The lines of a segment that the query finds, some at a time. The blocks of a stream stand together but may
   * overlap in time: those that do are held and put in order. Errors: `file_unreadable`, `segment_corrupt`, `block_corrupt`.
   */
  async *entriesOf(file: string): AsyncGenerator<Entry[]> {
    let held: Entry[] = [];
    let last: StoredBlock | null = null;
    let heldMaxNs = 0n;
    try {
      for await (const block of blocksOf(file)) {
        const follows = last === null || !sameStream(last, block) || block.timeMinNs >= heldMaxNs;
        if (follows) {
          yield held;
          held = [];
          heldMaxNs = 0n;
        }
        last = block;
        if (follows || block.timeMaxNs > heldMaxNs) heldMaxNs = block.timeMaxNs;
        const found = this.wants(block.labels) ? this.find(block) : [];
        held = follows ? found : mergeByTime(held, found);
      }
    } catch (error) {
      yield held; // What stands before the damage is good.
      throw error;
    }
    yield held;
  }

  private find(block: StoredBlock): Entry[] {
    const found: Entry[] = [];
    const judge = (row: number): boolean => {
      const judged = this.query.judge(block, row);
      if (judged !== null) {
        const detail = judged.detail === "" ? {} : (JSON.parse(judged.detail) as Detail);
        found.push({
          ns: joinNs(block.sec[row], block.nsec[row]),
          labels: JSON.parse(judged.group) as Entry["labels"],
          metadata: detail.structuredMetadata ?? {},
          parsed: detail.parsed ?? {},
          line: Buffer.from(judged.line.buffer, judged.line.byteOffset, judged.line.length),
        });
      }
      return true;
    };
    const { search } = this.query;
    if (search === null) for (let row = 0; row < block.rows; row++) judge(row);
    else search.eachRow(block.text, () => block.lineStarts, 0, block.rows, judge);
    return found;
  }
}

/** What a categorised answer says of a line beside its stream's labels. */
interface Detail {
  structuredMetadata?: Entry["metadata"];
  parsed?: Entry["parsed"];
}

async function* blocksOf(file: string): AsyncGenerator<StoredBlock> {
  try {
    for await (const part of walkSegmentFile(file)) if (part.kind === "block") yield part.block;
  } catch (error) {
    if (error instanceof WeirError) throw error;
    if (codeOf(error) === "") throw error; // A bug, not the system's refusal.
    throw new WeirError("file_unreadable", `cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function sameStream(a: StoredBlock, b: StoredBlock): boolean {
  return a.canonical === b.canonical && a.tenant === b.tenant;
}

/** Equal times keep their order: what stands earlier in the file arrived earlier. */
function mergeByTime(a: Entry[], b: Entry[]): Entry[] {
  return [...a, ...b].sort((x, y) => (x.ns === y.ns ? 0 : x.ns < y.ns ? -1 : 1));
}
