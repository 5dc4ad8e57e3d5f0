import type { z } from "zod";
import { keysAt } from "./json-schema.ts";
import { didYouMean } from "./suggest.ts";
import { isEmpty, locate, type Origin, type ScalarTree, type Tree } from "./tree.ts";

type Issue = z.core.$ZodIssue;

/** A complaint with its place. */
export interface Complaint {
  readonly at: Origin;
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** The value that was checked: its tree, where its key stands, its path in the document, and its schema. */
export interface Checked {
  readonly tree: Tree;
  readonly keyAt: Origin;
  readonly path: readonly PropertyKey[];
  readonly schema: z.ZodType;
}

/** Values of these options are not repeated in messages, which end in logs. */
const SECRET = /pass|secret|key|token|credential/i;
const TEXT_SHOWN_MAX = 60;
const KEYS_SHOWN_MAX = 12;

/** What zod found, in our words and at its place. */
export function explain(issue: Issue, checked: Checked): Complaint[] {
  const path = [...checked.path, ...issue.path];
  const place = locate(checked.tree, checked.keyAt, issue.path);
  if (issue.code === "unrecognized_keys") {
    const known = keysAt(checked.schema, issue.path);
    return issue.keys.map((key) => ({
      at: locate(place.nearest, place.nearestKeyAt, [key]).nearestKeyAt,
      path,
      message: `unknown key ${unknownName(key, known)}`,
    }));
  }
  if (issue.code === "invalid_union") {
    const chosen = bestBranch(issue);
    if (chosen !== undefined) {
      return chosen.flatMap((inner) => explain({ ...inner, path: [...issue.path, ...inner.path] }, checked));
    }
  }
  const reason = authorsWords(issue);
  if (place.tree === undefined) {
    const message =
      reason === undefined || reason.startsWith("want ") ? `missing, want ${want(issue)}` : `missing: ${reason}`;
    return [{ at: place.nearestKeyAt, path, message }];
  }
  const found = describe(place.tree, path);
  // Where nothing stands, the key is what there is to see.
  const at = isEmpty(place.tree) ? place.nearestKeyAt : place.tree.at;
  if (reason !== undefined && !reason.startsWith("want ")) {
    return [{ at, path, message: `found ${found}: ${reason}` }];
  }
  return [
    { at, path, message: `found ${found}, want ${want(issue, place.tree)}${hintFor(issue, place.tree, checked)}` },
  ];
}

/** How to write what was wanted, where that is easily mistaken. */
function hintFor(issue: Issue, tree: Tree, { schema }: Checked): string {
  if (wantsText(issue) && tree.kind === "scalar" && tree.value !== null) return " (put it in quotes)";
  const key = String(issue.path.at(-1) ?? "");
  if (isEmpty(tree)) return /^[^:]+:[^:]/.test(key) ? ' (a ":" wants a space behind it)' : "";
  if (issue.code !== "invalid_type") return "";
  if (issue.expected === "record") return " of names, each with its value behind it";
  const keys = issue.expected === "object" ? keysAt(schema, issue.path) : [];
  return keys.length === 0 || keys.length > KEYS_SHOWN_MAX ? "" : ` of options: ${keys.join(", ")}`;
}

/** Paths, below the checked value, of values that are no text where text was wanted. */
export function wantsTextAt(issues: readonly Issue[], base: readonly PropertyKey[] = []): PropertyKey[][] {
  return issues.flatMap((issue) => {
    const path = [...base, ...issue.path];
    if (issue.code === "invalid_union") return issue.errors.flatMap((branch) => wantsTextAt(branch, path));
    return wantsText(issue) ? [path] : [];
  });
}

/** `"lables", did you mean "labels"?`, or with all the names when there are few and none is near. */
export function unknownName(name: string, known: readonly string[]): string {
  const guess = didYouMean(name, known);
  if (guess !== "") return `${JSON.stringify(name)}${guess}`;
  if (known.length === 0 || known.length > KEYS_SHOWN_MAX) return JSON.stringify(name);
  return `${JSON.stringify(name)}, want ${known.length === 1 ? "" : "one of "}${known.join(", ")}`;
}

/** A value as a message shows it. */
export function describe(tree: Tree, path: readonly PropertyKey[]): string {
  if (tree.kind === "list") return tree.items.length === 0 ? "an empty list" : "a list";
  if (tree.kind === "map") return tree.entries.size === 0 ? "an empty map" : "a map";
  const source =
    tree.variables.length === 0 ? "" : ` from ${tree.variables.map((name) => `\${env:${name}}`).join(", ")}`;
  return `${describeScalar(tree, path)}${source}`;
}

function describeScalar({ value, text, variables }: ScalarTree, path: readonly PropertyKey[]): string {
  if (value === null) return "nothing";
  if (SECRET.test(String(path.at(-1) ?? "")) || variables.some((name) => SECRET.test(name))) {
    return typeof value === "string" ? "a text" : `a ${typeof value}`;
  }
  if (typeof value !== "string") return text ?? String(value);
  return JSON.stringify(value.length > TEXT_SHOWN_MAX ? `${value.slice(0, TEXT_SHOWN_MAX)}…` : value);
}

function wantsText(issue: Issue): boolean {
  return issue.code === "invalid_type" && issue.expected === "string";
}

/**
 * Of a union, the issues of the choice whose shape fits the value: those are what the user has to mend.
 * Undefined when no shape fits, so that the message names all of them.
 */
function bestBranch(issue: z.core.$ZodIssueInvalidUnion): readonly Issue[] | undefined {
  const fitting = issue.errors.filter((branch) => !branch.some((inner) => inner.path.length === 0 && isShape(inner)));
  return fitting.toSorted((a, b) => a.length - b.length)[0];
}

function isShape(issue: Issue): boolean {
  if (issue.code === "invalid_union") return bestBranch(issue) === undefined;
  return issue.code === "invalid_type" || issue.code === "invalid_value";
}

const TYPES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map",
  record: "a map",
  null: "nothing",
};

