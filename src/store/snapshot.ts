import type { Catalog } from "./catalog.ts";
import type { StoreSnapshot } from "./view.ts";
import type { StreamFilter, StreamWriter } from "./writer.ts";

/** Everything that a query may read, taken in one tick: catalog, and memory of the writers, of streams that `accept` takes. */
export function takeSnapshot(catalog: Catalog, writers: readonly StreamWriter[], accept?: StreamFilter): StoreSnapshot {
  const parts = writers.map((writer) => writer.snapshot(accept));
  return {
    segments: catalog.view(),
    pending: parts.flatMap(({ pending }) => pending),
    open: parts.flatMap(({ open }) => open),
  };
}
