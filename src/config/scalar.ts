/** What a text means where YAML 1.2's core schema reads it as a plain scalar; "" stays text. */
export function readPlain(text: string): unknown {
  if (/^(?:null|Null|NULL|~)$/.test(text)) return null;
  if (/^(?:true|True|TRUE)$/.test(text)) return true;
  if (/^(?:false|False|FALSE)$/.test(text)) return false;
  if (/^(?:[-+]?\d+|0o[0-7]+|0x[\da-fA-F]+|[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?)$/.test(text)) {
    return Number(text);
  }
  return text;
}

export interface Expanded {
  readonly text: string;
  /** Names of the variables in it, whether they were set or not. */
  readonly variables: readonly string[];
  /** The whole text is one reference. */
  readonly whole: boolean;
  /** What is wrong, in the words of a problem. */
  readonly faults: readonly string[];
}

// `$${` is a literal `${`; a reference ends at the first `}`. Every branch begins with `$`, so this can't backtrack.
const REFERENCE = /\$\$\{|\$\{([^}]*)(\}?)/g;
const INSIDE = /^env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/** Puts the values of environment variables in place of `${env:NAME}` and `${env:NAME:-default}`. */
export function expand(text: string, env: Readonly<Record<string, string | undefined>>): Expanded {
  const variables: string[] = [];
  const faults: string[] = [];
  let whole = false;
  const expanded = text.replace(REFERENCE, (found: string, inside: string | undefined, close: string) => {
    if (inside === undefined) return "${";
    const reference = INSIDE.exec(inside);
    if (reference === null || close === "") {
      faults.push(
        `found ${JSON.stringify(found)}, want \${env:NAME} or \${env:NAME:-default}, or $\${ for a plain \${`,
      );
      return found;
    }
    const [, name = "", fallback] = reference;
    variables.push(name);
    whole = found.length === text.length;
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    // As in a shell, `:-` is for variables that are empty, too.
    if (fallback !== undefined) return value === undefined || value === "" ? fallback : value;
    if (value === undefined) {
      faults.push(`the environment variable ${name} is not set: set it, or write \${env:${name}:-default}`);
    }
    return value ?? "";
  });
  return { text: expanded, variables, whole, faults };
}
