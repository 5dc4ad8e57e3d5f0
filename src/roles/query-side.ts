import { type QuerierServer, startQuerierServer } from "../api/querier-server.ts";
import type { Logger } from "../core/log.ts";
import { createEngine } from "../query/create.ts";
import type { Engine } from "../query/engine.ts";
import type { QueryOptions } from "../query/options.ts";
import type { Snapshots } from "../query/snapshots.ts";
import type { PartDeps } from "./process-config.ts";
import type { StoreSide } from "./store-side.ts";

/** The engine over a store and what is not in it yet. Its `close` ends the threads that scan. */
export function openQuerySide(
  options: QueryOptions,
  store: Pick<StoreSide, "forgetting" | "reader" | "objectsUrl">,
  snapshots: Snapshots,
  { metrics, log, version }: PartDeps & { readonly version: string },
): Engine {
  const { forgetting, reader, objectsUrl } = store;
  return createEngine(options, { snapshots, hidden: forgetting.hidden, reader, objectsUrl, metrics, log, version });
}

/** Listens for other queriers, where that is wanted; null where it is not. Errors: `listen_failed`. */
export async function openForQueriers(
  { querier_listen: listen, querier_key: key }: QueryOptions,
  engine: Engine,
  log: Logger,
): Promise<QuerierServer | null> {
  return listen === "" ? null : startQuerierServer({ listen, key }, { scans: engine.forPeers, log });
}
