import { z } from "zod";
import { messageOf } from "../core/errors.ts";
import { compileGlob } from "../core/glob.ts";
import { type Checker, child, type Part, without } from "./checker.ts";
import { checkName } from "./components.ts";
import type { PipelineConfig, Registries } from "./config.ts";
import { unknownName } from "./issues.ts";
import { checkSteps } from "./steps.ts";
import { isEmpty } from "./tree.ts";

const oneOrMore = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

/** A pipeline but for its steps, which have schemas of their own. */
export const pipelineOptions = z.strictObject({
  from: oneOrMore
    .optional()
    .describe("Receivers whose records come here; all of them when left out, as most setups have one."),
  match: oneOrMore
    .default("**")
    .describe(
      "Tags that come here: a pattern or a list of them. `*` stands for anything within one dot-separated part, `**` for anything at all, `?` for one character that is no dot, `{a,b}` for either. The default takes every tag.",
    ),
  line: oneOrMore
    .default(["log", "message", "msg", "MESSAGE"])
    .describe(
      "Fields that may hold the line; the first that the record has is taken. The default has the names that Fluent Bit, most loggers and systemd use. A record with none of them is stored as JSON.",
    ),
  to: oneOrMore.default(["store"]).describe("Sinks that get the lines; the default is the store of this process."),
});

const OPTIONS: ReadonlySet<string> = new Set([...Object.keys(pipelineOptions.shape), "steps"]);

/** Names that a pipeline may refer to. */
export interface Names {
  readonly receivers: readonly string[];
  readonly sinks: readonly string[];
}

export interface CheckedPipeline extends PipelineConfig {
  readonly part: Part;
}

export function checkPipelines(checker: Checker, part: Part, names: Names, registries: Registries): CheckedPipeline[] {
  const block = checker.asMap(part);
  if (block === undefined) return [];
  if (block.entries.size === 0) {
    checker.complain({ at: part.tree.at, path: part.path, message: "found no pipeline, want at least one" });
  }
  return [...block.entries.keys()].flatMap((name) => {
    const entry = child(part, name);
    if (entry === undefined) return [];
    checkName(checker, entry, name);
    const pipeline = checkPipeline(checker, entry, name, names, registries);
    return pipeline === undefined ? [] : [pipeline];
  });
}

function checkPipeline(
  checker: Checker,
  part: Part,
  name: string,
  names: Names,
  registries: Registries,
): CheckedPipeline | undefined {
  if (part.tree.kind !== "map" && !isEmpty(part.tree) && OPTIONS.has(name)) {
    const message = `this is an option of a pipeline, but stands where pipelines do: put it below a pipeline's name, two columns further in`;
    checker.complain({ at: part.keyAt, path: part.path, message });
    return undefined;
  }
  const block = checker.asMap(part, true);
  if (block === undefined) return undefined;
  const own = { ...part, tree: block };
  const stepsPart = child(own, "steps");
  const steps = stepsPart === undefined ? [] : checkSteps(checker, stepsPart, registries);
  eachItem(own, "from", (item, value) => checkReference(checker, item, value, "receiver", names.receivers));
  eachItem(own, "to", (item, value) => checkReference(checker, item, value, "sink", names.sinks));
  if (child(own, "to") === undefined && !names.sinks.includes("store")) {
    const message = 'missing, want the names of sinks: there is none with the name "store", which is the default';
    checker.complain({ at: own.keyAt, path: [...own.path, "to"], message });
  }
  eachItem(own, "match", (item, value) => {
    try {
      compileGlob(value);
    } catch (error) {
      checker.complain({ at: item.tree.at, path: item.path, message: messageOf(error) });
    }
  });
  const checked = checker.check(without(own, "steps"), pipelineOptions);
  if (checked === undefined) return undefined;
  const options = checked.value;
  return {
    name,
    from: options.from === undefined ? names.receivers : toList(options.from),
    match: toList(options.match),
    line: toList(options.line),
    steps,
    to: toList(options.to),
    part: own,
  };
}

/** Calls `visit` with each text of an option that is one text or a list of them. */
function eachItem(part: Part, key: string, visit: (item: Part, value: string) => void): void {
  const option = child(part, key);
  if (option === undefined) return;
  const { tree } = option;
  const items =
    tree.kind === "list"
      ? tree.items.map((item, i) => ({ tree: item, keyAt: item.at, path: [...option.path, i] }))
      : [option];
  for (const item of items) {
    if (item.tree.kind === "scalar") visit(item, item.tree.text ?? String(item.tree.value));
  }
}

function checkReference(checker: Checker, item: Part, name: string, kind: string, known: readonly string[]): void {
  if (known.includes(name)) return;
  checker.complain({ at: item.tree.at, path: item.path, message: `unknown ${kind} ${unknownName(name, known)}` });
}

function toList(value: string | readonly string[]): readonly string[] {
  return typeof value === "string" ? [value] : value;
}

/** What works but can't be meant: pipelines that nothing reaches, receivers and sinks that no pipeline names. */
export function warnOfUnused(
  checker: Checker,
  pipelines: readonly CheckedPipeline[],
  receivers: Part | undefined,
  sinks: Part | undefined,
): void {
  for (const [i, pipeline] of pipelines.entries()) {
    const before = pipelines.slice(0, i).find((other) => covers(other, pipeline));
    if (before !== undefined) {
      checker.warn(pipeline.part, `gets no record: the pipeline ${before.name} before it takes all that would fit`);
    }
  }
  const unused = (part: Part | undefined, used: ReadonlySet<string>, what: string) => {
    if (part?.tree.kind !== "map") return;
    for (const name of part.tree.entries.keys()) {
      const entry = child(part, name);
      if (entry !== undefined && !used.has(name)) checker.warn(entry, what);
    }
  };
  unused(receivers, new Set(pipelines.flatMap((p) => p.from)), "its records are dropped: no pipeline has it in `from`");
  unused(sinks, new Set(pipelines.flatMap((p) => p.to)), "gets nothing: no pipeline has it in `to`");
}

/** Whether every record that `later` would take is taken by `earlier`. May miss some, never claims too much. */
function covers(earlier: PipelineConfig, later: PipelineConfig): boolean {
  if (!later.from.every((name) => earlier.from.includes(name))) return false;
  return later.match.every((pattern) =>
    earlier.match.some(
      (other) => other === "**" || other === pattern || (isPlain(pattern) && compileGlob(other)(pattern)),
    ),
  );
}

function isPlain(pattern: string): boolean {
  return !/[*?{}\\]/.test(pattern);
}
