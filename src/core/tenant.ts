import { z } from "zod";

const CHARS_MAX = 150;
const UNSUPPORTED = /[^A-Za-z0-9!\-_.*'()]/u;

/** Why a text can't name a tenant, in Loki's words; null when it can. Source: "Loki's HTTP contract", 2.1. */
export function tenantFault(name: string): string | null {
  if (name === "") return "no org id";
  if (name.length > CHARS_MAX) return `tenant ID is too long: max ${CHARS_MAX} characters`;
  if (name === "." || name === "..") return "tenant ID is '.' or '..'";
  const unsupported = UNSUPPORTED.exec(name)?.[0];
  return unsupported === undefined ? null : `tenant ID '${name}' contains unsupported character '${unsupported}'`;
}

/** A tenant's name in the configuration. */
export const tenantName: z.ZodType<string, string> = z.string().check((input) => {
  const message = tenantFault(input.value);
  if (message !== null) input.issues.push({ code: "custom", input: input.value, message });
});
