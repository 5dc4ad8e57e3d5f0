import { compileGlob } from "../core/glob.ts";
import type { PipelineConfig } from "./compile.ts";
import { PUSH_TAG } from "./push-run.ts";

/** Whether a pipeline takes what is pushed to this receiver. */
export function takesPushed(pipelines: readonly Pick<PipelineConfig, "from" | "match">[], receiver: string): boolean {
  return pipelines.some(
    ({ from, match }) => from.includes(receiver) && match.some((pattern) => compileGlob(pattern)(PUSH_TAG)),
  );
}
