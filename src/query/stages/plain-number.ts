/** 15 digits, which a double holds exactly, and a point. */
const LENGTH_MAX = 16;
const POINT = 0x2e;
const NINE = 0x39;
const digits = new Uint8Array(LENGTH_MAX);

/**
 * The number that stands in bytes[from, to): up to 15 digits with at most one point between them, which is nearly every value there
 * is. NaN for all else. Such numbers are exact: the digits fit a double, and so does the power of ten that they are divided by.
 */
export function plainNumberAt(bytes: Uint8Array, from: number, to: number): number {
  const length = to - from;
  if (length === 0 || length > LENGTH_MAX) return Number.NaN;
  let value = 0;
  let scale = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at];
    const digit = byte - 0x30;
    if (digit >= 0 && digit <= 9) {
      value = value * 10 + digit;
      scale *= 10;
    } else if (byte === POINT && scale === 0 && at > from && at < to - 1) scale = 1;
    else return Number.NaN;
  }
  if (scale !== 0) return value / scale;
  return length === LENGTH_MAX ? Number.NaN : value;
}

/** The same of a text. */
export function plainNumber(text: string): number {
  if (text.length > LENGTH_MAX) return Number.NaN;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > NINE) return Number.NaN;
    digits[i] = code;
  }
  return plainNumberAt(digits, 0, text.length);
}
