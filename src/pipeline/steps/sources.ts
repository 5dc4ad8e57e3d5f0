import { z } from "zod";
import { pathText } from "../../core/path.ts";
import type { NamedSource, PipelineBuilder } from "../builder.ts";
import { labelName } from "../text.ts";
import { constant, firstOf } from "../value-source.ts";

const value = z.strictObject({ value: z.string().min(1).describe("The value itself.") });

/** Names with where their values come from: a path, the first of several paths, or `{value: …}`. `reserved`: names that may not be. */
export function namedSources(reserved: ReadonlySet<string>) {
  return z.record(z.string().min(1), z.union([pathText, z.array(pathText).min(1), value])).check((input) => {
    for (const given of Object.keys(input.value)) {
      const name = labelName(given, given.length + 1);
      const message =
        name === ""
          ? "want a name that is not blank"
          : reserved.has(name)
            ? "Weir itself gives metadata this name: choose another, or see the steps trace and level"
            : "";
      if (message !== "") input.issues.push({ code: "custom", input: given, path: [given], message });
    }
  });
}

export type NamedSources = z.output<ReturnType<typeof namedSources>>;

/** Adds what a step says to `list`, in the place of what an earlier step said of the same name. */
export function addSources(list: NamedSource[], options: NamedSources, builder: PipelineBuilder): void {
  for (const [given, from] of Object.entries(options)) {
    const name = labelName(given, builder.limits.label_name_bytes_max);
    const source =
      typeof from === "object" && !Array.isArray(from)
        ? constant(from.value)
        : firstOf(typeof from === "string" ? [from] : from, builder.scope);
    const at = list.findIndex((known) => known.name === name);
    if (at === -1) list.push({ name, source });
    else list[at] = { name, source };
  }
}
