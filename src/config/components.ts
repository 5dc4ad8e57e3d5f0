import { z } from "zod";
import type { OptionsSpec } from "../core/component.ts";
import { type Checker, child, type Part, without } from "./checker.ts";
import type { ComponentConfig } from "./config.ts";
import { unknownName } from "./issues.ts";

/** Names that a user gives: short, and plain enough to stand in a log line, a metric and a path. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
const typeName = z.string().min(1);

/** Checks a block of named components, `name: {type: …, …options}`. Those with faults are left out. */
export function checkComponents(
  checker: Checker,
  part: Part,
  specs: Readonly<Record<string, OptionsSpec>>,
): ComponentConfig[] {
  const block = checker.asMap(part);
  if (block === undefined) return [];
  const claimed = new Map<string, string>();
  return [...block.entries.keys()].flatMap((name) => {
    const entry = child(part, name);
    if (entry === undefined) return [];
    checkName(checker, entry, name);
    const component = checkComponent(checker, entry, name, specs);
    if (component === undefined) return [];
    checkClaims(checker, entry, component, specs[component.type], claimed);
    return [component];
  });
}

/** Complains about what an earlier component has taken for itself. `claimed`: by whom, and what, so far. */
function checkClaims(
  checker: Checker,
  part: Part,
  { name, options }: ComponentConfig,
  spec: OptionsSpec,
  claimed: Map<string, string>,
): void {
  for (const claim of spec.claims?.(options) ?? []) {
    const owner = claimed.get(claim);
    if (owner === undefined) claimed.set(claim, name);
    else checker.complain({ at: part.keyAt, path: part.path, message: `${claim} is taken already, by ${owner}` });
  }
}

function checkComponent(
  checker: Checker,
  part: Part,
  name: string,
  specs: Readonly<Record<string, OptionsSpec>>,
): ComponentConfig | undefined {
  if (checker.asMap(part) === undefined) return undefined;
  const typePart = child(part, "type");
  const types = Object.keys(specs);
  if (typePart === undefined) {
    checker.complain({
      at: part.keyAt,
      path: [...part.path, "type"],
      message: `missing, want one of ${types.join(", ")}`,
    });
    return undefined;
  }
  const type = checker.check(typePart, typeName);
  if (type === undefined) return undefined;
  const spec = Object.hasOwn(specs, type.value) ? specs[type.value] : undefined;
  if (spec === undefined) {
    const message = `unknown type ${unknownName(type.value, types)}`;
    checker.complain({ at: typePart.tree.at, path: typePart.path, message });
    return undefined;
  }
  const options = checker.check(without(part, "type"), spec.options);
  return options === undefined ? undefined : { name, type: type.value, options: options.value };
}

/** Complains about a name that would be trouble elsewhere. */
export function checkName(checker: Checker, part: Part, name: string): void {
  if (NAME.test(name)) return;
  const message = `found the name ${JSON.stringify(name.slice(0, 80))}, want 1 to 64 letters, digits, "_", "-" and "." (not first "-" or ".")`;
  checker.complain({ at: part.keyAt, path: part.path, message });
}
