/*
 * Floating-point numbers as Go writes them.
 */

function special(value: number): string | null {
  if (Number.isNaN(value)) return "NaN";
  return Number.isFinite(value) ? null : value > 0 ? "+Inf" : "-Inf";
}

/** `%e`: at least two digits of exponent. */
export function formatE(value: number, precision: number): string {
  const name = special(value);
  if (name !== null) return name;
  // JavaScript ends at 100 digits; a double has none that are not zero beyond some 770, and nobody asks.
  const text = value.toExponential(Math.min(precision, 100));
  return exponent(Object.is(value, -0) ? `-${text}` : text);
}

function exponent(text: string): string {
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

/** `%f`. */
export function formatF(value: number, precision: number): string {
  const name = special(value);
  if (name !== null) return name;
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const abs = Math.abs(value);
  // Beyond 1e21 toFixed gives exponents, where the value is a whole number.
  const text =
    abs < 1e21
      ? abs.toFixed(Math.min(precision, 100))
      : BigInt(abs).toString() + (precision > 0 ? `.${"0".repeat(precision)}` : "");
  return sign + (precision > 100 && abs < 1e21 ? text + "0".repeat(precision - 100) : text);
}

/** `%g` and `%v`; precision -1 is the shortest text that reads back as the same number. */
export function formatG(value: number, precision: number, keepZeros: boolean): string {
  const name = special(value);
  if (name !== null) return name;
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const abs = Math.abs(value);
  const scientific = precision < 0 ? abs.toExponential() : abs.toExponential(Math.min(Math.max(precision, 1), 101) - 1);
  const power = Number(scientific.slice(scientific.indexOf("e") + 1));
  let mantissa = scientific.slice(0, scientific.indexOf("e"));
  if (!keepZeros && mantissa.includes(".")) mantissa = mantissa.replace(/\.?0+$/, "");
  const digits = mantissa.replace(".", "");
  // With the shortest text exponents begin at 6, with a precision there, unless the digits are too few to need one.
  const limit =
    precision < 0
      ? 6
      : Math.max(precision === 0 ? 1 : precision, 1) > digits.length && digits.length >= power + 1
        ? digits.length
        : Math.max(precision, 1);
  if (power < -4 || power >= limit) return sign + exponent(`${mantissa}e${power < 0 ? "-" : "+"}${Math.abs(power)}`);
  if (power < 0) return `${sign}0.${"0".repeat(-power - 1)}${digits}`;
  if (digits.length <= power + 1) return sign + digits.padEnd(power + 1, "0");
  return `${sign}${digits.slice(0, power + 1)}.${digits.slice(power + 1)}`;
}
