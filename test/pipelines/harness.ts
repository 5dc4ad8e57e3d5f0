import { readFileSync } from "node:fs";
import { encode } from "@msgpack/msgpack";
import { parsers } from "../../parsers/index.ts";
import { registries } from "../../src/cli/registries.ts";
import { type LoadOptions, loadConfig } from "../../src/config/load.ts";
import { ENTRY_FORWARD, type IntakeEntry } from "../../src/core/intake-entry.ts";
import { formatLabels } from "../../src/core/labels.ts";
import { ID_ABSENT, ID_NAMES, type Line, type LineSink } from "../../src/core/line.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { compilePipelines } from "../../src/pipeline/compile.ts";
import { pipelinesWithout } from "../../src/roles/record-sinks.ts";
import { recordSinksOf } from "../../src/roles/sink-specs.ts";

/** A line as it reaches the sink. */
export interface Stored {
  readonly labels: string;
  readonly line: string;
  readonly sec: number;
  readonly metadata: Record<string, string>;
}

export function loadFile(name: string, options: LoadOptions = {}) {
  const path = `pipelines/${name}`;
  return loadConfig(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"), path, registries, options);
}

/** Runs forward messages through a pipeline file and gives what its store would get. */
export function runFile(name: string, messages: readonly Buffer[], options: LoadOptions = {}): Stored[] {
  return runConfig(loadFile(name, options), messages);
}

export function runConfig(config: ReturnType<typeof loadFile>, messages: readonly Buffer[]): Stored[] {
  const stored: Stored[] = [];
  const store: LineSink = {
    stream: (tenant, labels, canonical) => ({ tenant, labels, canonical }),
    append: (stream, line) => stored.push(toStored(formatLabels(stream.labels), line)),
  };
  const { limits } = config.sections;
  const metrics = new Metrics();
  const pipelines = compilePipelines(pipelinesWithout(recordSinksOf(config.sinks), config.pipelines), {
    parsers,
    sinks: { store },
    metrics,
    log: silentLogger,
    limits,
  });
  for (const [offset, payload] of messages.entries()) {
    const source = config.receivers[0]?.name ?? "";
    const entry: IntakeEntry = { kind: ENTRY_FORWARD, tenant: "fake", source, receivedMs: 0, payload, offset };
    const run = pipelines.begin(entry);
    while (run.step(1000));
  }
  return stored;
}

function toStored(labels: string, line: Line): Stored {
  const metadata: Record<string, string> = Object.fromEntries(line.shared.pairs);
  for (let i = 0; i < line.extraCount; i++) metadata[line.extraNames[i]!] = line.extraValues[i]!;
  if (line.level !== "") metadata.detected_level = line.level;
  for (const [slot, name] of ID_NAMES.entries()) {
    if (line.idAt[slot] === ID_ABSENT) continue;
    const length = name.endsWith("span_id") ? 8 : 16;
    metadata[name] = Buffer.from(line.ids.subarray(slot * 16, slot * 16 + length)).toString("hex");
  }
  return { labels, line: line.bytes.toString("utf8", line.start, line.end), sec: line.sec, metadata };
}

/** A message in forward mode. */
export function message(tag: string, ...records: Record<string, unknown>[]): Buffer {
  return Buffer.from(encode([tag, records.map((record) => [1_700_000_000, record])]));
}
