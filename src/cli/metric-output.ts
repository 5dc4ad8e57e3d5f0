import { formatLabels, type Labels } from "../core/labels.ts";
import { formatRfc3339 } from "../core/time.ts";
import type { OutputForm } from "./entry-output.ts";
import type { Samples } from "./loki-client.ts";

/**
 * A result of numbers, series after series and time after time.
 *
 * text  `<time> {labels} <value>`
 * json  one object a line: time, labels, value (text, as the server sent it: NaN and infinities are no JSON numbers)
 * raw   the values alone
 */
export function* sampleLines(series: Samples, form: OutputForm): Generator<string> {
  for (const { metric, values } of series) {
    for (const [seconds, value] of values) yield sampleLine(metric, seconds, value, form);
  }
}

function sampleLine(labels: Labels, seconds: number, value: string, form: OutputForm): string {
  if (form === "raw") return `${value}\n`;
  // At most three decimals come, so milliseconds are whole.
  const time = formatRfc3339(BigInt(Math.round(seconds * 1000)) * 1_000_000n);
  return form === "json"
    ? `${JSON.stringify({ time, labels, value })}\n`
    : `${time} ${formatLabels(labels)} ${value}\n`;
}
