import { z } from "zod";
import { fieldOf, READINGS, valueName } from "./record-value.ts";

/** Prometheus' own names are left to it, and Weir's and its runtime's to these. */
const RESERVED = /^(weir_|process_|nodejs_|__)/;
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
/** The seconds that Prometheus' own clients have by default. */
export const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const LABELS_MAX = 16;
const BUCKETS_MAX = 100;
const METRICS_MAX = 200;

export const labelNameText = z
  .string()
  .regex(LABEL_NAME, "want a label's name: letters, digits and _, no digit first")
  .refine((name) => !name.startsWith("__"), "names with __ in front are Prometheus' own");

const name = z
  .string()
  .max(200)
  .regex(METRIC_NAME, "want a metric's name: letters, digits, _ and :, no digit first")
  .refine(
    (text) => !RESERVED.test(text),
    "names with weir_, process_, nodejs_ or __ in front are taken: want another prefix, as app_",
  );

const SOURCES = "`$line_bytes`, `$metadata.took`, or a field of the record as `duration_ms`";

const metric = z
  .strictObject({
    type: z.enum(["counter", "gauge", "histogram"]).describe("What kind of metric it is."),
    name: name.describe("Its name; by custom with the unit at its end, and `_total` for a counter."),
    help: z.string().min(1).max(1000).describe("What it counts or measures, for those who read it."),
    value: valueName
      .optional()
      .describe(
        `What a counter grows by, a gauge is set to, or a histogram observes: ${SOURCES}. Absent for a counter: 1 for each record.`,
      ),
    reads: z
      .enum(READINGS)
      .default("number")
      .describe(
        "What the value is: `number`; `duration`, as `1m30s` or `250ms`, in seconds; `bytes`, as `10kB` or `1.5 MiB`.",
      ),
    scale: z.number().default(1).describe("The value is multiplied by it: 0.001 makes seconds of milliseconds."),
    sets: z
      .enum(["last", "sum", "max", "min"])
      .optional()
      .describe(
        "What a gauge shows: the last value, or the sum, the greatest or the least since it began. Absent: the last.",
      ),
    buckets: z
      .array(z.number())
      .min(1)
      .max(BUCKETS_MAX)
      .refine((all) => all.every((bound, i) => i === 0 || bound > all[i - 1]), "want bounds that rise")
      .optional()
      .describe(
        `Upper bounds of a histogram's buckets, rising; +Inf is added. Absent: those for seconds of Prometheus' own clients, ${BUCKETS[0]} to ${BUCKETS[BUCKETS.length - 1]}.`,
      ),
    labels: z
      .record(labelNameText, valueName)
      .default({})
      .describe(
        "Labels of its series, each with where its value comes from: `$labels.app`, `$metadata.pod`, `$level`, `$tenant`, or a field of the record as `http.status`. A longer value is cut to 256 characters.",
      ),
    series_max: z
      .int()
      .min(1)
      .max(100_000)
      .default(1000)
      .describe(
        "Series at most. What would be a further one is counted in one whose labels all are `__overflow__`; of a gauge it is left out. Both are counted in `weir_log_metric_overflow_total`.",
      ),
    expire_ms: z
      .int()
      .min(0)
      .optional()
      .describe(
        "A series that got nothing for so long is gone; 0: never. Absent: ten minutes for a gauge, whose last value says nothing of now, and never for the others.",
      ),
  })
  .superRefine((it, context) => {
    const complain = (path: PropertyKey[], message: string) => context.addIssue({ code: "custom", path, message });
    if (it.type !== "counter" && it.value === undefined) complain(["value"], `missing: a ${it.type} wants a value`);
    if (it.type !== "gauge" && it.sets !== undefined) complain(["sets"], `is for gauges, not for a ${it.type}`);
    if (it.type !== "histogram" && it.buckets !== undefined) {
      complain(["buckets"], `are for histograms, not for a ${it.type}`);
    }
    if (Object.keys(it.labels).length > LABELS_MAX) complain(["labels"], `want at most ${LABELS_MAX} labels`);
    if (it.type === "histogram" && Object.hasOwn(it.labels, "le")) {
      complain(["labels", "le"], "a histogram has a label le of its own");
    }
  });

export type MetricOptions = z.output<typeof metric>;

/** Metrics that are made from records. */
export const metrics = z
  .array(metric)
  .min(1)
  .max(METRICS_MAX)
  .superRefine((all, context) => {
    const taken = new Set<string>();
    for (const [i, one] of all.entries()) {
      const clash = exposedNames(one).find((exposed) => taken.has(exposed));
      if (clash !== undefined) {
        context.addIssue({
          code: "custom",
          path: [i, "name"],
          message: `another metric has the name ${clash} already`,
        });
      }
      for (const exposed of exposedNames(one)) taken.add(exposed);
    }
  })
  .describe("The metrics: counters, gauges and histograms.");

/** The names under which a metric's series appear. */
export function exposedNames({ name: own, type }: Pick<MetricOptions, "name" | "type">): string[] {
  return type === "histogram" ? [own, `${own}_bucket`, `${own}_sum`, `${own}_count`] : [own];
}

/** Top-level fields that the metrics need of a record. */
export function fieldsOf(all: readonly MetricOptions[]): ReadonlySet<string> {
  const names = all.flatMap((one) => [...Object.values(one.labels), ...(one.value === undefined ? [] : [one.value])]);
  return new Set(names.flatMap((text) => fieldOf(text) ?? []));
}
