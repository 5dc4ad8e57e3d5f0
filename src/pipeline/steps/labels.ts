import type { OptionWarning } from "../../core/component.ts";
import { parsePath } from "../../core/path.ts";
import { defineStep } from "../step.ts";
import { isIdName } from "../trace/names.ts";
import { addSources, eachPath, type NamedSources, namedSources, warnOfPaths } from "./sources.ts";

/** Ids and lines are as many as records: each would make a stream. */
function warnOfIds(options: NamedSources): OptionWarning[] {
  return eachPath(options).flatMap(({ at, path }) => {
    const { root, segments } = parsePath(path);
    if (root !== "line" && !isIdName(segments.at(-1) ?? "")) return [];
    const message = `${path} differs from record to record, and each of its values makes a stream of its own: the step trace keeps ids with the lines, the step metadata keeps anything else`;
    return [{ path: at, message }];
  });
}

export default defineStep({
  name: "labels",
  summary:
    "Says which labels a record's stream has: few names, with few values each. Each is a path (`kubernetes.namespace_name`, `$tag`), a list of paths of which the first that leads to something counts, or `{value: text}`. A record that lacks a field just lacks the label; one without any has the label `tag`. In a name, `_` takes the place of what is no letter, digit or `_`.",
  options: namedSources(new Set()),
  warns: (options) => [...warnOfPaths(options), ...warnOfIds(options)],
  compile: (options, builder) => addSources(builder.labels, options, builder),
});