/** The message of a schema whose author wrote one, which says more than ours. */
function authorsWords({ message }: Issue): string | undefined {
  return /^(?:Invalid |Too (?:big|small)|Unrecognized )/.test(message) ? undefined : message;
}

/** What was wanted, to stand behind "want". */
function want(issue: Issue, tree?: Tree): string {
  const words = authorsWords(issue);
  if (words !== undefined) return words.replace(/^want /, "");
  switch (issue.code) {
    case "invalid_type":
      return TYPES[issue.expected] ?? issue.expected;
    case "invalid_value":
      return wantOneOf(issue.values.map(String), tree);
    case "too_small":
      return wantSize(issue.inclusive === false ? "more than" : "at least", issue.minimum, issue.origin);
    case "too_big":
      return wantSize(issue.inclusive === false ? "less than" : "at most", issue.maximum, issue.origin);
    case "invalid_format":
      return issue.format === "url" ? "a URL" : `text that fits ${issue.pattern ?? issue.format}`;
    case "not_multiple_of":
      return `a multiple of ${issue.divisor}`;
    case "invalid_union": {
      const wants = issue.errors.map((branch) => branch[0]).filter((inner) => inner !== undefined);
      return [...new Set(wants.map((inner) => want(inner, tree)))].join(" or ") || "another value";
    }
    case "invalid_key":
    case "invalid_element":
      return issue.issues.map((inner) => want(inner)).join(" and ");
    default:
      return "another value";
  }
}

function wantOneOf(values: readonly string[], tree: Tree | undefined): string {
  const [only] = values;
  const all = values.length === 1 && only !== undefined ? only : `one of ${values.join(", ")}`;
  return tree?.kind === "scalar" ? `${all}${didYouMean(String(tree.value), values)}` : all;
}

function wantSize(how: string, bound: number | bigint, origin: string): string {
  const unit = { string: "character", array: "item", set: "item" }[origin];
  return unit === undefined ? `${how} ${bound}` : `${how} ${bound} ${unit}${Number(bound) === 1 ? "" : "s"}`;
}
