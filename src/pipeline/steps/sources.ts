import { z } from "zod";
import { WeirError } from "../../core/errors.ts";
import type { NamedSource, PipelineBuilder } from "../builder.ts";
import { pathText } from "../path.ts";
import { labelName } from "../text.ts";
import { constant, firstOf } from "../value-source.ts";

const value = z.strictObject({ value: z.string().min(1).describe("The value itself.") });

/** Names with where their values come from: a path, the first of several paths, or `{value: …}`. */
export const namedSources = z.record(z.string().min(1), z.union([pathText, z.array(pathText).min(1), value]));

/** Adds what a step says to `list`, in the place of what an earlier step said of the same name. */
export function addSources(
  list: NamedSource[],
  options: z.output<typeof namedSources>,
  reserved: ReadonlySet<string>,
  builder: PipelineBuilder,
): void {
  for (const [given, from] of Object.entries(options)) {
    const name = labelName(given, builder.limits.label_name_bytes_max);
    if (name === "")
      throw new WeirError("bad_pipeline", `the name ${JSON.stringify(given)} has no letter or digit in it`);
    if (reserved.has(name)) {
      throw new WeirError(
        "bad_pipeline",
        `the name ${name} is what Weir calls its own finding: choose another, or see the steps trace and level`,
      );
    }
    const source =
      typeof from === "object" && !Array.isArray(from)
        ? constant(from.value)
        : firstOf(typeof from === "string" ? [from] : from, builder.scope);
    const at = list.findIndex((known) => known.name === name);
    if (at === -1) list.push({ name, source });
    else list[at] = { name, source };
  }
}
