import type { Regex } from "../../codec/re2.ts";

const REFERENCE = /\$(?:\$|\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))/g;

/**
 * Go's Regexp.Expand: `$1`, `$name` and `${name}` stand for groups (the longest name that can be read; `$1x` is a group
 * named "1x"), `$$` for a dollar sign. A group that there is not, or that took no part, is empty. `values[0]` is the whole match.
 */
export function expandTemplate(
  template: string,
  { groups }: Pick<Regex, "groups">,
  values: readonly (string | undefined)[],
): string {
  if (!template.includes("$")) return template;
  return template.replace(REFERENCE, (whole, braced?: string, bare?: string) => {
    if (whole === "$$") return "$";
    const name = braced ?? bare ?? "";
    if (/^\d+$/.test(name)) return values[Number(name)] ?? "";
    const index = groups.findIndex((group, i) => group === name && values[i + 1] !== undefined);
    return index === -1 ? "" : (values[index + 1] ?? "");
  });
}
