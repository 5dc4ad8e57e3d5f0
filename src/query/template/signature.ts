import { CallFailure, type Run } from "./run.ts";
import { GoTime } from "./time.ts";
import { typeName, type Value } from "./values.ts";

/** What a parameter takes. */
export type Kind = "string" | "int" | "float64" | "time" | "any";

export interface TemplateFunction {
  readonly params: readonly Kind[];
  /** What further arguments are, or null where there are none. */
  readonly rest: Kind | null;
  readonly call: (args: readonly Value[], run: Run) => Value;
}

/** How Go names the kind in its error texts. */
export const KIND_NAMES: Readonly<Record<Kind, string>> = {
  string: "string",
  int: "int",
  float64: "float64",
  time: "time.Time",
  any: "interface {}",
};

export function fits(value: Value, kind: Kind): boolean {
  switch (kind) {
    case "string":
      return typeof value === "string";
    case "int":
      return typeof value === "bigint";
    case "float64":
      return typeof value === "number";
    case "time":
      return value instanceof GoTime;
    case "any":
      return true;
  }
}

// The compiler has checked arguments against the kinds; these say so to TypeScript.

export function textArg(value: Value): string {
  if (typeof value !== "string") throw new CallFailure(`expected string; got ${typeName(value)}`);
  return value;
}

export function intArg(value: Value): bigint {
  if (typeof value !== "bigint") throw new CallFailure(`expected int; got ${typeName(value)}`);
  return value;
}

/** An integer as a count of characters or places: what is larger than any text is cut to 2^40. */
export function countArg(value: Value): number {
  const int = intArg(value);
  const most = 2n ** 40n;
  return Number(int > most ? most : int < -most ? -most : int);
}

export function timeArg(value: Value): GoTime {
  if (!(value instanceof GoTime)) throw new CallFailure(`expected time.Time; got ${typeName(value)}`);
  return value;
}

/** A function of texts to something. */
export function ofTexts(count: number, call: (...texts: string[]) => Value): TemplateFunction {
  const params = new Array<Kind>(count).fill("string");
  return { params, rest: null, call: (args) => call(...args.map(textArg)) };
}

export function ofAny(call: (value: Value, run: Run) => Value): TemplateFunction {
  return { params: ["any"], rest: null, call: ([value], run) => call(value, run) };
}
