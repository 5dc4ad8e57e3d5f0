import { escapeHtml, escapeJs, queryEscape } from "./escape.ts";
import { sprint, sprintf, sprintln } from "./format.ts";
import { CallFailure, type Run } from "./run.ts";
import { type Kind, type TemplateFunction, textArg } from "./signature.ts";
import { GoTime } from "./time.ts";
import { byteLength, byteSlice, compareText, isTrue, LabelMap, Named, typeName, type Value } from "./values.ts";

/** The functions that every Go template has. */
export const builtins: Readonly<Record<string, TemplateFunction>> = {
  print: ofMany((args) => sprint(args)),
  println: ofMany((args) => sprintln(args)),
  printf: {
    params: ["string"],
    rest: "any",
    call: ([format, ...rest], run) => sprintf(textArg(format), rest, (chars) => run.spend(chars)),
  },
  html: ofMany((args) => escapeHtml(evalArgs(args))),
  js: ofMany((args) => escapeJs(evalArgs(args))),
  urlquery: ofMany((args) => queryEscape(evalArgs(args))),
  not: { params: ["any"], rest: null, call: ([value]) => !isTrue(value) },
  len: { params: ["any"], rest: null, call: ([value]) => BigInt(lengthOf(value)) },
  index: {
    params: ["any"],
    rest: "any",
    call: ([item, ...indexes]) => indexes.reduce(indexInto, nonNil(item, "index")),
  },
  slice: { params: ["any"], rest: "any", call: ([item, ...indexes]) => slice(nonNil(item, "slice"), indexes) },
  call: {
    params: ["any"],
    rest: "any",
    call: ([fn]) => {
      throw new CallFailure(fn === undefined ? "call of nil" : `non-function of type ${typeName(fn)}`);
    },
  },
  eq: { params: ["any"], rest: "any", call: ([first, ...rest]) => equal(first, rest) },
  ne: two((a, b) => !equal(a, [b])),
  lt: two((a, b) => less(a, b)),
  le: two((a, b) => less(a, b) || equal(a, [b])),
  gt: two((a, b) => !(less(a, b) || equal(a, [b]))),
  ge: two((a, b) => !less(a, b)),
};

function ofMany(call: (args: readonly Value[], run: Run) => Value): TemplateFunction {
  return { params: [], rest: "any", call };
}

function two(call: (a: Value, b: Value) => Value): TemplateFunction {
  const params: Kind[] = ["any", "any"];
  return { params, rest: null, call: ([a, b]) => call(a, b) };
}

/** The text of arguments as `html` and its like take it. */
function evalArgs(args: readonly Value[]): string {
  if (args.length === 1 && typeof args[0] === "string") return args[0];
  return sprint(args.map((arg) => (arg === undefined ? "<no value>" : arg)));
}

function nonNil(item: Value, what: string): Value {
  if (item === undefined) throw new CallFailure(`${what} of untyped nil`);
  return item;
}

function lengthOf(value: Value): number {
  if (typeof value === "string") return byteLength(value);
  if (value instanceof LabelMap) return value.entries().length;
  if (value instanceof Map) return value.size;
  if (Array.isArray(value)) return value.length;
  if (value === undefined) throw new CallFailure("reflect: call of reflect.Value.Type on zero Value");
  throw new CallFailure(`len of type ${typeName(value)}`);
}

function indexInto(item: Value, index: Value): Value {
  if (item instanceof LabelMap || item instanceof Map) {
    if (typeof index !== "string") throw badIndex(index, "string");
    return item.get(index);
  }
  if (typeof item === "string")
    return BigInt(Buffer.from(item)[placeOf(index, byteLength(item) - 1, byteLength(item))]);
  if (Array.isArray(item)) return item[placeOf(index, item.length - 1, item.length)];
  if (item === undefined) throw new CallFailure("index of nil pointer");
  throw new CallFailure(`can't index item of type ${typeName(item)}`);
}

function badIndex(index: Value, wanted: string): CallFailure {
  return index === undefined
    ? new CallFailure(`value is nil; should be of type ${wanted}`)
    : new CallFailure(`value has type ${typeName(index)}; should be ${wanted}`);
}

/** An index as a number, 0 to `most`. */
function placeOf(index: Value, most: number, length: number): number {
  if (index === undefined) throw new CallFailure("cannot index slice/array with nil");
  if (typeof index !== "bigint") throw new CallFailure(`cannot index slice/array with type ${typeName(index)}`);
  if (index < 0n || index > BigInt(length) || index > BigInt(most))
    throw new CallFailure(`index out of range: ${index}`);
  return Number(index);
}

function slice(item: Value, indexes: readonly Value[]): Value {
  if (indexes.length > 3) throw new CallFailure(`too many slice indexes: ${indexes.length}`);
  if (typeof item === "string" && indexes.length === 3) throw new CallFailure("cannot 3-index slice a string");
  if (typeof item !== "string" && !Array.isArray(item)) {
    throw new CallFailure(`can't slice item of type ${typeName(item)}`);
  }
  const length = lengthOf(item);
  const places = indexes.map((index) => placeOf(index, length, length));
  const [from = 0, to = length, cap = length] = places;
  if (from > to) throw new CallFailure(`invalid slice index: ${from} > ${to}`);
  if (to > cap) throw new CallFailure(`invalid slice index: ${to} > ${cap}`);
  return typeof item === "string" ? byteSlice(item, from, to) : item.slice(from, to);
}

type Basic = "bool" | "int" | "float" | "string" | null;

function basicKind(value: Value): Basic {
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "float";
    case "string":
      return "string";
  }
  return value instanceof Named ? "int" : null;
}

function plain(value: Value): Value {
  return value instanceof Named ? value.value : value;
}

/** Whether the first equals any of the others. */
function equal(first: Value, others: readonly Value[]): boolean {
  if (others.length === 0) throw new CallFailure("missing argument for comparison");
  const kind = basicKind(first);
  for (const other of others) {
    if (kind !== basicKind(other)) {
      if (first === undefined || other === undefined) continue;
      throw new CallFailure(`incompatible types for comparison: ${typeName(first)} and ${typeName(other)}`);
    }
    if (kind !== null) {
      if (plain(first) === plain(other)) return true;
      continue;
    }
    if (first === undefined || other === undefined) {
      if (first === other) return true;
      continue;
    }
    if (first instanceof GoTime && other instanceof GoTime) {
      if (first.ns === other.ns && first.zone === other.zone) return true;
      continue;
    }
    const types = [typeName(first), typeName(other)];
    const shown = (value: Value) => sprintf("%s", [value], () => {});
    throw new CallFailure(
      types[0] === types[1]
        ? `non-comparable type ${shown(other)}: ${types[1]}`
        : `non-comparable types ${shown(first)}: ${types.join(", ")}: ${sprint([other])}`,
    );
  }
  return false;
}

function less(a: Value, b: Value): boolean {
  const kindA = basicKind(a);
  const kindB = basicKind(b);
  if (kindA === null || kindB === null) throw new CallFailure("invalid type for comparison");
  if (kindA !== kindB) {
    throw new CallFailure(`incompatible types for comparison: ${typeName(a)} and ${typeName(b)}`);
  }
  const x = plain(a);
  const y = plain(b);
  if (typeof x === "string" && typeof y === "string") return compareText(x, y) < 0;
  if (typeof x === "bigint" && typeof y === "bigint") return x < y;
  if (typeof x === "number" && typeof y === "number") return x < y;
  throw new CallFailure("invalid type for comparison");
}
