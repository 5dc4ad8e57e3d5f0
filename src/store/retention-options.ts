import { z } from "zod";
import { isDuration } from "../core/time.ts";

/** A duration in Prometheus form (`30d`, `1h30m`), kept as it was written. */
const duration = z.string().refine(isDuration, "not a duration such as 24h, 30d or 1y");

/** What is wrong with a stream selector, or null. This room does not read LogQL: the language is handed in. */
export type SelectorFault = (selector: string) => string | null;

/** The `retention:` part of the configuration: how long lines are kept, and how deletion requests are treated. */
export function retentionOptions(faultOf: SelectorFault) {
  const selector = z.string().superRefine((text, context) => {
    const fault = faultOf(text);
    if (fault !== null) context.addIssue({ code: "custom", message: `not a stream selector: ${fault}` });
  });
  const stream = z.strictObject({
    selector: selector.describe('Which streams, in LogQL: `{namespace="dev"}`.'),
    period: duration.describe("How long their lines are kept; `0s` for ever."),
    priority: z
      .int()
      .min(0)
      .default(1)
      .describe(
        "Of several rules that select a stream, the one with the highest priority counts; among equals, the shortest period.",
      ),
  });
  return z.strictObject({
    period: duration
      .default("0s")
      .describe(
        "How long lines are kept that no other rule speaks of; `0s` for ever. That is the default, as in Loki: nothing is thrown away that nobody asked to be thrown away.",
      ),
    streams: z
      .array(stream)
      .default([])
      .describe("Periods for some streams, shorter or longer than `period`. Loki calls this `retention_stream`."),
    tenants: z
      .record(
        z.string().min(1),
        z.strictObject({
          period: duration.optional().describe("Instead of `period` above."),
          streams: z.array(stream).optional().describe("Instead of the list above, all of it."),
        }),
      )
      .default({})
      .describe(
        "Other rules for single tenants: a name, and behind it `period`, `streams`, or both, in place of those above.",
      ),
    delete_max_interval: duration
      .default("24h")
      .describe(
        "Largest `max_interval` that a deletion request may name; `0s` for any. Loki's; Weir takes requests as one piece whatever it says.",
      ),
    delete_request_cancel_period: duration
      .default("24h")
      .describe(
        "How long after its creation a deletion request may be cancelled without `force=true`. A day, as in Loki. What compaction has removed by then is gone all the same.",
      ),
    delete_wait: duration
      .default("0s")
      .describe(
        "How long the lines of a deletion request are only hidden, before compaction removes them. None, because whoever deletes expects it to happen; `24h` is how Loki behaves, and leaves a day for second thoughts.",
      ),
    delete_history: duration
      .default("30d")
      .describe("How long a request that is done stays in the list, so that its report can still be read."),
  });
}

export type RetentionOptions = z.output<ReturnType<typeof retentionOptions>>;
