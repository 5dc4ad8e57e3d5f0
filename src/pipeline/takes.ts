import { compileGlob } from "../core/glob.ts";
import type { PipelineConfig } from "./compile.ts";
import { PUSH_TAG } from "./push-run.ts";

type Choice = Pick<PipelineConfig, "from" | "match">;

/** Whether a pipeline takes what comes to this receiver with this tag. */
export function takes(pipelines: readonly Choice[], receiver: string, tag: string): boolean {
  return pipelines.some(
    ({ from, match }) => from.includes(receiver) && match.some((pattern) => compileGlob(pattern)(tag)),
  );
}

/** Whether a pipeline takes what is pushed to this receiver. */
export function takesPushed(pipelines: readonly Choice[], receiver: string): boolean {
  return takes(pipelines, receiver, PUSH_TAG);
}
