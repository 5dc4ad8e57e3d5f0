import type { Entry } from "../stages/entry.ts";
import { compileLabelFilter, compileValue } from "../stages/label-filter.ts";
import type { Unwrap } from "../syntax/ast.ts";
import { formatFilter } from "../syntax/print.ts";
import { goDurationError, goFloatError, parseByteSize, parseGoDuration, parseGoFloat } from "../syntax/units.ts";

const SAMPLE_ERROR = "SampleExtractionErr";

/**
 * The value of the entry's line by `| unwrap`, after its filters; null when the label is absent or empty, or a filter drops it. A value that does not convert is 0 with an error, which the filters see.
 */
export function compileUnwrap(unwrap: Unwrap, entry: Entry): () => number | null {
  const value = compileValue(entry, unwrap.label);
  const convert = CONVERSIONS[unwrap.conversion];
  const filters = unwrap.filters.map((filter) => compileLabelFilter(filter, entry, `| ${formatFilter(filter)}`));
  return () => {
    entry.loadLabels();
    const text = value();
    if (text === undefined || text === "") return null;
    const converted = convert(text);
    if (typeof converted !== "number") entry.fail(SAMPLE_ERROR, converted.error);
    for (const filter of filters) if (!filter(entry)) return null;
    return typeof converted === "number" ? converted : 0;
  };
}

type Convert = (text: string) => number | { readonly error: string };

const duration: Convert = (text) => {
  const ns = parseGoDuration(text);
  return ns === null ? { error: goDurationError(text) } : ns / 1e9;
};

const CONVERSIONS: Readonly<Record<Unwrap["conversion"], Convert>> = {
  "": (text) => plainNumber(text) ?? parseGoFloat(text) ?? { error: goFloatError(text) },
  bytes: (text) => {
    const size = parseByteSize(text);
    return "error" in size ? size : size.bytes;
  },
  duration,
  duration_seconds: duration,
};

/**
 * A number of up to 15 digits with at most one point, which is nearly every value there is; null for all else. Such numbers are
 * exact: the digits fit a double, and so does the power of ten that they are divided by.
 */
function plainNumber(text: string): number | null {
  if (text.length === 0 || text.length > 16) return null;
  let value = 0;
  let scale = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit >= 0 && digit <= 9) {
      value = value * 10 + digit;
      scale *= 10;
    } else if (digit === -2 && scale === 0 && i > 0 && i < text.length - 1) scale = 1;
    else return null;
  }
  if (text.length === 16 && scale === 0) return null;
  return scale === 0 ? value : value / scale;
}
