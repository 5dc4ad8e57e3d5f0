import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import type { Command } from "commander";
import { createLogger } from "../core/log.ts";
import { Metrics } from "../core/metrics.ts";
import type { RecordSink } from "../core/sink.ts";
import { formatRfc3339, joinNs } from "../core/time.ts";
import type { DeadLetterBox, Letter, LetterFilter } from "../roles/dead-letter-box.ts";
import type { DeliveryOptions } from "../roles/sink-options.ts";
import { loadPipeline, type PipelineFile } from "./check.ts";
import { visible } from "./entry-output.ts";
import { type CliIo, type Output, runCommand, usageError } from "./io.ts";
import { wholeNumber } from "./numbers.ts";
import { count, size } from "./progress.ts";
import { DEFAULT_DATA, environmentOverrides } from "./settings.ts";
import { CONFIG_HELP, STORE_ARGUMENT, type StoreFlags, withStore } from "./store-url.ts";
import { durationMs } from "./times.ts";

interface ChoiceFlags extends StoreFlags {
  readonly sink?: string;
  readonly tenant?: string;
  readonly reason?: string;
  readonly olderThan?: string;
}

interface ShowFlags extends ChoiceFlags {
  readonly limit: string;
  readonly output: string;
}

interface ReplayFlags {
  readonly sink: string;
  readonly limit?: string;
  readonly data?: string;
  readonly store?: string;
}

const DETAILS = `
Dead letters are records that a sink's destination has refused for good: they wait in the store, below dead/, with the
reason, until somebody replays or drops them. All of these commands may run while a Weir uses the store.

Examples:
  weir dead list data/store
  weir dead show data/store --sink search --limit 5
  weir dead replay pipeline.yaml --sink search --data data
  weir dead drop data/store --sink search --older-than 30d`;

const SHOWN_BYTES_MAX = 2000;
const REASON_CHARS_MAX = 160;

/** `weir dead`: what sinks refused. */
export function register(program: Command, io: CliIo): void {
  const dead = program
    .command("dead")
    .summary("look at what sinks refused, send it again, or drop it")
    .description("Looks at the records that sinks refused for good, sends them again, or drops them.")
    .addHelpText("after", DETAILS);
  chosen(dead.command("list").description("count dead letters by sink, tenant and reason"))
    .argument("<url>", STORE_ARGUMENT)
    .action((url: string, flags: ChoiceFlags) => runCommand(io, (out) => list(url, flags, io, out)));
  chosen(dead.command("show").description("print dead letters"))
    .argument("<url>", STORE_ARGUMENT)
    .option("--limit <count>", "letters at most", "20")
    .option("-o, --output <form>", "text, or json: one object a line with everything there is", "text")
    .action((url: string, flags: ShowFlags) => runCommand(io, (out) => show(url, flags, io, out)));
  dead
    .command("replay")
    .description("send a sink's dead letters again, as the pipeline file has the sink; those that it takes are removed")
    .argument("<pipeline>", "pipeline file")
    .requiredOption("--sink <name>", "the sink's name in the pipeline file")
    .option("--limit <count>", "records at most")
    .option("--data <dir>", `folder of the Weir (env: WEIR_DATA; default: ${DEFAULT_DATA})`)
    .option("--store <url>", "where segments are kept (env: WEIR_STORE; default: store in that folder)")
    .action((file: string, flags: ReplayFlags) => runCommand(io, (out) => replay(file, flags, io, out)));
  chosen(dead.command("drop").description("remove dead letters for good"))
    .argument("<url>", STORE_ARGUMENT)
    .option("--all", "all that is there, where nothing else says which")
    .action((url: string, flags: ChoiceFlags & { all?: boolean }) =>
      runCommand(io, (out) => drop(url, flags, io, out)),
    );
}

function chosen(command: Command): Command {
  return command
    .option("--sink <name>", "only those of this sink")
    .option("--tenant <name>", "only those of this tenant")
    .option("--reason <text>", "only those with this in the reason")
    .option("--older-than <duration>", "only those refused longer ago than that: 30d, 12h, …")
    .option("--config <file>", CONFIG_HELP);
}

