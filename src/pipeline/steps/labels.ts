import { defineStep } from "../step.ts";
import { addSources, namedSources } from "./sources.ts";

export default defineStep({
  name: "labels",
  summary:
    "Says which labels a record's stream has: few names, with few values each. Each is a path (`kubernetes.namespace_name`, `$tag`), a list of paths of which the first that leads to something counts, or `{value: text}`. A record that lacks a field just lacks the label; one without any has the label `tag`.",
  options: namedSources(new Set()),
  compile: (options, builder) => addSources(builder.labels, options, builder),
});
