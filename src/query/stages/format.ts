import { messageOf, WeirError } from "../../core/errors.ts";
import type { LabelFormat } from "../syntax/ast.ts";
import { stageError } from "../syntax/errors.ts";
import { Template, TemplateFailure, type TemplateSource } from "../template/template.ts";
import { compileRemove } from "./drop-keep.ts";
import { type Entry, ERROR_DETAILS_LABEL, ERROR_LABEL } from "./entry.ts";
import { compileValue } from "./label-filter.ts";
import { type LineStage, TEMPLATE_ERROR } from "./stage.ts";

/** `| line_format "..."`: the template's text becomes the line. When it fails the line stays. Throws QueryError. */
export function compileLineFormat(text: string, entry: Entry, stage: string): LineStage {
  const template = compileTemplate("line", text, entry, stage, "invalid line template");
  return () => {
    entry.loadLabels();
    const made = template.run();
    if (made instanceof TemplateFailure) entry.fail(TEMPLATE_ERROR, made.message);
    else entry.replaceLine(made);
    return true;
  };
}

/**
 * `| label_format a=b, c="..."`: renames and sets, one after the other, each seeing what the ones before did.
 * Throws QueryError.
 */
export function compileLabelFormat(formats: readonly LabelFormat[], entry: Entry, stage: string): LineStage {
  const names = new Set<string>();
  for (const { name } of formats) {
    if (name === ERROR_LABEL) throw stageError(stage, `${name} cannot be formatted`);
    if (names.has(name))
      throw stageError(stage, `multiple label name '${name}' not allowed in a single format operation`);
    names.add(name);
  }
  const steps = formats.map((format) => {
    const set = compileSet(entry, format.name);
    if ("from" in format) return rename(entry, format.from, set);
    const template = compileTemplate(
      "label",
      format.template,
      entry,
      stage,
      `invalid template for label '${format.name}'`,
    );
    return () => {
      const made = template.run();
      if (made instanceof TemplateFailure) entry.fail(TEMPLATE_ERROR, made.message);
      else set(made);
    };
  });
  return () => {
    entry.loadLabels();
    for (const step of steps) step();
    return true;
  };
}

function compileSet(entry: Entry, name: string): (value: string) => void {
  if (name === ERROR_DETAILS_LABEL) {
    return (value) => {
      entry.errorDetails = value;
    };
  }
  const id = entry.reserve(name);
  return (value) => entry.setFormatted(id, value);
}

/** The value moves; where there is none nothing happens. */
function rename(entry: Entry, from: string, set: (value: string) => void): () => void {
  const value = compileValue(entry, from);
  const remove = compileRemove(entry, from);
  return () => {
    const text = value();
    if (text === undefined) return;
    set(text);
    remove();
  };
}

function compileTemplate(name: string, text: string, entry: Entry, stage: string, what: string): Template {
  try {
    return new Template(name, text, sourceOf(entry));
  } catch (error) {
    if (!(error instanceof WeirError) || error.code !== "bad_template") throw error;
    throw stageError(stage, `${what}: ${messageOf(error)}`, error);
  }
}

function sourceOf(entry: Entry): TemplateSource {
  return {
    label(name) {
      const value = compileValue(entry, name);
      return () => value() ?? "";
    },
    find(name) {
      if (name === ERROR_LABEL) return entry.error;
      return name === ERROR_DETAILS_LABEL ? entry.errorDetails : entry.find(name);
    },
    labels: () => Object.entries(entry.labels()),
    line: () => entry.text,
    lineBytes: () => (entry.lineChanged ? entry.text.length : entry.end - entry.start),
    timeNs: () => entry.timeNs,
  };
}
