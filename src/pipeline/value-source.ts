import { type Path, parsePath } from "../core/path.ts";
import type { RecordContext } from "./context.ts";
import type { FieldNames } from "./field-names.ts";
import type { FieldPlan } from "./field-plan.ts";
import { findPath } from "./find.ts";
import { ATTRIBUTES, RESOURCE, SCOPE } from "./group.ts";
import { valueText } from "./json.ts";
import { parsedText } from "./parsed.ts";

/** Where a label, a metadata entry or a time comes from. */
export interface ValueSource {
  /**
   * Whether it depends on nothing but tag, receiver, OTLP group and top-level fields as the agent sent them (`roots`), and on
   * what parsers found (`parsed`): then what it gives can be kept for records that agree in those.
   */
  readonly isFixed: boolean;
  /** Numbers of the top-level fields (FieldPlan.root) that `fixed` depends on. */
  readonly roots: readonly number[];
  /** Whether all its values from the record lie within a map: those of a pod, say, which many records share. */
  readonly isNested: boolean;
  /** Whether parsers may have found its value. */
  readonly hasParsed: boolean;
  /** What parsers found; "" for nothing. It goes before what came with the record. */
  parsed(context: RecordContext): string;
  /** What came with the record; "" for nothing. */
  fixed(context: RecordContext): string;
}

/** The value as text; "" where there is none. */
export function readValue(source: ValueSource, context: RecordContext): string {
  return (source.hasParsed && source.parsed(context)) || source.fixed(context);
}

/** What a path means at its place among the steps. */
export interface Scope {
  readonly names: FieldNames;
  /** For each `parse` step so far, how many edits of names came before it. */
  readonly layers: readonly number[];
  readonly plan: FieldPlan;
  /** Where the labels of the steps so far come from. */
  readonly labels: readonly { readonly name: string; readonly source: ValueSource }[];
}

type Read = (context: RecordContext) => string;
const nothing: Read = () => "";

/** A value written in the configuration. */
export function constant(value: string): ValueSource {
  return { isFixed: true, roots: [], isNested: true, hasParsed: false, parsed: nothing, fixed: () => value };
}

/** The first of `paths` that leads to a value. */
export function firstOf(paths: readonly string[], scope: Scope): ValueSource {
  const sources = paths.map((text) => sourceOf(parsePath(text), scope));
  if (sources.length === 1) return sources[0];
  return {
    isFixed: sources.every(({ isFixed }) => isFixed),
    roots: [...new Set(sources.flatMap(({ roots }) => roots))],
    isNested: sources.every(({ isNested }) => isNested),
    hasParsed: sources.some(({ hasParsed }) => hasParsed),
    parsed: first(sources.map((source) => source.parsed)),
    fixed: first(sources.map((source) => source.fixed)),
  };
}

function first(reads: readonly Read[]): Read {
  const real = reads.filter((read) => read !== nothing);
  if (real.length <= 1) return real[0] ?? nothing;
  return (context) => {
    for (const read of real) {
      const value = read(context);
      if (value !== "") return value;
    }
    return "";
  };
}

function sourceOf({ root, segments }: Path, scope: Scope): ValueSource {
  const keys = segments.map((segment) => Buffer.from(segment));
  const fixed = (read: Read): ValueSource => ({ ...constant(""), fixed: read });
  const changing = (read: Read): ValueSource => ({ ...fixed(read), isFixed: false });
  switch (root) {
    case "tag":
      return fixed(({ tag }) => tag);
    case "source":
      return fixed(({ source }) => source);
    case "resource":
      return fixed(groupRead([RESOURCE, ATTRIBUTES, ...keys]));
    case "scope":
      return fixed(scopeRead(keys));
    case "line":
      return changing(({ lineBytes, lineStart, lineEnd }) => lineBytes.toString("utf8", lineStart, lineEnd));
    case "level":
      return changing((context) => context.readLevel());
    case "labels":
      return scope.labels.find(({ name }) => name === segments[0])?.source ?? constant("");
    case "metadata":
      return changing(({ bytes, metadataStart, metadataEnd }) => pathText(bytes, metadataStart, metadataEnd, keys));
    default:
      return fieldSource(segments, scope);
  }
}

/** A field of the record. `resource` and `scope` without a `$` mean the OTLP group first. */
function fieldSource(segments: readonly string[], { names, layers, plan }: Scope): ValueSource {
  const places = names.resolve(segments).map((place) => ({ place, root: plan.root(place[0]) }));
  const reads: Read[] = places.map(({ place, root }) => recordRead(place, root));
  const keys = segments.map((segment) => Buffer.from(segment));
  if (segments[0] === "resource" && segments.length > 1)
    reads.unshift(groupRead([RESOURCE, ATTRIBUTES, ...keys.slice(1)]));
  if (segments[0] === "scope" && segments.length > 1) reads.unshift(scopeRead(keys.slice(1)));
  // The latest parser's word counts most.
  const parsed = layers
    .flatMap((since, layer) => names.resolve(segments, since).map((place) => layerRead(place, layer)))
    .reverse();
  return {
    isFixed: true,
    roots: [...new Set(places.map(({ root }) => root))],
    isNested: places.every(({ place }) => place.length > 1),
    hasParsed: parsed.length > 0,
    parsed: first(parsed),
    fixed: first(reads),
  };
}

function recordRead(place: readonly string[], root: number): Read {
  const keys = place.map((segment) => Buffer.from(segment));
  return ({ bytes, rootAt, rootEnd }) => {
    const at = rootAt[root];
    if (at === -1) return "";
    const found = findPath(bytes, at, rootEnd[root], keys, 1);
    return found === -1 ? "" : valueText(bytes, found, rootEnd[root]);
  };
}

function layerRead(place: readonly string[], layer: number): Read {
  return ({ parsed }) => {
    const fields = parsed[layer];
    return fields === null || fields === undefined ? "" : parsedText(fields, place);
  };
}

/** Name and version of a scope, and its attributes. */
function scopeRead(keys: readonly Buffer[]): Read {
  return first([groupRead([SCOPE, ...keys]), groupRead([SCOPE, ATTRIBUTES, ...keys])]);
}

function groupRead(keys: readonly Buffer[]): Read {
  return ({ group }) => (group.id === 0 ? "" : pathText(group.bytes, 0, group.bytes.length, keys));
}

function pathText(bytes: Buffer, at: number, end: number, keys: readonly Buffer[]): string {
  if (at < 0) return "";
  const found = findPath(bytes, at, end, keys);
  return found === -1 ? "" : valueText(bytes, found, end);
}
