import type { SinkSpec } from "../src/core/component.ts";
import store from "./store.ts";

/** Every sink by the name of its type, in the order of the reference page. */
export const sinks = { store } satisfies Record<string, SinkSpec>;
