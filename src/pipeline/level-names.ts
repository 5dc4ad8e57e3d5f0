/** The values that `detected_level` has as a rule; a label or metadata entry may bring any other text. */
export type Level = "trace" | "debug" | "info" | "warn" | "error" | "critical" | "fatal" | "unknown";
export const LEVEL_UNKNOWN = "unknown";

/** Words that say the level of a line in which nothing else does. */
export const LEVEL_WORDS: readonly (readonly [word: string, level: Level])[] = [
  ["trace", "trace"],
  ["debug", "debug"],
  ["fatal", "fatal"],
  ["critical", "critical"],
  ["error", "error"],
  ["err", "error"],
  ["warning", "warn"],
  ["warn", "warn"],
  ["info", "info"],
];

/** Names of labels, metadata entries and JSON fields that say the level, the first one first. Compared with case. */
export const LEVEL_NAMES: readonly string[] = [
  "level",
  "LEVEL",
  "Level",
  "log.level",
  "severity",
  "SEVERITY",
  "Severity",
  "SeverityText",
  "lvl",
  "LVL",
  "Lvl",
  "severity_text",
  "Severity_Text",
  "SEVERITY_TEXT",
];

/** A metadata entry's place in LEVEL_NAMES, 0 for `detected_level`, which comes before all; -1 for other names. */
export function levelRank(name: string): number {
  if (name === "detected_level") return 0;
  const at = LEVEL_NAMES.indexOf(name);
  return at === -1 ? -1 : at + 1;
}

const KNOWN: ReadonlyMap<string, Level> = new Map([
  ["trace", "trace"],
  ["trc", "trace"],
  ["debug", "debug"],
  ["dbg", "debug"],
  ["info", "info"],
  ["inf", "info"],
  ["information", "info"],
  ["warn", "warn"],
  ["wrn", "warn"],
  ["warning", "warn"],
  ["error", "error"],
  ["err", "error"],
  ["critical", "critical"],
  ["fatal", "fatal"],
]);

/** Known texts by their length, for bytes. */
const KNOWN_BYTES: readonly (readonly (readonly [text: Buffer, level: Level])[])[] = Array.from(
  { length: 12 },
  (_, length) =>
    [...KNOWN].filter(([text]) => text.length === length).map(([text, level]) => [Buffer.from(text), level] as const),
);

/** The level that bytes[at, end) name, whatever their case; "" for any other text. */
export function knownLevelAt(bytes: Uint8Array, at: number, end: number): Level | "" {
  const length = end - at;
  if (length < 3 || length > 11) return "";
  const known = KNOWN_BYTES[length];
  for (let i = 0; i < known.length; i++) {
    const text = known[i][0];
    let k = 0;
    // All are letters, so the bit of case maps nothing else onto them but upper case.
    while (k < length && (bytes[at + k] | 0x20) === text[k]) k++;
    if (k === length) return known[i][1];
  }
  return "";
}

/** The level that `text` names, whatever its case; "" for any other text. */
export function knownLevel(text: string): Level | "" {
  if (text.length < 3 || text.length > 11) return "";
  return KNOWN.get(text) ?? KNOWN.get(text.toLowerCase()) ?? "";
}

/** As Loki normalises the level of a label or a metadata entry: a known one by its name, any other text as it is. */
export function normalLevel(text: string): string {
  return knownLevel(text) || text;
}

/** The level of OTLP's `severity_number` in text form. */
export function severityLevel(text: string): Level {
  if (!/^[+-]?\d+$/.test(text)) return "info";
  const number = Number(text);
  if (number === 0 || number > 24) return "unknown";
  if (number <= 4) return "trace";
  if (number <= 8) return "debug";
  if (number <= 12) return "info";
  if (number <= 16) return "warn";
  return number <= 20 ? "error" : "fatal";
}

const PINO: readonly (Level | "")[] = ["", "trace", "debug", "info", "warn", "error", "fatal"];

/** The level of pino's and bunyan's numbers, 10 to 60; "" for any other number. */
export function pinoLevel(number: number): Level | "" {
  return PINO[number / 10] ?? "";
}

/** What loggers call their levels beside the known names (specs: "Severity"). */
const FIELD_WORDS: ReadonlyMap<string, Level> = new Map([
  ["notice", "info"],
  ["informational", "info"],
  ["verbose", "debug"],
  ["severe", "error"],
  ["crit", "critical"],
  ["alert", "fatal"],
  ["emerg", "fatal"],
  ["emergency", "fatal"],
  ["panic", "fatal"],
  ["i", "info"],
  ["w", "warn"],
  ["e", "error"],
  ["f", "fatal"],
]);

/**
 * The level of a record's own level field: known names, pino's numbers, and other loggers' words. Loki never sees such
 * fields, so nothing binds us to its shorter list here. "" for anything else.
 */
export function fieldLevel(text: string): Level | "" {
  if (/^\d\d$/.test(text)) return pinoLevel(Number(text));
  return knownLevel(text) || (FIELD_WORDS.get(text.toLowerCase()) ?? "");
}
