import type { z } from "zod";
import type { OptionsSpec } from "../core/component.ts";
import type { PipelineBuilder } from "./builder.ts";

/** A step of a pipeline as the registry has it. */
export interface StepSpec<S extends z.ZodType = z.ZodType> extends OptionsSpec<S> {
  /** Tells the builder what to do with each record. `options` is what the schema gave. Throws WeirError when it can't work. */
  readonly compile: (options: unknown, builder: PipelineBuilder) => void;
}

export function defineStep<S extends z.ZodType>(
  spec: OptionsSpec<S> & { readonly compile: (options: z.output<S>, builder: PipelineBuilder) => void },
): StepSpec<S> {
  return {
    ...spec,
    // The configuration holds what this very schema gave, but one list of steps can't say so in its type.
    compile: (options, builder) => spec.compile(options as z.output<S>, builder),
  };
}
