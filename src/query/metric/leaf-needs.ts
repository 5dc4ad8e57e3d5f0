import { ID_NAMES } from "../../core/line.ts";
import { metadataNames } from "../column-filter.ts";
import { PRESERVE_ERROR_LABEL } from "../stages/entry.ts";
import { filterNames, type Needs } from "../stages/needs.ts";
import type { LogExpr, Stage } from "../syntax/ast.ts";
import type { Leaf } from "./plan-metric.ts";

/** 1, the bytes of the line, or what `unwrap` says. */
export type SampleValue = "one" | "bytes" | "unwrap";

/** What each sample's value is. */
export function sampleValueOf({ op, range }: Leaf): SampleValue {
  if (range.unwrap !== null) return "unwrap";
  return op === "bytes_over_time" || op === "bytes_rate" ? "bytes" : "one";
}

/** Stages that look at nothing but labels, and give the same for the same labels. */
export function isLabelOnly(stage: Stage): boolean {
  switch (stage.type) {
    case "label_filter":
    case "drop":
    case "keep":
      return true;
    case "label_format":
      return stage.formats.every((format) => "from" in format);
    default:
      return false;
  }
}

/** What is looked at of a line that has passed the stages. */
export function needsOfLeaf(leaf: Leaf): Needs {
  return needsOf(leaf, sampleValueOf(leaf));
}

/** Whether headers say all there is to know for a leaf, as LeafScan.headersOnly. */
export function isHeaderLeaf(leaf: Leaf): boolean {
  const needs = needsOfLeaf(leaf);
  const stages = telling(leaf.range.log.stages, needs);
  const names = labelNamesOf({ ...leaf.range.log, stages }, needs);
  const needsText = needs.line || !stages.every(isLabelOnly);
  return !needsText && names !== null && !ID_NAMES.some((name) => names.has(name));
}

export function needsOf({ op, grouping, range, text }: Leaf, value: SampleValue): Needs {
  const line = value === "bytes";
  // An absence is one value, but samples with errors are an error there too, so whatever can find one has to run.
  const looksForErrors = op === "absent_over_time" && range.log.stages.some(({ type }) => type !== "line_filter");
  if (looksForErrors || grouping === null || grouping.without) return { labels: null, line };
  const labels = new Set(grouping.labels);
  if (range.unwrap !== null) {
    labels.add(range.unwrap.label);
    for (const filter of range.unwrap.filters) for (const name of filterNames(filter)) labels.add(name);
  }
  // It is looked at with every error, once a stage that sets it is in the query.
  if (text.includes(PRESERVE_ERROR_LABEL)) labels.add(PRESERVE_ERROR_LABEL);
  return { labels, line };
}

/**
 * The stages without those that only find or remove labels, where nobody looks at labels: a parser none of whose labels is
 * needed does not run in Loki either, and what it would have failed on counts.
 */
export function telling(stages: readonly Stage[], { labels }: Needs): readonly Stage[] {
  if (
    labels === null ||
    labels.size > 0 ||
    !stages.every(({ type }) => type === "line_filter" || ONLY_LABELS.has(type))
  ) {
    return stages;
  }
  return stages.filter(({ type }) => type === "line_filter");
}

const ONLY_LABELS: ReadonlySet<Stage["type"]> = new Set<Stage["type"]>([
  "json",
  "logfmt",
  "regexp",
  "pattern",
  "drop",
  "keep",
]);

/** Names of metadata that are looked at by label stages and by whoever needs their labels; null for all. */
export function labelNamesOf({ stages }: LogExpr, { labels }: Needs): ReadonlySet<string> | null {
  if (labels === null) return null;
  const names = new Set(labels);
  for (const stage of stages) {
    if (stage.type === "label_filter") for (const name of filterNames(stage.filter)) names.add(name);
    else if (stage.type === "drop" || stage.type === "keep") {
      for (const item of stage.items) if (typeof item !== "string") names.add(item.name);
    } else if (stage.type === "label_format") {
      for (const format of stage.formats) if ("from" in format) names.add(format.from);
    }
  }
  return metadataNames(names);
}

/** The same where stages read labels out of lines, which is known only for stages that say what they look at. */
export function namesOf(needs: Needs, log: LogExpr): ReadonlySet<string> | null {
  const tellsNames = log.stages.every(
    (stage) =>
      stage.type === "line_filter" ||
      stage.type === "json" ||
      stage.type === "logfmt" ||
      stage.type === "regexp" ||
      stage.type === "pattern" ||
      stage.type === "decolorize" ||
      isLabelOnly(stage),
  );
  return tellsNames ? labelNamesOf(log, needs) : null;
}
