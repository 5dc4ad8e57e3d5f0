import { WeirError } from "../core/errors.ts";
import type { Engine } from "../query/engine.ts";
import { type QueryOptions, queryLimits } from "../query/options.ts";
import type { Role } from "./role.ts";

/** The engine of a process that answers no queries: all of them are refused with `query_elsewhere`. */
export function noEngine(options: QueryOptions, role: Role): Engine {
  const elsewhere = () =>
    new WeirError("query_elsewhere", `this process is a ${role}: it answers no queries; ask a querier`);
  const refuse = () => Promise.reject(elsewhere());
  const refuseNow = (): never => {
    throw elsewhere();
  };
  return {
    options,
    get forPeers() {
      return refuseNow();
    },
    limitsOf: (tenant) => queryLimits(options, tenant),
    kindOf: refuseNow,
    describe: refuseNow,
    queryRange: refuse,
    metric: refuse,
    labels: refuse,
    labelValues: refuse,
    series: refuse,
    eachBlock: refuse,
    trace: refuse,
    tail: refuse,
    close: () => Promise.resolve(),
  };
}
