import { z } from "zod";
import { ALL_TAKEN, defineRecordSink } from "../src/core/sink.ts";
import { LogMetrics } from "./shared/log-metrics.ts";
import { exposedNames, fieldsOf, metrics } from "./shared/metric-options.ts";

/** How often series that got nothing for long are let go of while no record comes. */
const EXPIRE_EVERY_MS = 5000;

const options = z.strictObject({ metrics });

export default defineRecordSink({
  name: "prometheus",
  summary:
    "Makes metrics from records: counters, gauges and histograms that Prometheus scrapes at `/metrics`, beside Weir's own. They begin anew with each start of the process, which `rate` and `increase` know how to deal with.",
  options,
  wantsJson: (own) => fieldsOf(own.metrics).size > 0,
  fields: (own) => fieldsOf(own.metrics),
  claims: (own) => own.metrics.flatMap(exposedNames).map((name) => `metric ${name}`),
  open: (own, deps) => {
    const counts = new LogMetrics(own.metrics, deps.metrics, deps);
    const timer = setInterval(() => counts.expire(), EXPIRE_EVERY_MS);
    timer.unref();
    return {
      async write(batch, signal) {
        signal.throwIfAborted();
        counts.count(batch);
        return ALL_TAKEN;
      },
      async close() {
        clearInterval(timer);
      },
    };
  },
});
