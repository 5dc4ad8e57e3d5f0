import type { Labels } from "../../../src/core/labels.ts";
import { type CompiledLog, compileLogText } from "../../../src/query/compile.ts";
import type { LabelClasses } from "../../../src/query/stages/entry.ts";

export interface RunOptions {
  stream?: Labels;
  metadata?: readonly (readonly [string, string])[];
  /** Go through the lines from the last to the first, as a backward scan does. */
  backward?: boolean;
}

export interface RunResult {
  line: string;
  labels: Labels;
  classes: LabelClasses;
  /** Which of the lines it was. */
  row: number;
}

/** When all lines of a test were written: 2023-11-14T22:13:20Z. */
export const TEST_SEC = 1_700_000_000;

/** Runs a query over lines that stand in one block, one after the other. */
export function runQuery(
  query: string | CompiledLog,
  lines: readonly (string | Buffer)[],
  options: RunOptions = {},
): RunResult[] {
  const { stream = { job: "w" }, metadata = [], backward = false } = options;
  const compiled = typeof query === "string" ? compileLogText(query) : query;
  const parts = lines.map((line) => (typeof line === "string" ? Buffer.from(line) : line));
  const text = Buffer.concat(parts.flatMap((part) => [part, Buffer.from("\n")]));
  const starts: number[] = [];
  let at = 0;
  for (const part of parts) {
    starts.push(at);
    at += part.length + 1;
  }
  const { entry } = compiled;
  entry.openBlock(text, stream, {
    metadata: () => metadata,
    metadataCodes: (names) => ({ count: 1, pairs: () => metadata.filter(([name]) => names.has(name)) }),
    sec: new Float64Array(lines.length).fill(TEST_SEC),
    nsec: new Uint32Array(lines.length),
  });
  const results: RunResult[] = [];
  for (let i = 0; i < parts.length; i++) {
    const row = backward ? parts.length - 1 - i : i;
    entry.openLine(starts[row], starts[row] + parts[row].length, row);
    if (!compiled.process()) continue;
    const labels = { ...entry.labels() };
    results.push({ line: entry.line.toString("utf8"), labels, classes: entry.labelClasses(), row });
  }
  return backward ? results.reverse() : results;
}

/** The lines that a query keeps, of the stream `{job="w"}`. */
export function keeps(pipeline: string, lines: readonly string[]): string[] {
  return runQuery(`{job="w"} ${pipeline}`, lines).map((result) => result.line);
}

/** The labels of each line that a query keeps, without those of the stream `{job="w"}`. */
export function labelsOf(pipeline: string, lines: readonly string[], options: RunOptions = {}): Labels[] {
  return runQuery(`{job="w"} ${pipeline}`, lines, options).map(({ labels }) => {
    const { job, ...rest } = labels;
    return job === "w" ? rest : labels;
  });
}
