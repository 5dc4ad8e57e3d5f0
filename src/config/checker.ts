import type { z } from "zod";
import { type Checked, type Complaint, explain, wantsTextAt } from "./issues.ts";
import { formatPath, type Position, type Problem } from "./problem.ts";
import { isEmpty, locate, type MapTree, map, type Origin, type Tree, toValue } from "./tree.ts";

/** A part of the document on its way through the checks. */
export interface Part {
  readonly tree: Tree;
  /** Where the part's key stands: that is where something missing is reported. */
  readonly keyAt: Origin;
  readonly path: readonly PropertyKey[];
}

/** Gathers what is wrong, so that one look at a file shows all of it. */
export class Checker {
  readonly problems: Problem[];
  /** Texts about what works but is hardly meant. */
  readonly warnings: string[] = [];
  private readonly whereIs: (at: Origin) => { where: string; position: Position };

  private readonly broken: ReadonlySet<string>;

  /** `problems` are those of reading the text. What could not be read is not complained about again. */
  constructor(problems: Problem[], whereIs: (at: Origin) => { where: string; position: Position }) {
    this.problems = problems;
    this.whereIs = whereIs;
    this.broken = new Set(problems.map(({ where }) => where));
  }

  complain({ at, path, message }: Complaint): void {
    const place = this.whereIs(at);
    if (this.broken.has(place.where)) return;
    const problem = { ...place, path: formatPath(path), message };
    // What is checked from two sides is told once, by the later one, which knows more of it.
    const known = this.problems.findIndex((other) => other.where === problem.where && other.path === problem.path);
    if (known !== -1 && [problem, this.problems[known]].every((one) => one?.message.startsWith("found ")))
      this.problems[known] = problem;
    else this.problems.push(problem);
  }

  positionOf(at: Origin): Position {
    return this.whereIs(at).position;
  }

  warn({ keyAt, path }: Pick<Part, "keyAt" | "path">, message: string): void {
    this.warnings.push(`${this.whereIs(keyAt).where}  ${formatPath(path)}: ${message}`);
  }

  /** What `schema` makes of the part, or undefined after complaints. */
  check<T>(part: Part, schema: z.ZodType<T>): { value: T } | undefined {
    const input = toValue(part.tree);
    const first = schema.safeParse(input);
    if (first.success) return { value: first.data };
    const second = schema.safeParse(asText(input, part.tree, first.error.issues));
    if (second.success) return { value: second.data };
    const checked: Checked = { ...part, schema };
    // zod goes on to sizes when the type is wrong already; the first complaint about a value is the one that helps.
    const places = new Set<Origin>();
    for (const complaint of second.error.issues.flatMap((issue) => explain(issue, checked))) {
      if (complaint.message.startsWith("found ") && places.has(complaint.at)) continue;
      places.add(complaint.at);
      this.complain(complaint);
    }
    return undefined;
  }

  /** The part as a map; an empty one where nothing stands and `emptyAllowed`. Undefined after a complaint. */
  asMap(part: Part, emptyAllowed = false): MapTree | undefined {
    if (part.tree.kind === "map") return part.tree;
    if (emptyAllowed && isEmpty(part.tree)) return map(part.tree.at, new Map());
    const found = isEmpty(part.tree) ? "nothing" : `a ${part.tree.kind === "list" ? "list" : "single value"}`;
    this.complain({
      at: isEmpty(part.tree) ? part.keyAt : part.tree.at,
      path: part.path,
      message: `found ${found}, want a map`,
    });
    return undefined;
  }
}

/** The part of `parent` behind `key`. */
export function child(parent: Part, key: string): Part | undefined {
  const entry = parent.tree.kind === "map" ? parent.tree.entries.get(key) : undefined;
  return entry === undefined ? undefined : { tree: entry.value, keyAt: entry.keyAt, path: [...parent.path, key] };
}

/** `part` without one of its keys. */
export function without(part: Part, key: string): Part {
  if (part.tree.kind !== "map") return part;
  const entries = new Map(part.tree.entries);
  entries.delete(key);
  return { ...part, tree: map(part.tree.at, entries) };
}

/**
 * A password `12345` in an environment variable is read as a number, as a port has to be. Where text was wanted the
 * value takes its text again, leading zeros and all. Changes `input`, which is a copy of the document.
 */
function asText(input: unknown, tree: Tree, issues: readonly z.core.$ZodIssue[]): unknown {
  let root = input;
  for (const path of wantsTextAt(issues)) {
    const { tree: found } = locate(tree, 0, path);
    if (found?.kind !== "scalar" || found.text === undefined || !fromOutside(found)) continue;
    const last = path.at(-1);
    if (last === undefined) root = found.text;
    else setIn(path.slice(0, -1).reduce<unknown>(getIn, root), last, found.text);
  }
  return root;
}

function fromOutside(tree: { at: Origin; variables: readonly string[] }): boolean {
  return tree.variables.length > 0 || typeof tree.at === "string";
}

function getIn(value: unknown, key: PropertyKey): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined;
}

function setIn(value: unknown, key: PropertyKey, text: string): void {
  if (typeof value === "object" && value !== null) Reflect.set(value, key, text);
}
