import { CallFailure } from "./run.ts";

/** digits * 10^exponent. */
export interface Decimal {
  readonly digits: bigint;
  readonly exponent: number;
}

/** More digits than a template can need, fewer than can keep a processor busy. */
const DIGITS_MAX = 2000;
/** Digits behind the point of a quotient. */
const QUOTIENT_PLACES = 16;

/** The decimal that the number's shortest text writes. */
export function decimalOf(value: number): Decimal {
  if (!Number.isFinite(value))
    throw new CallFailure(`Cannot create a Decimal from ${value > 0 ? "+Inf" : value < 0 ? "-Inf" : "NaN"}`);
  const [mantissa, power] = value.toExponential().split("e");
  const [whole, fraction = ""] = mantissa.split(".");
  return { digits: BigInt(whole + fraction), exponent: Number(power) - fraction.length };
}

export function toNumber({ digits, exponent }: Decimal): number {
  return Number(`${digits}e${exponent}`);
}

export function plus(a: Decimal, b: Decimal): Decimal {
  const exponent = Math.min(a.exponent, b.exponent);
  return bounded({ digits: scaled(a, exponent) + scaled(b, exponent), exponent });
}

export function multiply(a: Decimal, b: Decimal): Decimal {
  return bounded({ digits: a.digits * b.digits, exponent: a.exponent + b.exponent });
}

/** Rounded to 16 places, halves away from zero. */
export function divide(a: Decimal, b: Decimal): Decimal {
  if (b.digits === 0n) throw new CallFailure("decimal division by 0");
  const shift = a.exponent - b.exponent + QUOTIENT_PLACES;
  if (Math.abs(shift) > DIGITS_MAX) throw new CallFailure("the number has too many digits");
  const up = shift > 0 ? a.digits * 10n ** BigInt(shift) : a.digits;
  const down = shift < 0 ? b.digits * 10n ** BigInt(-shift) : b.digits;
  const quotient = up / down;
  const rest = up % down;
  const twice = 2n * (rest < 0n ? -rest : rest);
  const isUp = twice >= (down < 0n ? -down : down);
  const away = up < 0n !== down < 0n ? -1n : 1n;
  return { digits: isUp ? quotient + away : quotient, exponent: -QUOTIENT_PLACES };
}

function scaled({ digits, exponent }: Decimal, to: number): bigint {
  if (exponent - to > DIGITS_MAX) throw new CallFailure("the number has too many digits");
  return digits * 10n ** BigInt(exponent - to);
}

function bounded(value: Decimal): Decimal {
  const limit = 10n ** BigInt(DIGITS_MAX);
  if (value.digits > limit || value.digits < -limit) throw new CallFailure("the number has too many digits");
  return value;
}
