import type { Labels } from "../../core/labels.ts";
import { ERROR_LABEL } from "../stages/entry.ts";
import { quote } from "../syntax/strings.ts";

/** What Loki says when a sample of an evaluated window carries an error. It ends in a newline. */
export function pipelineError(labels: Labels): string {
  const error = labels[ERROR_LABEL] ?? "";
  const series = Object.keys(labels)
    .sort()
    .map((name) => `${name}=${quote(labels[name])}`)
    .join(", ");
  return (
    `pipeline error: '${error}' for series: '{${series}}'.\n` +
    `Use a label filter to intentionally skip this error. (e.g | __error__!="${error}").\n` +
    'To skip all potential errors you can match empty errors.(e.g __error__="")\n' +
    'The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__="" )\n'
  );
}
