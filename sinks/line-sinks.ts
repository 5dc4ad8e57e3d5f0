import type { SinkSpec } from "../src/core/component.ts";
import store from "./store.ts";

/** Sinks that get lines as the pipeline makes them, by the name of their type. Apart from the others, whose clients a worker has no use for. */
export const lineSinks = { store } satisfies Record<string, SinkSpec>;
