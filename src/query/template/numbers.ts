import { unquote } from "../syntax/strings.ts";
import { parseGoFloat } from "../syntax/units.ts";
import type { NumberNode } from "./nodes.ts";

const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 63n - 1n;

/**
 * An integer in Go's syntax with any base's prefix (strconv.ParseInt with base 0), or null, also where it leaves int64.
 */
export function parseGoInt(text: string): bigint | null {
  const m =
    /^([+-]?)(?:0[xX]_?([0-9a-fA-F]+(?:_[0-9a-fA-F]+)*)|0[bB]_?([01]+(?:_[01]+)*)|0[oO]_?([0-7]+(?:_[0-7]+)*)|(0(?:_?[0-7])+)|((?:0|[1-9](?:_?[0-9])*)))$/.exec(
      text,
    );
  // 20 digits are more than 64 bits; leading zeros aside nobody writes 70.
  if (m === null || text.length > 100) return null;
  const clean = (digits: string) => digits.replaceAll("_", "");
  let value: bigint;
  if (m[2] !== undefined) value = BigInt(`0x${clean(m[2])}`);
  else if (m[3] !== undefined) value = BigInt(`0b${clean(m[3])}`);
  else if (m[4] !== undefined) value = BigInt(`0o${clean(m[4])}`);
  else if (m[5] !== undefined) value = BigInt(`0o${clean(m[5])}`);
  else value = BigInt(clean(m[6]));
  if (m[1] === "-") value = -value;
  return value < INT_MIN || value > INT_MAX ? null : value;
}

/** Wraps as Go's int64 does. */
export function wrapInt(value: bigint): bigint {
  return BigInt.asIntN(64, value);
}

/** Go's int64(f): what is out of range, or no number, is the least int64, as on amd64. */
export function intOfFloat(value: number): bigint {
  if (!(value > -9.3e18 && value < 9.3e18)) return INT_MIN;
  const whole = BigInt(Math.trunc(value));
  return whole < INT_MIN || whole > INT_MAX ? INT_MIN : whole;
}

/** A template's number or character constant. Gives the error text for one that can't be. */
export function parseNumber(text: string, pos: number): NumberNode | string {
  if (text[0] === "'") {
    const inner = text.slice(1, -1);
    const value = inner === "\\'" ? "'" : unquote(`"${inner === '"' ? '\\"' : inner}"`);
    const chars = value === null ? [] : [...value];
    if (chars.length !== 1) return chars.length === 0 ? "invalid syntax" : `malformed character constant: ${text}`;
    const code = chars[0].codePointAt(0) ?? 0;
    return { type: "number", pos, text, int: BigInt(code), float: code };
  }
  const int = parseGoInt(text);
  if (int !== null) return { type: "number", pos, text, int, float: Number(int) };
  const float = parseGoFloat(text);
  if (float === null) return `illegal number syntax: ${JSON.stringify(text)}`;
  if (!/[.eEpP]/.test(text)) return `integer overflow: ${JSON.stringify(text)}`;
  const isWhole = Number.isInteger(float) && Math.abs(float) < 2 ** 63;
  return { type: "number", pos, text, int: isWhole ? BigInt(float) : null, float };
}
