import { usageError } from "./io.ts";

/** A whole number, 0 or more. Throws `bad_usage` with the option's name. */
export function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw usageError(`${option}: got ${JSON.stringify(text)}, want a whole number`);
  return Number(text);
}
