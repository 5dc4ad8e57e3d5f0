import type { ComponentConfig, Config } from "./config.ts";

/** Options whose value nobody is shown. */
const SECRET = /^(?:shared_key|querier_key|headers|password|.*_password|.*secret.*|.*token|access_key.*|api_key)$/i;
const HIDDEN = "<secret>";

/** A checked configuration as a document of the same shape, with all defaults, and without what is secret. */
export function describeConfig({ receivers, pipelines, sinks, sections, log_level }: Config): Record<string, unknown> {
  return withoutSecrets({
    receivers: byName(receivers),
    pipelines: Object.fromEntries(
      pipelines.map(({ name, from, match, line, steps, to }) => [
        name,
        { from, match, line, steps: steps.map((step) => ({ [step.name]: step.options })), to },
      ]),
    ),
    sinks: byName(sinks),
    ...sections,
    log_level,
  });
}

/** A part of a configuration without what is secret. */
export function withoutSecrets(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, SECRET.test(name) && inner !== "" ? HIDDEN : plain(inner)]),
  );
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return withoutSecrets(value as Record<string, unknown>);
}

function byName(components: readonly ComponentConfig[]): Record<string, unknown> {
  return Object.fromEntries(components.map(({ name, type, options }) => [name, { type, ...(options as object) }]));
}
