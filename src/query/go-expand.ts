/**
 * A replacement text with its `$1`, `${1}`, `$name` and `${name}` filled in. `$$` is a dollar sign; a name is as long as
 * letters, digits and underscores go, and one that the pattern does not have is empty; a `$` before anything else stays.
 * Source: Go's regexp.Expand.
 */
export function goExpand(template: string, group: (name: string) => string): string {
  return template.replace(/\$(?:\$|\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))/gu, (all, braced, bare) => {
    if (all === "$$") return "$";
    return group(braced ?? bare);
  });
}
