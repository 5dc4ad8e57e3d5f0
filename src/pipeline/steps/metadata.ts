import { defineStep } from "../step.ts";
import { OWN_NAMES } from "../stream-context.ts";
import { addSources, namedSources, warnOfPaths } from "./sources.ts";

/** `detected_level` may be set: it is then what the level step goes by. */
const RESERVED: ReadonlySet<string> = new Set(OWN_NAMES.filter((name) => name !== "detected_level"));

export default defineStep({
  name: "metadata",
  summary:
    "Keeps values with the line as structured metadata, where they may be as many as they like: pod, user, order. Written like `labels`.",
  options: namedSources(RESERVED),
  warns: warnOfPaths,
  compile: (options, builder) => addSources(builder.metadata, options, builder),
});
