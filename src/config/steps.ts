import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { type Checker, child, type Part } from "./checker.ts";
import type { Registries, StepConfig } from "./config.ts";
import { describe, unknownName } from "./issues.ts";
import { isEmpty, locate, map, scalar } from "./tree.ts";

/** Steps in a pipeline; each costs time on each line. */
const STEPS_MAX = 100;

/** Checks the steps of a pipeline: a list of names and of maps with one key. */
export function checkSteps(checker: Checker, part: Part, registries: Registries): StepConfig[] {
  if (isEmpty(part.tree)) return [];
  if (part.tree.kind !== "list") {
    checker.complain({
      at: part.tree.at,
      path: part.path,
      message: `found ${describe(part.tree, part.path)}, want a list of steps, each behind a "- "`,
    });
    return [];
  }
  if (part.tree.items.length > STEPS_MAX) {
    const message = `found ${part.tree.items.length} steps, want at most ${STEPS_MAX}`;
    checker.complain({ at: part.tree.at, path: part.path, message });
    return [];
  }
  return part.tree.items.flatMap((tree, i) => {
    const step = checkStep(checker, { tree, keyAt: tree.at, path: [...part.path, i] }, registries);
    return step === undefined ? [] : [step];
  });
}

function checkStep(checker: Checker, part: Part, registries: Registries): StepConfig | undefined {
  const named = nameAndOptions(part);
  if (named === undefined) {
    const message = `found ${describe(part.tree, part.path)}, want a step's name, or a map with one key: the name, and behind it the options`;
    checker.complain({ at: part.tree.at, path: part.path, message });
    return undefined;
  }
  const { name, options } = named;
  const spec = Object.hasOwn(registries.steps, name) ? registries.steps[name] : undefined;
  if (spec === undefined) {
    const message = name.includes(" - ")
      ? `found ${JSON.stringify(name)}, want one step: each "- " has to stand right below the one before`
      : `unknown step ${unknownName(name, Object.keys(registries.steps))}`;
    checker.complain({ at: options.keyAt, path: part.path, message });
    return undefined;
  }
  const checked = checker.check(options, spec.options);
  // The parsers are looked at even if something else in the step is wrong.
  if (name === "parse") {
    const parsers = child(options, "with");
    if (parsers !== undefined) checkParsers(checker, parsers, registries);
  }
  if (checked === undefined) return undefined;
  for (const { path, message } of spec.warns?.(checked.value) ?? []) {
    const { nearestKeyAt } = locate(options.tree, options.keyAt, path);
    checker.warn({ keyAt: nearestKeyAt, path: [...options.path, ...path] }, message);
  }
  return { name, options: checked.value, at: checker.positionOf(options.keyAt) };
}

/** A bare name, or a map with one key. No options are the same as empty ones. */
function nameAndOptions(part: Part): { name: string; options: Part } | undefined {
  const { tree } = part;
  const none = map(tree.at, new Map());
  if (tree.kind === "scalar" && typeof tree.value === "string") {
    return { name: tree.value, options: { tree: none, keyAt: tree.at, path: [...part.path, tree.value] } };
  }
  if (tree.kind !== "map" || tree.entries.size !== 1) return undefined;
  const [name] = tree.entries.keys();
  const options = name === undefined ? undefined : child(part, name);
  if (name === undefined || options === undefined) return undefined;
  return { name, options: isEmpty(options.tree) ? { ...options, tree: none } : options };
}

/** Checks the parsers that a `parse` step names, whose shape the step's own schema has checked. */
function checkParsers(checker: Checker, part: Part, registries: Registries): void {
  const { tree } = part;
  if (tree.kind !== "list") checkParser(checker, part, registries);
  else {
    for (const [i, item] of tree.items.entries()) {
      checkParser(checker, { tree: item, keyAt: item.at, path: [...part.path, i] }, registries);
    }
  }
}

function checkParser(checker: Checker, part: Part, registries: Registries): void {
  const named = nameAndOptions(part);
  if (named === undefined) return;
  const { name, options } = named;
  const spec = Object.hasOwn(registries.parsers, name) ? registries.parsers[name] : undefined;
  if (spec === undefined) {
    const message = `unknown parser ${unknownName(name, Object.keys(registries.parsers))}`;
    checker.complain({ at: options.keyAt, path: part.path, message });
    return;
  }
  const checked = checker.check(options, spec.options);
  if (checked === undefined) return;
  try {
    spec.create(checked.value);
  } catch (error) {
    if (codeOf(error) !== "bad_parser") throw error;
    // The parser may say which of its options is at fault.
    const option = error instanceof WeirError ? error.context.option : undefined;
    const path = typeof option === "string" ? [option] : [];
    const at = locate(options.tree, options.keyAt, path).tree ?? scalar(options.keyAt, null);
    checker.complain({ at: at.at, path: [...options.path, ...path], message: messageOf(error) });
  }
}
