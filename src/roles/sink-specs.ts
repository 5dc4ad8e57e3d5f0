import { lineSinks, recordSinks } from "../../sinks/index.ts";
import type { OptionsSpec } from "../core/component.ts";
import type { RecordSinkSpec } from "../core/sink.ts";
import type { RecordSinkConfig } from "./record-sinks.ts";
import { type DeliveryOptions, deliveryOptions } from "./sink-options.ts";

/** All sinks that a pipeline file may name. One that sends records on has the delivery options beside its own. */
export const sinkSpecs: Readonly<Record<string, OptionsSpec>> = {
  ...lineSinks,
  ...Object.fromEntries(Object.values(recordSinks).map((spec: RecordSinkSpec) => [spec.name, withDelivery(spec)])),
};

function withDelivery(spec: RecordSinkSpec): OptionsSpec {
  const { name, summary, options } = spec;
  // What waits for the end of its interval must not become too old by that.
  const all = options.safeExtend(deliveryOptions.shape).refine(
    (given) => {
      const { digest, lag_age_max_ms } = given as DeliveryOptions; // The shape's part of what it says.
      return digest === undefined || 2 * digest.interval_ms <= lag_age_max_ms;
    },
    { path: ["digest", "interval_ms"], error: "want at most half of lag_age_max_ms" },
  );
  return {
    name,
    summary,
    options: all,
    shared: deliveryOptions,
    // Its own options are among all of them.
    claims: (given) => spec.claims?.(given as Record<string, unknown>) ?? [],
  };
}

/** The sinks of a pipeline file that send records on, in the order of the file. */
export function recordSinksOf(
  sinks: readonly { readonly name: string; readonly type: string; readonly options: unknown }[],
): RecordSinkConfig[] {
  return sinks.flatMap(({ name, type, options }) => {
    const spec: RecordSinkSpec | undefined = recordSinks[type as keyof typeof recordSinks];
    // The options are what the schema of the type gave.
    return spec === undefined ? [] : [{ name, spec, options: options as RecordSinkConfig["options"] }];
  });
}
