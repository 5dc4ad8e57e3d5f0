import stringify from "fast-json-stable-stringify";

/** Names and values that identify a stream. Few and of low cardinality. */
export type Labels = Readonly<Record<string, string>>;

/** The tenant of everything while tenants are not configured. */
export const DEFAULT_TENANT = "fake";

/** The text that identifies a stream: JSON with sorted keys, so equal label sets have equal text. */
export function canonicalLabels(labels: Labels): string {
  return stringify(labels);
}

/**
 * A valid label name for `name`, as Loki makes one: surrounding space trimmed, every character outside
 * `[A-Za-z0-9_]` becomes `_`, and a leading digit gets `_` in front. "" for a name with nothing in it.
 * Source: LogQL as Loki evaluates it, "sanitising".
 */
export function sanitizeLabelName(name: string): string {
  const clean = name.trim().replace(/[^A-Za-z0-9_]/gu, "_");
  return /^[0-9]/.test(clean) ? `_${clean}` : clean;
}

/** `{app="web", env="prod"}`, sorted by name, values quoted as Go and Prometheus do. */
export function formatLabels(labels: Labels): string {
  const parts = Object.keys(labels)
    .sort()
    .map((name) => `${name}=${JSON.stringify(labels[name])}`);
  return `{${parts.join(", ")}}`;
}

/** A pair's part of the key of a set of pairs: with lengths, since a value may hold any character. */
export const pairKey = (name: string, value: string): string => `${name.length},${value.length},${name}${value}`;
