import type { StepSpec } from "../step.ts";
import drop from "./drop.ts";
import labels from "./labels.ts";
import level from "./level.ts";
import metadata from "./metadata.ts";
import parse from "./parse.ts";
import rename from "./rename.ts";
import time from "./time.ts";
import trace from "./trace.ts";

/** Every step by its name, in the order of the reference page. */
export const steps = { parse, trace, level, labels, metadata, drop, rename, time } satisfies Record<string, StepSpec>;
