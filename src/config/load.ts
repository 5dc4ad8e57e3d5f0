import { z } from "zod";
import { LOG_LEVELS } from "../core/log.ts";
import { Checker, child, type Part } from "./checker.ts";
import { checkComponents } from "./components.ts";
import type { ComponentConfig, Config, Registries, SectionsOf } from "./config.ts";
import { unknownName } from "./issues.ts";
import { applyOverrides, type Override } from "./overrides.ts";
import { checkPipelines, warnOfUnused } from "./pipelines.ts";
import { ConfigErrors } from "./problem.ts";
import { isEmpty, map, scalar, type Tree } from "./tree.ts";
import { YamlReader } from "./yaml.ts";

export const logLevel = z
  .enum(LOG_LEVELS)
  .default("info")
  .describe(
    "What the process says about itself, on stderr; `info` is a few lines at start and stop and whatever goes wrong.",
  );

/** Type and, where nobody gives it another, name of the sink that is there without being written down. */
const STORE = "store";

export interface LoadOptions {
  /** Values of `${env:NAME}`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Settings that go before those of the file; later ones go before earlier ones. */
  readonly overrides?: readonly Override[];
}

/**
 * Reads and checks a pipeline file.
 *
 * Errors: ConfigErrors with every fault that was found, one line each: `file:line:column  path: what was found, what
 *         was wanted`. After a syntax error nothing else is looked at, because it would only repeat it.
 */
export function loadConfig<R extends Registries>(
  text: string,
  fileName: string,
  registries: R,
  { env = {}, overrides = [] }: LoadOptions = {},
): Config<SectionsOf<R>> {
  const reader = new YamlReader(fileName, env);
  const tree = reader.read(text);
  const checker = new Checker(reader.problems, (at) => reader.whereIs(at));
  const config = tree === undefined ? undefined : check(checker, tree, fileName, registries, overrides);
  if (config === undefined || checker.problems.length > 0) throw new ConfigErrors(checker.problems);
  return config;
}

function check<R extends Registries>(
  checker: Checker,
  tree: Tree,
  fileName: string,
  registries: R,
  overrides: readonly Override[],
): Config<SectionsOf<R>> | undefined {
  const document = isEmpty(tree) ? map(tree.at, new Map()) : tree;
  const root: Part = { tree: document, keyAt: document.at, path: [] };
  if (checker.asMap(root) === undefined) return undefined;
  const part = { ...root, tree: applyOverrides(checker, document, overrides) };
  checkTopKeys(checker, part, ["receivers", "pipelines", "sinks", ...Object.keys(registries.sections), "log_level"]);

  const receiversPart = required(checker, part, "receivers", "at least one receiver");
  const sinksPart = child(part, "sinks");
  // A store under another name is the one that is meant.
  const hasOwnStore = keysOf(sinksPart).includes(STORE) || typesOf(sinksPart).has(STORE);
  const written = receiversPart === undefined ? [] : checkComponents(checker, receiversPart, registries.receivers);
  const receivers = [...written, ...defaultReceivers(registries, keysOf(receiversPart), typesOf(receiversPart))];
  const writtenSinks = sinksPart === undefined ? [] : checkComponents(checker, sinksPart, registries.sinks);
  // Names that are there count even when their options have faults, so that one fault is one complaint.
  const names = {
    receivers: [...new Set([...keysOf(receiversPart), ...receivers.map(({ name }) => name)])],
    sinks: [...new Set([...keysOf(sinksPart), ...(hasOwnStore ? [] : [STORE])])],
  };
  const pipelinesPart = required(checker, part, "pipelines", "at least one pipeline");
  const pipelines = pipelinesPart === undefined ? [] : checkPipelines(checker, pipelinesPart, names, registries);
  const wantsStore = !hasOwnStore && pipelines.some(({ to }) => to.includes(STORE));
  const sinks = [
    ...writtenSinks,
    ...(wantsStore ? checkComponents(checker, defaultSinks(part), registries.sinks) : []),
  ];

  const sections = checkSections<R>(checker, part, registries);
  const level = checker.check(optional(part, "log_level"), logLevel);
  warnOfUnused(checker, pipelines, receiversPart, sinksPart);
  if (sections === undefined || level === undefined) return undefined;
  return {
    fileName,
    receivers,
    pipelines: pipelines.map(({ part: _part, ...pipeline }) => pipeline),
    sinks,
    sections,
    defaults: Object.fromEntries(
      Object.entries(registries.sections).map(([name, schema]: [string, z.ZodType]) => [name, schema.parse({})]),
    ),
    log_level: level.value,
    warnings: checker.warnings,
  };
}

