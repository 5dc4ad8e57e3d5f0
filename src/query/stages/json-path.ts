/** A step of a path: a key or an index. */
export type PathStep = string | number;

/**
 * Parses the path of `| json x="path"`: `a`, `a.b`, `a[0]`, `["odd key"]` and mixtures. Gives the error text for anything else.
 */
export function parseJsonPath(path: string): readonly PathStep[] | { readonly error: string } {
  const tokens = tokenize(path);
  if ("error" in tokens) return tokens;
  const steps: PathStep[] = [];
  let i = 0;
  const unexpected = (expected: string) => ({
    error: `syntax error: unexpected ${tokens[i]?.type ?? "$end"}${expected === "" ? "" : `, expecting ${expected}`}`,
  });
  while (i < tokens.length || steps.length === 0) {
    const token = tokens[i];
    if (token?.type === "LSB") {
      const inner = tokens[++i];
      if (inner?.type !== "STRING" && inner?.type !== "INDEX") return unexpected("STRING or INDEX");
      i++;
      if (tokens[i]?.type !== "RSB") return unexpected("RSB");
      steps.push(inner.value);
    } else {
      if (steps.length > 0) {
        if (token?.type !== "DOT") return unexpected("$end or DOT or LSB");
        i++;
      }
      const field = tokens[i];
      if (field?.type !== "FIELD") return unexpected(steps.length > 0 ? "FIELD" : "LSB or FIELD");
      steps.push(field.value);
    }
    i++;
  }
  return steps;
}

interface PathToken {
  readonly type: "LSB" | "RSB" | "DOT" | "FIELD" | "STRING" | "INDEX";
  readonly value: PathStep;
}

const TOKEN = /[ \t\n]+|(\[)|(\])|(\.)|([A-Za-z_][A-Za-z0-9_]*)|"([^"\]]*)["\]]?|([0-9]+)/y;

function tokenize(path: string): PathToken[] | { error: string } {
  const tokens: PathToken[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < path.length) {
    const from = TOKEN.lastIndex;
    const m = TOKEN.exec(path);
    if (m === null) return { error: `unexpected char ${String.fromCodePoint(path.codePointAt(from) ?? 0)}` };
    if (m[1] !== undefined) tokens.push({ type: "LSB", value: "" });
    else if (m[2] !== undefined) tokens.push({ type: "RSB", value: "" });
    else if (m[3] !== undefined) tokens.push({ type: "DOT", value: "" });
    else if (m[4] !== undefined) tokens.push({ type: "FIELD", value: m[4] });
    else if (m[5] !== undefined) tokens.push({ type: "STRING", value: m[5] });
    else if (m[6] !== undefined) tokens.push({ type: "INDEX", value: Number(m[6]) });
  }
  return tokens;
}
