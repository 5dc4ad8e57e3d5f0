import { type Entry, ERROR_DETAILS_LABEL, ERROR_LABEL } from "../stages/entry.ts";
import { compileLabelFilter, compileValue } from "../stages/label-filter.ts";
import { plainNumber } from "../stages/plain-number.ts";
import type { Unwrap } from "../syntax/ast.ts";
import { formatFilter } from "../syntax/print.ts";
import {
  goDurationError,
  goFloatError,
  goSeconds,
  parseByteSize,
  parseGoDuration,
  parseGoFloat,
} from "../syntax/units.ts";

const SAMPLE_ERROR = "SampleExtractionErr";

/**
 * The value of the entry's line by `| unwrap`, after its filters; null when the label is absent or empty, or a filter drops it. A value that does not convert is 0 with an error, which the filters see.
 */
export function compileUnwrap(unwrap: Unwrap, entry: Entry): () => number | null {
  const value = compileValue(entry, unwrap.label);
  const convert = CONVERSIONS[unwrap.conversion];
  const filters = unwrap.filters.map((filter) => compileLabelFilter(filter, entry, `| ${formatFilter(filter)}`));
  // Names of errors are not those of labels.
  const isLabel = unwrap.label !== ERROR_LABEL && unwrap.label !== ERROR_DETAILS_LABEL;
  const id = isLabel && unwrap.conversion === "" ? entry.reserve(unwrap.label) : -1;
  return () => {
    entry.loadLabels();
    // Most values are plain numbers, which are read without making a text.
    let converted: ReturnType<Convert> = id === -1 ? Number.NaN : entry.plainNumber(id);
    if (Number.isNaN(converted)) {
      const text = value();
      if (text === undefined || text === "") return null;
      converted = convert(text);
    }
    if (typeof converted !== "number") entry.fail(SAMPLE_ERROR, converted.error);
    for (const filter of filters) if (!filter(entry)) return null;
    return typeof converted === "number" ? converted : 0;
  };
}

type Convert = (text: string) => number | { readonly error: string };

const duration: Convert = (text) => {
  const ns = parseGoDuration(text);
  return ns === null ? { error: goDurationError(text) } : goSeconds(ns);
};

const CONVERSIONS: Readonly<Record<Unwrap["conversion"], Convert>> = {
  "": (text) => {
    const plain = plainNumber(text);
    return Number.isNaN(plain) ? (parseGoFloat(text) ?? { error: goFloatError(text) }) : plain;
  },
  bytes: (text) => {
    const size = parseByteSize(text);
    return "error" in size ? size : size.bytes;
  },
  duration,
  duration_seconds: duration,
};
