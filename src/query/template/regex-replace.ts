import type { Regex } from "../../codec/re2.ts";
import { goExpand } from "../go-expand.ts";

/**
 * The replacement text of one match. A group that there is not, or that took no part, is empty; of groups with one name, the first
 * that took part counts. `values[0]` is the whole match.
 */
export function expandTemplate(
  template: string,
  { groups }: Pick<Regex, "groups">,
  values: readonly (string | undefined)[],
): string {
  return goExpand(
    template,
    (number) => values[number],
    (name) => values.find((value, i) => i > 0 && value !== undefined && groups[i - 1] === name),
  );
}
