import type { Matcher } from "../syntax/ast.ts";
import { type Entry, ERROR_DETAILS_LABEL, ERROR_LABEL, PRESERVE_ERROR_LABEL } from "./entry.ts";
import { compileTextTest, compileValue } from "./label-filter.ts";
import type { LineStage } from "./stage.ts";

/** `drop a, b="x"`: removes a label always, or where its matcher holds. */
export function compileDrop(items: readonly (string | Matcher)[], entry: Entry): LineStage {
  const drops = items.map((item) => {
    const name = typeof item === "string" ? item : item.name;
    const remove = compileRemove(entry, name);
    if (typeof item === "string") return remove;
    const value = compileValue(entry, name);
    const test = compileTextTest(item);
    return () => {
      if (test(value() ?? "")) remove();
    };
  });
  return () => {
    entry.loadLabels();
    for (const drop of drops) drop();
    return true;
  };
}

/** Removes a label, or empties an error, which has no place among labels. */
export function compileRemove(entry: Entry, name: string): () => void {
  if (name === ERROR_LABEL) {
    return () => {
      entry.error = "";
    };
  }
  if (name === ERROR_DETAILS_LABEL) {
    return () => {
      entry.errorDetails = "";
    };
  }
  const id = entry.reserve(name);
  return () => entry.remove(id);
}

/** `keep a, b="x"`: removes every label that is not named, or whose matcher fails. Errors always stay, and what preserves them. */
export function compileKeep(items: readonly (string | Matcher)[], entry: Entry): LineStage {
  const tests = new Map<string, ((value: string) => boolean)[]>();
  for (const item of items) {
    const name = typeof item === "string" ? item : item.name;
    const test = typeof item === "string" ? () => true : compileTextTest(item);
    tests.set(name, [...(tests.get(name) ?? []), test]);
  }
  const keeps = (name: string, value: string): boolean =>
    name === PRESERVE_ERROR_LABEL || (tests.get(name)?.some((test) => test(value)) ?? false);
  return () => {
    entry.loadLabels();
    entry.retain(keeps);
    return true;
  };
}
