import type { RecordContext } from "./context.ts";
import { findPath, isMap } from "./find.ts";
import { valueText } from "./json.ts";
import { levelOfLine } from "./level.ts";
import { fieldLevel, LEVEL_NAMES, levelRank, normalLevel, severityLevel } from "./level-names.ts";
import { fieldText, isFields } from "./parsed.ts";
import { readValue, type ValueSource } from "./value-source.ts";

const SEVERITY_NUMBER = [Buffer.from("otlp"), Buffer.from("severity_number")];
const SEVERITY_TEXT = [Buffer.from("otlp"), Buffer.from("severity_text")];

/**
 * Finds a record's level by everything but labels and configured metadata, which count more: OTLP's severity, then the
 * fields of the record that name a level, then the line. Loki sees no fields; a field whose text is no level changes nothing.
 */
export class LevelFinder {
  private readonly source: ValueSource | null;
  private readonly layers: number;

  /** `source`: configured fields; null for the usual names, in the record and in what the first `layers` parsers found. */
  constructor(source: ValueSource | null, layers: number) {
    this.source = source;
    this.layers = layers;
  }

  find(record: RecordContext): string {
    if (record.metadataEnd - record.metadataStart > 1) {
      const text = metadataText(record, SEVERITY_TEXT);
      if (text !== "") return normalLevel(text);
      const number = metadataText(record, SEVERITY_NUMBER);
      if (number !== "") return severityLevel(number);
    }
    const field = this.source === null ? this.usualField(record) : readValue(this.source, record);
    const level = field === "" ? "" : fieldLevel(field);
    return level !== "" ? level : levelOfLine(record.lineBytes, record.lineStart, record.lineEnd, record.scan);
  }

  private usualField(record: RecordContext): string {
    for (let i = this.layers - 1; i >= 0; i--) {
      const fields = record.parsed[i];
      if (fields === null || fields === undefined) continue;
      const name = LEVEL_NAMES.find((candidate) => Object.hasOwn(fields, candidate));
      const value = name === undefined ? null : fields[name];
      if (value !== null && !isFields(value) && !Array.isArray(value)) return fieldText(value);
    }
    const { bytes, levelField, recordEnd } = record;
    return levelField === -1 || isMap(bytes[levelField]) ? "" : valueText(bytes, levelField, recordEnd);
  }
}

/** The rank of a top-level field as a level by its name: less is more, -1 is none. */
export function fieldRank(name: string | null): number {
  return name === null || name === "detected_level" ? -1 : levelRank(name);
}

function metadataText({ bytes, metadataStart, metadataEnd }: RecordContext, path: readonly Buffer[]): string {
  const at = findPath(bytes, metadataStart, metadataEnd, path);
  return at === -1 ? "" : valueText(bytes, at, metadataEnd);
}
