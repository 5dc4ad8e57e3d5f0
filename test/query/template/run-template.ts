import { WeirError } from "../../../src/core/errors.ts";
import { Template, TemplateFailure } from "../../../src/query/template/template.ts";

/** Runs a template over labels; `error` has "parse: " in front when the template can't be parsed. */
export function runTemplate(
  text: string,
  labels: Readonly<Record<string, string>> = {},
  { line = "", timeNs = 0n }: { line?: string; timeNs?: bigint } = {},
): { out: string; error: string } {
  try {
    const made = new Template("line", text, {
      label: (name) => () => labels[name] ?? "",
      find: (name) => labels[name] ?? "",
      labels: () => Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)),
      line: () => line,
      lineBytes: () => line.length,
      timeNs: () => timeNs,
    }).run();
    return made instanceof TemplateFailure ? { out: "", error: made.message } : { out: made, error: "" };
  } catch (error) {
    if (error instanceof WeirError && error.code === "bad_template")
      return { out: "", error: `parse: ${error.message}` };
    throw error;
  }
}
