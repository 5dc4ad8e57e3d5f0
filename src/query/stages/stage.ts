import type { Entry } from "./entry.ts";

/** One step on a line: false drops it. Made for one Entry, whose numbers of names it may remember. */
export type LineStage = (entry: Entry) => boolean;

export const JSON_ERROR = "JSONParserErr";
export const LOGFMT_ERROR = "LogfmtParserErr";
export const LABEL_FILTER_ERROR = "LabelFilterErr";
export const TEMPLATE_ERROR = "TemplateFormatErr";

/**
 * A text for a label: what could not be decoded becomes a space, as Loki does since Prometheus refuses U+FFFD.
 */
export function labelText(text: string): string {
  return text.includes("\ufffd") ? text.replaceAll("\ufffd", " ") : text;
}

/** Characters that a label name can't have become `_`; space around is trimmed. A leading digit is left alone. */
export function sanitizePart(key: string): string {
  return key.trim().replace(/[^A-Za-z0-9_]/gu, "_");
}
