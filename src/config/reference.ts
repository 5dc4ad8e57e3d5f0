import type { z } from "zod";
import type { OptionsSpec, ParserExample, ParserSpec } from "../core/component.ts";
import type { Registries } from "./config.ts";
import {
  choiceRows,
  defaultOf,
  descriptionOf,
  freeValues,
  inlineYaml,
  type OptionRow,
  optionRows,
  typeOfSchema,
} from "./describe-schema.ts";
import { logLevel } from "./load.ts";
import { pipelineOptions } from "./pipelines.ts";

/** A flag and an environment variable that go before the file. */
export interface DeploymentSetting {
  readonly flag: string;
  readonly value: string;
  readonly env: string;
  readonly path: string | null;
  readonly description: string;
}

const INTRODUCTION = `# Configuration

<!-- Made from the schemas in the code by \`npm run docs\`. Change those, not this page. -->

A pipeline file is one YAML 1.2 document. \`weir run FILE\` starts what it describes, \`weir check FILE\` only says
whether it would. The files in \`pipelines/\` are complete examples.

\`\`\`yaml
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  default:
    match: "**"
    steps:
      - trace
      - level
      - labels: { namespace: kubernetes.namespace_name, app: kubernetes.labels.app }
    to: [store]
\`\`\`

| key | what stands there |
| --- | --- |
| \`receivers\` | where logs come in: a name of your choice, and behind it \`type\` and the options of that type; at least one |
| \`pipelines\` | what happens to them: a name, and behind it the options below; at least one |
| \`sinks\` | where lines go: a name, \`type\` and options; \`store: { type: store }\` need not be written down |
`;

const RULES = `
Keys that begin with \`x-\` are left alone: they are a place for anchors (\`&name\`), which may be used (\`*name\`) and
merged (\`<<: *name\`) anywhere.

**Environment.** \`\${env:NAME}\` in a value stands for an environment variable, \`\${env:NAME:-default}\` for a default
where it is empty or not set, and \`$\${\` for a plain \`\${\`. A value that is nothing but a reference, without quotes
around it, is read as if it stood there itself, so it can be a number. Inside \`[ ]\` and \`{ }\` YAML wants quotes around
a reference.

**Mistakes.** Everything that is wrong is told at once, each in a line of its own with its place:

\`\`\`
pipelines/web.yaml:14:18  pipelines.web.steps[0].parse: unknown key "wiht", did you mean "with"?
\`\`\`
`;

/** The reference page, in Markdown, from the schemas and examples of everything that is registered. */
export function renderReference(registries: Registries, settings: readonly DeploymentSetting[] = []): string {
  const sections = Object.entries(registries.sections);
  return [
    INTRODUCTION,
    ...sections.map(([name]) => `| \`${name}\` | [see below](#${name}-settings) |\n`),
    `| \`log_level\` | ${typeOfSchema(logLevel)}; ${defaultOf(logLevel)} when left out. ${descriptionOf(logLevel)} |\n`,
    RULES,
    "\n## Receivers\n",
    ...components(registries.receivers),
    "\n## Pipelines\n",
    "\nA record goes through the first pipeline, in the order of the file, whose `from` and `match` fit. One that no pipeline\ntakes is dropped and counted.\n",
    table(optionRows(pipelineOptions)),
    "\n`steps` is a list of what is done with each record, in this order: a step's name, or the name and behind it the\noptions. Without it lines are stored as they come, with the label `tag`.\n",
    "\n## Steps\n",
    ...components(registries.steps),
    "\n## Parsers\n",
    "\nFor the step `parse`. A parser takes a line apart or leaves it alone. Numbers keep the text that they have in the\nline, which the examples show in quotes.\n",
    ...Object.values(registries.parsers).map(parser),
    "\n## Sinks\n",
    ...components(registries.sinks),
    ...sharedOptions(registries.sinks),
    ...sections.map(([name, schema]) => `\n## ${name} settings\n${paragraph(descriptionOf(schema))}${options(schema)}`),
    ...deployment(settings),
  ].join("");
}

function components(specs: Readonly<Record<string, OptionsSpec>>): string[] {
  return Object.values(specs).map(
    (spec) => `\n### ${spec.name}\n\n${spec.summary}\n${options(spec.options, spec.shared)}`,
  );
}

/** Options that several sinks have, once. */
function sharedOptions(specs: Readonly<Record<string, OptionsSpec>>): string[] {
  const all = new Map<z.ZodType, string[]>();
  for (const { name, shared } of Object.values(specs)) {
    if (shared !== undefined) all.set(shared, [...(all.get(shared) ?? []), name]);
  }
  return [...all].map(([schema, names]) => {
    const list = names.map((name) => `\`${name}\``).join(", ");
    return `\n### Options of every sink that sends records on\n\nThese are ${list}. Each goes through the intake log at its own pace; see docs/sinks.md.\n${options(schema)}`;
  });
}

function options(schema: z.ZodType, shared?: z.ZodType): string {
  const choices = choiceRows(schema);
  if (choices.length > 0) return choices.map(({ type, rows }) => `\nWith \`type: ${type}\`:\n${table(rows)}`).join("");
  const all = optionRows(schema);
  const elsewhere = new Set(shared === undefined ? [] : optionRows(shared).map(({ name }) => name));
  const rows = all.filter(({ name }) => !elsewhere.has(name));
  if (rows.length > 0) return table(rows);
  if (all.length > 0) return "\nNo options of its own.\n";
  const values = freeValues(schema);
  return values === undefined ? "\nNo options.\n" : `\nNames of your choice, and behind each ${values}.\n`;
}

function table(rows: readonly OptionRow[]): string {
  const lines = rows.map(
    ({ name, type, standard, description }) =>
      `| \`${name}\` | ${cell(type)} | ${cell(standard)} | ${cell(description)} |`,
  );
  return `\n| option | type | default | what it is for |\n| --- | --- | --- | --- |\n${lines.join("\n")}\n`;
}

function parser(spec: ParserSpec): string {
  const examples = spec.examples.map(example).join("");
  return `\n### ${spec.name}\n\n${spec.summary}\n${options(spec.options)}${examples}`;
}

function example({ title, line, options: chosen, gives }: ParserExample): string {
  const settings = chosen === undefined ? "" : `, with \`${inlineYaml(chosen)}\``;
  const fields = Object.entries(gives ?? {}).map(([name, value]) => `  ${inlineYaml(name)}: ${inlineYaml(value)}`);
  const result = gives === null ? ["→ another format"] : ["→", ...fields];
  return `\n${title}${settings}:\n\n\`\`\`text\n${[line, ...result].join("\n")}\n\`\`\`\n`;
}

function deployment(settings: readonly DeploymentSetting[]): string[] {
  if (settings.length === 0) return [];
  const rows = settings.map(({ flag, value, env, path, description }) => {
    const place = path === null ? "" : `\`${path.replace("@forward", "<forward>")}\``;
    return `| \`--${flag} ${value}\` | \`${env}\` | ${place} | ${cell(description)} |`;
  });
  return [
    "\n## Deployment\n",
    "\nFlags of `weir run` and environment variables; a flag goes before a variable, and both before the file. `<forward>`\nis the first receiver of that type, which is made where there is none.\n",
    `\n| flag | variable | in the file | what it is for |\n| --- | --- | --- | --- |\n${rows.join("\n")}\n`,
  ];
}

function paragraph(text: string): string {
  return text === "" ? "" : `\n${text}\n`;
}

/** Text for a cell of a table. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}
