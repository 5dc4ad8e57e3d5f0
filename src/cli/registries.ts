import { parsers } from "../../parsers/index.ts";
import { sinks } from "../../sinks/index.ts";
import { httpOptions } from "../api/options.ts";
import type { Registries } from "../config/config.ts";
import type { OptionsSpec } from "../core/component.ts";
import { forwardOptions } from "../forward/options.ts";
import { diskIntakeOptions } from "../intake/options.ts";
import { limitsOptions } from "../pipeline/options.ts";
import { steps } from "../pipeline/steps/index.ts";
import { queryOptions } from "../query/options.ts";
import { storeOptions } from "../store/options.ts";

const forward = {
  name: "forward",
  summary: "Receives logs by the Fluentd Forward Protocol, as Fluent Bit and Fluentd send them.",
  options: forwardOptions,
} satisfies OptionsSpec;

/** Everything that a pipeline file may name: what `weir check`, `weir run` and the reference page go by. */
export const registries = {
  receivers: { forward },
  steps,
  parsers,
  sinks,
  sections: {
    store: storeOptions,
    intake: diskIntakeOptions,
    limits: limitsOptions,
    query: queryOptions,
    http: httpOptions,
  },
} satisfies Registries;
