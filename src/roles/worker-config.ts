import type { WorkerConfig } from "./partition-worker.ts";
import { pipelinesWithout } from "./record-sinks.ts";
import { recordSinksOf } from "./sink-specs.ts";

/** A configuration as workers need it: without the sinks that go at their own pace. */
export function withoutRecordSinks({ pipelines, sinks, sections }: WorkerConfig): WorkerConfig {
  const others = recordSinksOf(sinks);
  const own = sinks.filter(({ name }) => !others.some((sink) => sink.name === name));
  return { pipelines: pipelinesWithout(others, pipelines), sinks: own, sections };
}
