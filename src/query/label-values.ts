import { compileRegex } from "../codec/re2.ts";
import type { LabelValues } from "../store/view.ts";
import type { Matcher } from "./syntax/ast.ts";

/** Values of a list that are worth asking a filter for one by one. */
const VALUES_MAX = 256;
/** A list of texts as a dashboard's choice makes it: no character has a meaning of its own but `|`, or it is escaped. */
const LIST = /^(?:[^\\^$.|?*+()[\]{}]|\\[^A-Za-z0-9\s]|\|)+$/;

/**
 * What matchers say of labels' values, fit for ruling out segments: `=` and regular expressions that are lists of texts. The
 * others are left out, and so is what an absent label satisfies. Throws for a regular expression that does not compile.
 */
export function labelValues(matchers: readonly Matcher[]): LabelValues[] {
  return matchers.flatMap(({ name, op, value }) => {
    const values = op === "=" ? [value] : op === "=~" ? listOf(value) : null;
    return values === null || values.includes("") ? [] : [{ name, values }];
  });
}

function listOf(pattern: string): readonly string[] | null {
  if (LIST.test(pattern)) {
    const values = pattern.split("|").map((text) => text.replace(/\\(.)/gu, "$1"));
    if (!pattern.includes("\\|")) return values.length <= VALUES_MAX ? values : null;
  }
  return compileRegex(pattern, { anchored: true, dotAll: true }).choice;
}
