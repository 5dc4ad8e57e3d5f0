import type { Extraction, StageOf } from "../syntax/ast.ts";
import { stageError } from "../syntax/errors.ts";
import { AllFound } from "./all-found.ts";
import type { Entry } from "./entry.ts";
import { LogfmtScanner } from "./logfmt-scan.ts";
import { type LineStage, LOGFMT_ERROR, labelText, sanitizePart } from "./stage.ts";

/** Distinct keys that are remembered. */
const KEYS_MAX = 20_000;

/** A key that lines have had, as its text and the label that it becomes; id -1 for none. */
interface Key {
  readonly text: string;
  readonly id: number;
}

/**
 * `| logfmt [--strict] [--keep-empty] [a, b="key"]`. `wanted`, when given, says which names anybody will look at; `mayStop`: a
 * line need not be read further than to the last of these. `stage` is the stage's text for errors. Throws QueryError.
 */
export function compileLogfmt(
  { strict, keepEmpty, extractions }: StageOf<"logfmt">,
  entry: Entry,
  wanted: ReadonlySet<string> | null,
  mayStop: boolean,
  stage: string,
): LineStage {
  const reader = new LogfmtReader(entry, strict);
  if (extractions !== null) return compileExtract(extractions, reader, entry, stage);
  const keys = new KeyMemory(entry, wanted);
  const all = mayStop && wanted !== null ? new AllFound(entry, wanted) : null;
  return () => {
    entry.loadLabels();
    if (all?.isDone()) return true;
    keys.begin();
    reader.read((scan, text) => {
      const key = keys.find(text, scan.keyFrom, scan.keyTo);
      if (key.id === -1) return true;
      if (scan.valueTo === scan.valueFrom && !keepEmpty) return true;
      const value = scan.unescaped ?? text.slice(scan.valueFrom, scan.valueTo);
      if (value === "" && !keepEmpty) return true;
      entry.setParsed(key.id, labelText(value));
      return all === null || !all.isDone();
    });
    return true;
  };
}

/** Runs over the pairs of a line; malformed ones are skipped, or with `strict` end it with an error. */
class LogfmtReader {
  private readonly entry: Entry;
  private readonly strict: boolean;
  private readonly scan = new LogfmtScanner();

  constructor(entry: Entry, strict: boolean) {
    this.entry = entry;
    this.strict = strict;
  }

  /** Until `visit` gives false. */
  read(visit: (scan: LogfmtScanner, text: string) => boolean): void {
    const { scan } = this;
    const { text } = this.entry;
    scan.open(this.entry);
    for (;;) {
      const found = scan.next();
      if (found === "pair") {
        if (!visit(scan, text)) return;
      } else if (found === "end") return;
      else if (this.strict) {
        this.entry.fail(LOGFMT_ERROR, scan.error);
        return;
      }
    }
  }
}

/** Remembers keys, and in which order the last line had them, so that most are found by comparing in place. */
class KeyMemory {
  private readonly entry: Entry;
  private readonly wanted: ReadonlySet<string> | null;
  private readonly known = new Map<string, Key>();
  private readonly expected: Key[] = [];
  private index = 0;
  private generation: number;

  constructor(entry: Entry, wanted: ReadonlySet<string> | null) {
    this.entry = entry;
    this.wanted = wanted;
    this.generation = entry.generation;
  }

  begin(): void {
    this.index = 0;
    if (this.generation === this.entry.generation && this.known.size < KEYS_MAX) return;
    this.generation = this.entry.generation;
    this.known.clear();
    this.expected.length = 0;
  }

  find(text: string, from: number, to: number): Key {
    const index = this.index++;
    const guess = this.expected[index];
    if (guess?.text.length === to - from && text.startsWith(guess.text, from)) return guess;
    const raw = text.slice(from, to);
    const key = this.known.get(raw) ?? this.learn(raw);
    this.expected[index] = key;
    return key;
  }

  private learn(raw: string): Key {
    // A copy: a slice would keep the whole line alive.
    const text = Buffer.from(raw, "utf8").toString("utf8");
    const name = logfmtName(text);
    const useful =
      name !== "" && (this.wanted === null || this.wanted.has(name) || this.wanted.has(`${name}_extracted`));
    const key = { text, id: useful ? this.entry.id(name) : -1 };
    this.known.set(text, key);
    return key;
  }
}

/** The label name of a key; "" for one that has none. */
function logfmtName(key: string): string {
  const part = sanitizePart(key);
  return /^[0-9]/.test(part) ? `_${part}` : part;
}

/** Only those keys: absent ones become the empty text, and of equal ones the last counts. */
function compileExtract(
  extractions: readonly Extraction[],
  reader: LogfmtReader,
  entry: Entry,
  stage: string,
): LineStage {
  const targets = new Map<string, number[]>();
  const ids: number[] = [];
  for (const { name, path } of extractions) {
    const key = /^"(.*)"$/s.exec(path.trim())?.[1] ?? path.trim();
    if (!/^[^\s"=]+$/.test(key)) throw stageError(stage, `cannot parse expression [${path}]: syntax error`);
    const id = entry.reserve(name);
    targets.set(key, [...(targets.get(key) ?? []), id]);
    ids.push(id);
  }
  const values = new Map<number, string>();
  return () => {
    entry.loadLabels();
    values.clear();
    reader.read((scan, text) => {
      const raw = text.slice(scan.keyFrom, scan.keyTo);
      const found = targets.get(raw) ?? targets.get(logfmtName(raw));
      if (found === undefined) return true;
      const value = labelText(scan.unescaped ?? text.slice(scan.valueFrom, scan.valueTo));
      for (const id of found) values.set(id, value);
      return true;
    });
    for (const id of ids) {
      const value = values.get(id);
      if (value === undefined) entry.setMissing(id);
      else entry.setParsed(id, value);
    }
    return true;
  };
}
