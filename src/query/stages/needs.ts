import type { LabelFilter, Stage } from "../syntax/ast.ts";
import { PRESERVE_ERROR_LABEL } from "./entry.ts";

/**
 * What the reader of a pipeline's result looks at.
 *
 * A log query looks at everything. A metric query often needs few labels, and then Loki's rule holds: a parser none of whose
 * labels is needed does not run, and one that has found all that is needed reads no further. What would have failed
 * behind that point fails nobody. Whoever wants to see errors names `__error__`.
 */
export interface Needs {
  /** Names of the labels that are looked at; null for all. The others may be missing or not. */
  readonly labels: ReadonlySet<string> | null;
  /** Whether the line as it comes out is looked at, be it for its length. */
  readonly line: boolean;
}

export const NEEDS_ALL: Needs = { labels: null, line: true };

/** What is needed of the labels and the line behind a stage. */
export interface Live {
  readonly names: ReadonlySet<string> | null;
  readonly line: boolean;
}

/** Who needs more names than this needs all of them: sets are copied for each stage, and queries can have thousands. */
const NAMES_MAX = 256;

/** Names of the labels that a template looks at; null for all. */
export type TemplateNames = (template: string) => { names: ReadonlySet<string> | null; line: boolean };

/**
 * For each stage what is needed behind it, by the stages that follow and by the result. `namesOf` says what a template
 * looks at.
 */
export function liveAfter(stages: readonly Stage[], needs: Needs, namesOf: TemplateNames): Live[] {
  const out = new Array<Live>(stages.length);
  let names: Set<string> | null = needs.labels === null ? null : new Set(needs.labels);
  let { line } = needs;
  const add = (more: Iterable<string>) => {
    if (names === null) return;
    for (const name of more) names.add(name);
    if (names.size > NAMES_MAX) names = null;
  };
  const addTemplate = (template: string) => {
    const used = namesOf(template);
    line ||= used.line;
    if (used.names === null) names = null;
    else add(used.names);
  };
  for (let i = stages.length - 1; i >= 0; i--) {
    out[i] = { names: names === null ? null : new Set(names), line };
    const stage = stages[i];
    switch (stage.type) {
      case "label_filter":
        add(filterNames(stage.filter));
        break;
      case "drop":
        for (const item of stage.items) if (typeof item !== "string") add([item.name]);
        break;
      case "keep":
        names = keptNames(stage.items, names);
        break;
      case "line_format":
        line = false;
        // The line stays as it is when the template fails.
        addTemplate(stage.template);
        line ||= out[i].line;
        break;
      case "label_format":
        for (const format of [...stage.formats].reverse()) {
          if ("from" in format) add([format.from]);
          else addTemplate(format.template);
        }
        break;
      case "unpack":
        break;
      case "decolorize":
        break;
      default:
        line = true;
    }
  }
  return out;
}

/** Behind a `keep` only its own names are left, and it looks at them itself where it has matchers. */
function keptNames(items: Extract<Stage, { type: "keep" }>["items"], after: ReadonlySet<string> | null): Set<string> {
  const names = new Set<string>();
  for (const item of items) {
    const name = typeof item === "string" ? item : item.name;
    if (typeof item !== "string" || after === null || after.has(name)) names.add(name);
  }
  // Errors outlive a `keep`.
  for (const name of after ?? []) if (name.startsWith("__error") || name === PRESERVE_ERROR_LABEL) names.add(name);
  return names;
}

/** The labels that a filter looks at. */
export function filterNames(filter: LabelFilter): string[] {
  switch (filter.type) {
    case "and":
    case "or":
      return [...filterNames(filter.left), ...filterNames(filter.right)];
    case "string":
      return [filter.matcher.name];
    default:
      return [filter.name];
  }
}