function checkTopKeys(checker: Checker, { tree, path }: Part, known: readonly string[]): void {
  if (tree.kind !== "map") return;
  for (const [key, { keyAt }] of tree.entries) {
    // Keys with `x-` in front are for anchors that several blocks share, as in a Compose file.
    if (known.includes(key) || key.startsWith("x-")) continue;
    checker.complain({ at: keyAt, path, message: `unknown key ${unknownName(key, known)}` });
  }
}

function required(checker: Checker, parent: Part, key: string, wanted: string): Part | undefined {
  const part = child(parent, key);
  if (part !== undefined && !(part.tree.kind === "map" && part.tree.entries.size === 0) && !isEmpty(part.tree))
    return part;
  checker.complain({ at: part?.tree.at ?? parent.keyAt, path: [key], message: `missing, want ${wanted}` });
  return undefined;
}

/** The part behind `key`; where there is none, one whose value is undefined, which takes the schema's default. */
function optional(parent: Part, key: string): Part {
  const part = child(parent, key);
  if (part !== undefined) return part;
  return { tree: scalar(parent.keyAt, undefined), keyAt: parent.keyAt, path: [...parent.path, key] };
}

function defaultSinks(parent: Part): Part {
  const at = parent.keyAt;
  const store = map(at, new Map([["type", { keyAt: at, value: scalar(at, STORE) }]]));
  return { tree: map(at, new Map([[STORE, { keyAt: at, value: store }]])), keyAt: at, path: ["sinks"] };
}

/** Receivers that a file has without naming them. A name that the file uses for another is not taken from it. */
function defaultReceivers(
  registries: Registries,
  names: readonly string[],
  types: ReadonlySet<string>,
): ComponentConfig[] {
  return Object.values(registries.receivers).flatMap(({ name, options, byDefault = false }) =>
    byDefault && !types.has(name) && !names.includes(name) ? [{ name, type: name, options: options.parse({}) }] : [],
  );
}

/** The types that are written down, faulty ones too. */
function typesOf(part: Part | undefined): Set<string> {
  const types = new Set<string>();
  if (part?.tree.kind !== "map") return types;
  for (const { value } of part.tree.entries.values()) {
    const type = value.kind === "map" ? value.entries.get("type")?.value : undefined;
    if (type?.kind === "scalar" && typeof type.value === "string") types.add(type.value);
  }
  return types;
}

function keysOf(part: Part | undefined): string[] {
  return part?.tree.kind === "map" ? [...part.tree.entries.keys()] : [];
}

function checkSections<R extends Registries>(checker: Checker, root: Part, registries: R): SectionsOf<R> | undefined {
  const values: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(registries.sections)) {
    const part = optional(root, name);
    const missing = part.tree.kind === "scalar" && (part.tree.value ?? null) === null;
    const filled = missing ? { ...part, tree: map(part.tree.at, new Map()) } : part;
    const checked = checker.check(filled, schema);
    if (checked !== undefined) values[name] = checked.value;
  }
  // Each value is what the schema of its own name gave, which TypeScript can't follow through the loop.
  return Object.keys(values).length === Object.keys(registries.sections).length ? (values as SectionsOf<R>) : undefined;
}
