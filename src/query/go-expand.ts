/**
 * A replacement text with its `$1`, `${1}`, `$name` and `${name}` filled in. `$$` is a dollar sign; a name is as long as
 * letters, digits and underscores go (`$1x` is the group named "1x"), and one that the pattern does not have is empty; a `$` before
 * anything else stays. `byNumber` gives the text of a group, 0 for the whole match.
 * Source: Go's regexp.Expand.
 */
export function goExpand(
  template: string,
  byNumber: (number: number) => string | undefined,
  byName: (name: string) => string | undefined,
): string {
  if (!template.includes("$")) return template;
  return template.replace(REFERENCE, (all: string, braced?: string, bare?: string) => {
    if (all === "$$") return "$";
    const name = braced ?? bare ?? "";
    return (NUMBER.test(name) ? byNumber(Number(name)) : byName(name)) ?? "";
  });
}

const REFERENCE = /\$(?:\$|\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))/gu;
/** With a zero in front it is a name. */
const NUMBER = /^(?:0|[1-9]\d*)$/;
