import { goDurationError, goSeconds, parseByteSize, parseGoDuration, parseGoFloat } from "../syntax/units.ts";
import { type Decimal, decimalOf, divide, multiply, plus, toNumber } from "./decimal.ts";
import { intOfFloat, parseGoInt, wrapInt } from "./numbers.ts";
import { CallFailure } from "./run.ts";
import { countArg, type Kind, ofAny, ofTexts, type TemplateFunction } from "./signature.ts";
import type { Value } from "./values.ts";

/** Functions over numbers. Texts are converted; what is no number counts as 0. */
export const numbers: Readonly<Record<string, TemplateFunction>> = {
  int: ofAny(toInt),
  float64: ofAny(toFloat),
  add: { params: [], rest: "any", call: (args) => args.reduce<bigint>((sum, arg) => wrapInt(sum + toInt(arg)), 0n) },
  sub: two((a, b) => wrapInt(toInt(a) - toInt(b))),
  mul: oneOrMore((args) => args.reduce<bigint>((product, arg) => wrapInt(product * toInt(arg)), 1n)),
  div: two((a, b) => wrapInt(toInt(a) / nonZero(toInt(b)))),
  mod: two((a, b) => toInt(a) % nonZero(toInt(b))),
  max: oneOrMore((args) => args.map(toInt).reduce((a, b) => (b > a ? b : a))),
  min: oneOrMore((args) => args.map(toInt).reduce((a, b) => (b < a ? b : a))),
  addf: { params: [], rest: "any", call: (args) => fold(args.length === 0 ? [0] : args, plus) },
  subf: oneOrMore((args) => fold(args, (a, b) => plus(a, { ...b, digits: -b.digits }))),
  mulf: oneOrMore((args) => fold(args, multiply)),
  divf: oneOrMore((args) => fold(args, divide)),
  maxf: oneOrMore((args) => Math.max(...args.map(toFloat))),
  minf: oneOrMore((args) => Math.min(...args.map(toFloat))),
  ceil: ofAny((value) => Math.ceil(toFloat(value))),
  floor: ofAny((value) => Math.floor(toFloat(value))),
  round: {
    params: ["any", "int"],
    rest: "float64",
    call: ([value, places, on]) => round(toFloat(value), countArg(places), on),
  },
  bytes: ofTexts(1, (s) => {
    const size = parseByteSize(s);
    if ("error" in size) throw new CallFailure(size.error);
    return size.bytes;
  }),
  duration: ofTexts(1, seconds),
  duration_seconds: ofTexts(1, seconds),
};

function two(call: (a: Value, b: Value) => Value): TemplateFunction {
  const params: Kind[] = ["any", "any"];
  return { params, rest: null, call: ([a, b]) => call(a, b) };
}

function oneOrMore(call: (args: readonly Value[]) => Value): TemplateFunction {
  return { params: ["any"], rest: "any", call };
}

/** Any value as an integer. Texts in any base that Go writes, a fraction of zeros aside; others are 0. */
function toInt(value: Value): bigint {
  switch (typeof value) {
    case "bigint":
      return value;
    case "number":
      return intOfFloat(value);
    case "boolean":
      return value ? 1n : 0n;
    case "string":
      return parseGoInt(value.replace(/\.0+$/, "")) ?? 0n;
  }
  return 0n;
}

function toFloat(value: Value): number {
  switch (typeof value) {
    case "bigint":
      return Number(value);
    case "number":
      return value;
    case "boolean":
      return value ? 1 : 0;
    case "string":
      return parseGoFloat(value) ?? 0;
  }
  return 0;
}

function nonZero(value: bigint): bigint {
  if (value === 0n) throw new CallFailure("runtime error: integer divide by zero");
  return value;
}

/** Decimal arithmetic, so that 0.1 and 0.2 are 0.3. */
function fold(args: readonly Value[], step: (a: Decimal, b: Decimal) => Decimal): number {
  return toNumber(args.map((arg) => decimalOf(toFloat(arg))).reduce(step));
}

function round(value: number, places: number, on: Value): number {
  const power = 10 ** places;
  const digit = power * value;
  const fraction = digit - Math.trunc(digit);
  const rounded = fraction >= (typeof on === "number" ? on : 0.5) ? Math.ceil(digit) : Math.floor(digit);
  return rounded / power;
}

function seconds(text: string): number {
  const ns = parseGoDuration(text);
  if (ns === null) throw new CallFailure(goDurationError(text));
  return goSeconds(ns);
}
