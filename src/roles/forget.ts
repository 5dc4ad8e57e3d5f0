import type { DeleteService } from "../api/delete-routes.ts";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { parseDurationMs } from "../core/time.ts";
import { sleepFor } from "../core/wait.ts";
import type { ObjectStore } from "../objects/store.ts";
import { compileStreamSelector } from "../query/deletes.ts";
import type { HiddenScope } from "../query/deletes-hide.ts";
import { type DeleteRequests, openDeleteRequests } from "../store/deletes.ts";
import { Retention } from "../store/retention.ts";
import type { RetentionOptions } from "../store/retention-options.ts";
import { StoreRemovals } from "./removals.ts";

/** How often news of deletion requests is looked for where nothing else does: one small request to the store. */
const WATCH_MS = 60_000;

export interface ForgettingDeps {
  readonly objects: ObjectStore;
  readonly catalog: { refresh(): Promise<void>; refreshAnew(): Promise<void>; chainEnd(partition: number): number };
  /** By partition, the offset that the next entry of the intake log gets: all that a request made now may mean is below. */
  readonly intakeEnds: () => Promise<Readonly<Record<string, number>>>;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** What a store forgets, for everyone who has to know: lines past their retention, and lines of deletion requests. */
export interface Forgetting {
  /** For the engine: what the tenant's queries must not see. */
  readonly hidden: (tenant: string) => HiddenScope | null;
  /** For compaction. */
  readonly removals: StoreRemovals;
  /** For the API. */
  readonly service: DeleteService;
  readonly deletes: DeleteRequests;
  /** Looks for news of other processes now and then, until the signal. For a process without a compactor, which does it too. */
  watch(signal: AbortSignal): void;
}

/** Reads the deletion requests that there are. Rejects with the object store's errors, and QueryError for a selector. */
export async function openForgetting(options: RetentionOptions, deps: ForgettingDeps): Promise<Forgetting> {
  const { objects, catalog, intakeEnds, metrics, log, now } = deps;
  const retention = new Retention(options, compileStreamSelector);
  const deletes = await openDeleteRequests({ objects, metrics, log, now, beforeUse: () => catalog.refreshAnew() });
  const cancelMs = parseDurationMs(options.delete_request_cancel_period);
  const removals = new StoreRemovals({
    retention,
    deletes,
    catalog,
    deleteWaitMs: parseDurationMs(options.delete_wait),
    deleteHistoryMs: parseDurationMs(options.delete_history),
    metrics,
    log,
    now,
  });
  return {
    hidden: (tenant) => hiddenScope(retention, deletes, tenant, now()),
    removals,
    deletes,
    watch: (signal) => {
      watch(deletes, log, signal).catch((error: unknown) => log.fatal({ err: error }, `delete: ${messageOf(error)}`));
    },
    service: {
      maxIntervalMs: parseDurationMs(options.delete_max_interval),
      cancelMs,
      add: async (wanted) => deletes.add({ ...wanted, upto: await intakeEnds() }),
      list: async (tenant) => {
        await deletes.refresh();
        return deletes.list(tenant);
      },
      cancel: (tenant, id, { force }) => deletes.cancel(tenant, id, { force, cancelMs }),
    },
  };
}

async function watch(deletes: DeleteRequests, log: Logger, signal: AbortSignal): Promise<void> {
  for (;;) {
    await sleepFor(WATCH_MS, signal);
    if (signal.aborted) return;
    try {
      await deletes.refresh();
    } catch (error) {
      log.warn({ err: error }, `delete: can't look for news of deletion requests: ${messageOf(error)}`);
    }
  }
}

/** What the engine hides from a tenant's queries; null for nothing. */
function hiddenScope(retention: Retention, deletes: DeleteRequests, tenant: string, nowMs: number): HiddenScope | null {
  const active = deletes.active(tenant);
  if (active.length === 0 && retention.keepsAll(tenant)) return null;
  return {
    floorNs: retention.floorNs(tenant, nowMs),
    cutoffNs: (canonical, labels) => retention.cutoffNs(tenant, canonical, labels, nowMs),
    deletes: active,
  };
}
