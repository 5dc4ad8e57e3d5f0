/** A value as YAML, block by block: for people, and for programs that read YAML. Texts are quoted as in JSON, which YAML reads. */
export function yamlText(value: unknown): string {
  return `${lines(value, "").join("\n")}\n`;
}

function lines(value: unknown, indent: string): string[] {
  if (Array.isArray(value)) {
    if (value.length === 0) return [`${indent}[]`];
    return value.flatMap((item) => withHead(`${indent}-`, item, `${indent}  `));
  }
  if (typeof value !== "object" || value === null) return [`${indent}${scalarText(value)}`];
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  if (entries.length === 0) return [`${indent}{}`];
  return entries.flatMap(([name, inner]) => withHead(`${indent}${nameText(name)}:`, inner, `${indent}  `));
}

function withHead(head: string, value: unknown, indent: string): string[] {
  const isBlock = typeof value === "object" && value !== null && Object.keys(value).length > 0;
  if (isBlock) return [head, ...lines(value, indent)];
  return [`${head} ${lines(value, "")[0]}`];
}

const scalarText = (value: unknown): string => (value === undefined ? "null" : JSON.stringify(value, bigText));

const bigText = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);

const nameText = (name: string): string => (/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name) ? name : JSON.stringify(name));
