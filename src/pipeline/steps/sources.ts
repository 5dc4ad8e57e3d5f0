import { z } from "zod";
import type { OptionWarning } from "../../core/component.ts";
import { parsePath, pathText } from "../../core/path.ts";
import type { NamedSource, PipelineBuilder } from "../builder.ts";
import { labelName } from "../text.ts";
import { constant, firstOf } from "../value-source.ts";

const value = z.strictObject({ value: z.string().min(1).describe("The value itself.") });

/** Names with where their values come from: a path, the first of several paths, or `{value: …}`. `reserved`: names that may not be. */
export function namedSources(reserved: ReadonlySet<string>) {
  return z.record(z.string().min(1), z.union([pathText, z.array(pathText).min(1), value])).check((input) => {
    const taken = new Map<string, string>();
    for (const given of Object.keys(input.value)) {
      const name = labelName(given, given.length + 1);
      const other = taken.get(name);
      taken.set(name, given);
      const message =
        name === ""
          ? "want a name that is not blank"
          : reserved.has(name)
            ? "Weir itself gives metadata this name: choose another, or see the steps trace and level"
            : other !== undefined
              ? `this and ${JSON.stringify(other)} are both stored as ${name}: leave one out`
              : "";
      if (message !== "") input.issues.push({ code: "custom", input: given, path: [given], message });
    }
  });
}

/** Warns of paths that lead nowhere, as far as that can be seen. */
export function warnOfPaths(options: NamedSources): OptionWarning[] {
  return eachPath(options).flatMap(({ at, path }) => {
    const [first, second, , fourth] = parsePath(path).segments;
    const isFlat = first === "kubernetes" && (second === "labels" || second === "annotations");
    if (!isFlat || fourth === undefined) return [];
    const message = `${second} of Kubernetes are not nested, so ${path} leads to nothing: a name with dots in it is written kubernetes.${second}["app.kubernetes.io/name"]`;
    return [{ path: at, message }];
  });
}

/** The paths of all names, each with its place in the options. */
export function eachPath(options: NamedSources): { readonly at: readonly PropertyKey[]; readonly path: string }[] {
  return Object.entries(options).flatMap(([name, from]) => {
    if (typeof from === "string") return [{ at: [name], path: from }];
    return Array.isArray(from) ? from.map((path: string, i) => ({ at: [name, i], path })) : [];
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
