import { z } from "zod";

/** A parser as the pipeline file names it, with options that its own schema has yet to check. */
export interface ParserRef {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
}

const parserName = z.string().min(1);
const withOptions = z
  .record(z.string().min(1), z.record(z.string(), z.unknown()).nullable())
  .refine((map) => Object.keys(map).length === 1, { error: "want one parser in each map" });
const parserRef = z.union([parserName, withOptions]);

/**
 * The option that names parsers: `json`, `{regex: {pattern: "…"}}`, or a list of those. Gives a list in any case.
 * Whether the parsers exist and take these options is checked by src/config, which is handed the registry.
 */
export const parserRefs = z
  .union([parserRef, z.array(parserRef).min(1)])
  .meta({ title: "parser (`name`, or `{ name: { options } }`) or list of parsers" })
  .transform((input): ParserRef[] => (Array.isArray(input) ? input : [input]).map(toRef));

function toRef(input: z.output<typeof parserRef>): ParserRef {
  if (typeof input === "string") return { name: input, options: {} };
  const [name = "", options] = Object.entries(input)[0] ?? [];
  return { name, options: options ?? {} };
}
