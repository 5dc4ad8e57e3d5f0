import type { Counter, Histogram, Metrics } from "../core/metrics.ts";

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export interface RequestMetrics {
  readonly requests: Counter<"op" | "result">;
  readonly seconds: Histogram<"op">;
}

/** What is counted of requests over the network. `op` is S3's name of the operation. */
export function requestMetrics(metrics: Metrics): RequestMetrics {
  return {
    requests: metrics.counter(
      "weir_objects_requests_total",
      "Requests to an object store over the network, each try counted: ok, missing and exists are answers, retry was tried again, failed was given up.",
      ["op", "result"],
    ),
    seconds: metrics.histogram(
      "weir_objects_request_seconds",
      "Time of one request to an object store over the network with all of its bytes, without waiting for its turn.",
      SECONDS,
      ["op"],
    ),
  };
}
