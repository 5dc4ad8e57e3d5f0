import { z } from "zod";
import { compileRegex } from "../../codec/re2.ts";
import { messageOf, WeirError } from "../../core/errors.ts";
import { parsePath, pathText } from "../../core/path.ts";
import type { PipelineBuilder } from "../builder.ts";
import type { RecordContext } from "../context.ts";
import { defineStep } from "../step.ts";
import { firstOf, readValue } from "../value-source.ts";

const regexText = z.string().check((input) => {
  try {
    compileRegex(input.value);
  } catch (error) {
    input.issues.push({ code: "custom", input: input.value, message: messageOf(error) });
  }
});
const scalar = z.union([z.string(), z.number(), z.boolean()]);
const condition = z.union([
  scalar,
  z.array(scalar).min(1),
  z.strictObject({ regex: regexText.describe("RE2 pattern that the value holds somewhere.") }),
]);

/** Conditions that all have to hold: a path, and the value, a list of values, or `{regex: pattern}`. An absent field is "". */
export const conditions = z.record(pathText, condition);

const options = z
  .strictObject({
    fields: z
      .array(pathText)
      .default([])
      .describe(
        "Fields that later steps don't see, and that are left out of records stored as JSON. `$metadata`, `$resource` and `$scope` are not kept as metadata then. None by default.",
      ),
    when: conditions
      .optional()
      .describe(
        "Drops the whole record when all of these hold: path, and the value, a list of values, or `{regex: pattern}`. An absent field is empty text. Absent: no record is dropped.",
      ),
    unless: conditions
      .optional()
      .describe("Drops the whole record unless all of these hold, written as `when` is. Absent: no record is dropped."),
  })
  .refine(({ fields, when = {}, unless = {} }) => fields.length + Object.keys({ ...when, ...unless }).length > 0, {
    error: "want fields, or when or unless with at least one condition",
  });

export default defineStep({
  name: "drop",
  summary: "Leaves out fields, or whole records that are not worth keeping; those are counted.",
  options,
  compile({ fields, when = {}, unless = {} }, builder) {
    const tests = (conditions: typeof when) =>
      Object.entries(conditions).map(([path, wanted]) => compileTest(path, wanted, builder));
    const drops = tests(when);
    const keeps = tests(unless);
    if (drops.length > 0) builder.runs.push((record) => !drops.every((test) => test(record)));
    if (keeps.length > 0) builder.runs.push((record) => keeps.every((test) => test(record)));
    for (const field of fields) hide(field, builder);
  },
});

function hide(field: string, builder: PipelineBuilder): void {
  const { root, segments } = parsePath(field);
  if (root === "record") builder.names = builder.names.dropped(segments);
  else if (["metadata", "resource", "scope"].includes(root) && segments.length === 0) builder.hidden.add(root);
  else {
    throw new WeirError(
      "bad_pipeline",
      `drop: ${field} can't be left out, only fields of the record, $metadata, $resource and $scope`,
    );
  }
}

function compileTest(path: string, wanted: z.output<typeof condition>, builder: PipelineBuilder) {
  const source = firstOf([path], builder.scope);
  if (typeof wanted === "object" && !Array.isArray(wanted)) {
    const regex = compileRegex(wanted.regex);
    return (record: RecordContext) => regex.test(readValue(source, record));
  }
  const values = new Set((Array.isArray(wanted) ? wanted : [wanted]).map(String));
  return (record: RecordContext) => values.has(readValue(source, record));
}