function filterOf({ sink, tenant, reason, olderThan }: ChoiceFlags): LetterFilter {
  return {
    ...(sink === undefined ? {} : { sink }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(reason === undefined ? {} : { reason }),
    ...(olderThan === undefined ? {} : { beforeMs: Date.now() - durationMs("--older-than", olderThan) }),
  };
}

/** Opens the dead letters of a store for `work`. */
function withBox<T>(
  url: string,
  flags: StoreFlags,
  io: CliIo,
  isReading: boolean,
  work: (box: DeadLetterBox) => Promise<T>,
): Promise<T> {
  return withStore(url, flags, io, isReading, async (objects) => {
    // Loaded here alone: the other commands need nothing of the store.
    const { DeadLetterBox: Box } = await import("../roles/dead-letter-box.ts");
    return work(await Box.open(objects, createLogger("warn")));
  });
}

interface Group {
  letters: number;
  bytes: number;
  firstMs: number;
  lastMs: number;
  readonly sink: string;
  readonly tenant: string;
  /** One of the reasons; they are the same but for digits. */
  readonly reason: string;
}

async function list(url: string, flags: ChoiceFlags, io: CliIo, out: Output): Promise<void> {
  const groups = new Map<string, Group>();
  await withBox(url, flags, io, true, async (box) => {
    for await (const { sink, reason, atMs, record } of box.letters(filterOf(flags))) {
      const key = JSON.stringify([sink, record.tenant, reason.replace(/\d+/g, "0")]);
      const group = groups.get(key) ?? {
        letters: 0,
        bytes: 0,
        firstMs: atMs,
        lastMs: atMs,
        sink,
        tenant: record.tenant,
        reason,
      };
      group.letters++;
      group.bytes += record.line.length;
      group.firstMs = Math.min(group.firstMs, atMs);
      group.lastMs = Math.max(group.lastMs, atMs);
      groups.set(key, group);
    }
  });
  if (groups.size === 0) return out.write("no dead letters\n");
  for (const group of [...groups.values()].sort((a, b) => b.letters - a.letters)) {
    const { sink, tenant, letters, bytes, firstMs, lastMs } = group;
    const times = `${isoOf(firstMs)} to ${isoOf(lastMs)}`;
    const text = `${sink}  ${tenant}  ${count(letters)} letters, ${size(bytes)}, ${times}\n    ${cut(group.reason, REASON_CHARS_MAX)}\n`;
    await out.write(io.isTTY.stdout ? visible(text) : text);
  }
}

async function show(url: string, flags: ShowFlags, io: CliIo, out: Output): Promise<void> {
  const limit = wholeNumber("--limit", flags.limit);
  if (flags.output !== "text" && flags.output !== "json") {
    throw usageError(`--output: got ${JSON.stringify(flags.output)}, want text or json`);
  }
  // What a record says, and a destination, is for reading: a terminal is not to obey it.
  const shown = io.isTTY.stdout ? visible : (text: string) => text;
  const print = flags.output === "json" ? asJson : (letter: Letter) => shown(asText(letter));
  await withBox(url, flags, io, true, async (box) => {
    let printed = 0;
    if (limit === 0) return;
    for await (const letter of box.letters(filterOf(flags))) {
      await out.write(print(letter));
      if (++printed >= limit || out.signal.aborted) break;
    }
  });
}

function asText({ sink, reason, atMs, record }: Letter): string {
  const { id, tenant, sec, nsec, canonical, line } = record;
  const shown =
    line.length > SHOWN_BYTES_MAX ? `${line.toString("utf8", 0, SHOWN_BYTES_MAX)}… (${size(line.length)})` : line;
  const time = formatRfc3339(joinNs(sec, nsec));
  return `${id}  ${sink}  ${tenant}  refused ${isoOf(atMs)}: ${reason}\n    ${time}  ${canonical}\n    ${shown}\n`;
}

function asJson({ sink, reason, atMs, record }: Letter): string {
  const { id, tenant, sec, nsec, labels, metadata, line, json } = record;
  const time = formatRfc3339(joinNs(sec, nsec));
  const whole = json === "" ? {} : { record: JSON.parse(json) as unknown };
  const letter = { id, sink, tenant, reason, refused: isoOf(atMs), time, labels, metadata, line: line.toString() };
  return `${JSON.stringify({ ...letter, ...whole })}\n`;
}

async function drop(url: string, flags: ChoiceFlags & { all?: boolean }, io: CliIo, out: Output): Promise<void> {
  const filter = filterOf(flags);
  if (Object.keys(filter).length === 0 && flags.all !== true) {
    throw usageError("say which: --sink, --tenant, --reason, --older-than, or --all");
  }
  const dropped = await withBox(url, flags, io, false, (box) => box.remove(filter));
  await out.write(`${count(dropped)} dead letters dropped\n`);
}

async function replay(file: string, flags: ReplayFlags, io: CliIo, out: Output): Promise<void> {
  const config = await loadPipeline(file, { env: io.env, overrides: environmentOverrides(io.env, "s3") });
  const data = flags.data ?? io.env.WEIR_DATA ?? DEFAULT_DATA;
  const url = flags.store ?? io.env.WEIR_STORE ?? path.join(data, "store");
  const limit = flags.limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber("--limit", flags.limit);
  const stop = new AbortController();
  const stopListening = io.onInterrupt(() => stop.abort());
  // What a sink notes of its own belongs to the Weir that runs.
  const folder = await mkdtemp(path.join(os.tmpdir(), "weir-replay-"));
  try {
    const { sink, delivery } = await openSink(config, flags.sink, folder);
    try {
      const report = await withBox(url, { config: file }, io, false, (box) =>
        box.replay(flags.sink, sink, {
          limit,
          bounds: { records: delivery.batch_records_max, bytes: delivery.batch_bytes_max },
          signal: stop.signal,
        }),
      );
      const { taken, refused, later, reason, trouble } = report;
      await out.write(
        `${count(taken)} taken and removed, ${count(refused)} refused again, ${count(later)} not taken now\n`,
      );
      if (refused > 0) await out.write(`    refused: ${cut(reason, REASON_CHARS_MAX)}\n`);
      if (trouble !== null) await out.write(`    ended early: ${cut(trouble, REASON_CHARS_MAX)}\n`);
      if (refused > 0 || trouble !== null) io.exitCode = 1;
    } finally {
      await sink.close();
    }
  } finally {
    stopListening();
    await rm(folder, { recursive: true, force: true });
  }
}

async function openSink(
  config: PipelineFile,
  name: string,
  folder: string,
): Promise<{ sink: RecordSink; delivery: DeliveryOptions }> {
  const [{ recordSinksOf }, { splitOptions }, { connectForward }] = await Promise.all([
    import("../roles/sink-specs.ts"),
    import("../roles/record-sinks.ts"),
    import("../roles/connect-forward.ts"),
  ]);
  const sinks = recordSinksOf(config.sinks);
  const found = sinks.find((sink) => sink.name === name);
  if (found === undefined) {
    const names = sinks.map((sink) => sink.name).join(", ") || "none";
    throw usageError(
      `--sink: the pipeline file has no sink ${JSON.stringify(name)} that sends records on; it has ${names}`,
    );
  }
  if (found.spec.name === "prometheus") {
    throw usageError(`--sink: ${name} counts within the Weir that runs; what is counted here, nobody could scrape`);
  }
  const { own, delivery } = splitOptions(found.options);
  const log = createLogger("warn");
  return {
    sink: found.spec.open(own, { name, folder, connectForward, metrics: new Metrics(), log, now: Date.now }),
    delivery,
  };
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}

function cut(text: string, chars: number): string {
  return text.length > chars ? `${text.slice(0, chars)}…` : text;
}
