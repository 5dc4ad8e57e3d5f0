import { builtins } from "./functions-builtin.ts";
import { encodings } from "./functions-encoding.ts";
import { numbers } from "./functions-number.ts";
import { strings } from "./functions-string.ts";
import { times } from "./functions-time.ts";
import type { TemplateFunction } from "./signature.ts";

/** Every function of a template by its name; `and`, `or`, `__line__` and `__timestamp__` are the compiler's own. */
export const FUNCTIONS: ReadonlyMap<string, TemplateFunction> = new Map(
  Object.entries({ ...builtins, ...strings, ...encodings, ...numbers, ...times }),
);

export const SPECIAL = new Set(["and", "or", "__line__", "__timestamp__"]);

export function isFunction(name: string): boolean {
  return FUNCTIONS.has(name) || SPECIAL.has(name);
}
