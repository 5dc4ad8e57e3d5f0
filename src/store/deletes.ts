import { randomBytes } from "node:crypto";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { ObjectStore } from "../objects/store.ts";
import {
  DELETES_PREFIX,
  type DeleteObject,
  type DeleteRequest,
  type DeleteState,
  decodeDelete,
  encodeRequest,
  encodeState,
  isDeleteKey,
  NOTHING_REMOVED,
  type RemovedLines,
  requestKey,
  stateKey,
  sumRemoved,
} from "./deletes-object.ts";

/** Objects that are read at once: enough to hide an object store's latency, few enough to be no burst. */
const READS_AT_ONCE = 16;
/** Names tried for a new request, of 32 random bits each, before something must be wrong. */
const NAMES_TRIED = 10;

export interface DeleteRequestsDeps {
  readonly objects: ObjectStore;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /**
   * Runs when news of other processes has been read, before it counts. Here the catalog is refreshed: a request that is
   * done hides nothing from then on, and the segments that still have its lines must be gone from view by then.
   */
  readonly beforeUse: () => Promise<void>;
}

/** A request as the list shows it. */
export interface DeleteReport extends DeleteRequest {
  readonly status: "received" | "processing" | "processed";
  readonly removed: RemovedLines;
  readonly percent: number;
  /** When it was done, in milliseconds since 1970; null before. */
  readonly processedMs: number | null;
}

interface Known {
  readonly request: DeleteRequest;
  /** Null while it is only received. */
  state: DeleteState | null;
}

const isDone = (state: DeleteState | null) => state?.status === "processed" || state?.status === "cancelled";

/** Reads all requests that there are. */
export async function openDeleteRequests(deps: DeleteRequestsDeps): Promise<DeleteRequests> {
  const requests = new DeleteRequests(deps);
  await requests.refresh();
  return requests;
}

/**
 * The deletion requests of a store: durable before they are answered for, known at once in this process, and in others
 * after their next `refresh`. State changes are arbitrated by the object store, so a request is either cancelled or
 * worked on, whoever does what at the same time. Rejects with the errors of the object store.
 */
export class DeleteRequests {
  private readonly deps: DeleteRequestsDeps;
  /** By tenant and id. */
  private readonly known = new Map<string, Map<string, Known>>();
  private readonly keys = new Set<string>();
  /** Active requests of a tenant, made anew after a change. */
  private readonly activeOf = new Map<string, readonly DeleteRequest[]>();
  private refreshing: Promise<void> | null = null;

  constructor(deps: DeleteRequestsDeps) {
    this.deps = deps;
    const { metrics } = deps;
    metrics.gauge("weir_store_delete_requests_active", "Deletion requests that are not done yet.", [], (gauge) =>
      gauge.set([...this.known.keys()].reduce((sum, tenant) => sum + this.active(tenant).length, 0)),
    );
  }

  /** Requests whose lines have to be hidden: received, or being worked on. The array changes only when they do. */
  active(tenant: string): readonly DeleteRequest[] {
    let active = this.activeOf.get(tenant);
    if (active === undefined) {
      const all = [...(this.known.get(tenant)?.values() ?? [])];
      active = all.filter(({ state }) => !isDone(state)).map(({ request }) => request);
      this.activeOf.set(tenant, active);
    }
    return active;
  }

  /** Tenants that have active requests. */
  activeTenants(): string[] {
    return [...this.known.keys()].filter((tenant) => this.active(tenant).length > 0);
  }

  state({ tenant, id }: DeleteRequest): DeleteState | null {
    return this.known.get(tenant)?.get(id)?.state ?? null;
  }

  /** The tenant's requests by the time of their creation, without cancelled ones. */
  list(tenant: string): DeleteReport[] {
    return [...(this.known.get(tenant)?.values() ?? [])]
      .filter(({ state }) => state?.status !== "cancelled")
      .map(({ request, state }) => reportOf(request, state))
      .sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
  }

  /** Makes a request. Once it resolves, the request is durable and its lines are hidden in this process. */
  async add(wanted: Omit<DeleteRequest, "id" | "createdMs">): Promise<DeleteRequest> {
    for (let left = NAMES_TRIED; ; left--) {
      const request = { ...wanted, id: randomBytes(4).toString("hex"), createdMs: this.deps.now() };
      try {
        await this.create(requestKey(request.tenant, request.id), encodeRequest(request));
      } catch (error) {
        if (codeOf(error) !== "object_exists" || left === 1) throw error;
        continue;
      }
      this.take({ kind: "request", request });
      const { id, tenant, query, startNs, endNs } = request;
      this.deps.log.info({ id, tenant, query, startNs: `${startNs}`, endNs: `${endNs}` }, "delete: a request was made");
      return request;
    }
  }

  /**
   * Takes a request back. Rejects with `delete_unknown`, `delete_processed` (done already), and without `force`
   * with `delete_partial` (some of its lines are gone) and `delete_late` (made more than `cancelMs` ago).
   */
  async cancel(tenant: string, id: string, { force, cancelMs }: { force: boolean; cancelMs: number }): Promise<void> {
    await this.refresh();
    const known = this.known.get(tenant)?.get(id);
    if (known === undefined || known.state?.status === "cancelled") throw unknownRequest(id);
    const { request } = known;
    const atMs = this.deps.now();
    await this.change(request, (state) => {
      if (state?.status === "cancelled") throw unknownRequest(id);
      if (state?.status === "processed") {
        throw refused(
          "delete_processed",
          "deletion of request which is in process or already processed is not allowed",
        );
      }
      if (!force && state !== null) {
        throw refused(
          "delete_partial",
          "Unable to cancel partially completed delete request. To force, use the ?force query parameter",
        );
      }
      if (!force && atMs - request.createdMs > cancelMs) {
        throw refused(
          "delete_late",
          "deletion of request past the deadline since its creation is not allowed. To force, use the ?force query parameter",
        );
      }
      return { status: "cancelled", atMs, removed: state?.removed ?? NOTHING_REMOVED, percent: 0, clean: [] };
    });
    this.deps.log.info({ id, tenant }, "delete: a request was cancelled");
  }

  /** Says that compaction is about to remove lines. False when the request was cancelled or done meanwhile. */
  async begin(request: DeleteRequest): Promise<boolean> {
    const now = await this.change(request, (state) => {
      if (state !== null) return null;
      return { status: "processing", atMs: this.deps.now(), removed: NOTHING_REMOVED, percent: 0, clean: [] };
    });
    return now?.status === "processing";
  }

  /**
   * Notes what a compaction has done for a request that `begin` gave true for: lines removed since the last note, and segments
   * that are now known to hold none. False when it was cancelled meanwhile.
   */
  async note(request: DeleteRequest, more: Pick<DeleteState, "removed" | "percent" | "clean">): Promise<boolean> {
    const now = await this.change(request, (state) => {
      if (state?.status !== "processing") return null;
      const { percent, clean } = more;
      return {
        status: "processing",
        atMs: this.deps.now(),
        removed: sumRemoved(state.removed, more.removed),
        percent,
        clean,
      };
    });
    return now?.status === "processing";
  }

  /** Marks the request as done: no segment holds its lines. They are no longer hidden. */
  async finish(request: DeleteRequest, removed: RemovedLines): Promise<void> {
    const now = await this.change(request, (state) => {
      if (isDone(state)) return null;
      const all = sumRemoved(state?.removed ?? NOTHING_REMOVED, removed);
      return { status: "processed", atMs: this.deps.now(), removed: all, percent: 100, clean: [] };
    });
    if (now?.status !== "processed") return;
    const { id, tenant, query } = request;
    this.deps.log.info({ id, tenant, query, ...now.removed }, "delete: a request is done; its lines are removed");
  }

  /** Removes requests that were done or cancelled before `beforeMs` from the list, and from the store. */
  async forget(beforeMs: number): Promise<void> {
    for (const [tenant, requests] of this.known) {
      for (const [id, { state }] of requests) {
        if (state === null || !isDone(state) || state.atMs >= beforeMs) continue;
        requests.delete(id);
        // The request first: states without a request mean nothing, but a request without its states would begin anew.
        await this.deps.objects.delete(requestKey(tenant, id));
        for (let n = 1; n <= state.n; n++) await this.deps.objects.delete(stateKey(tenant, id, n));
      }
    }
  }

  /** Reads what other processes have written since. Calls at the same time share one reading. */
  refresh(): Promise<void> {
    this.refreshing ??= this.load().finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  private async load(): Promise<void> {
    const { objects, log, beforeUse } = this.deps;
    const fresh: string[] = [];
    const listed = new Set<string>();
    for await (const { key } of objects.list(DELETES_PREFIX)) {
      listed.add(key);
      if (this.keys.has(key)) continue;
      if (isDeleteKey(key)) fresh.push(key);
      else log.warn({ key }, "delete: an object that is no deletion request; left alone");
    }
    const found: DeleteObject[] = [];
    for (let at = 0; at < fresh.length; at += READS_AT_ONCE) {
      const some = await Promise.all(fresh.slice(at, at + READS_AT_ONCE).map((key) => this.read(key)));
      found.push(...some.filter((object) => object !== null));
    }
    if (found.length > 0) await beforeUse();
    // Requests before their states.
    for (const object of found) if (object.kind === "request") this.take(object);
    for (const object of found) if (object.kind === "state") this.take(object);
    this.dropForgotten(listed);
  }

  /** Requests that are done and that another process has forgotten are forgotten here too. */
  private dropForgotten(listed: ReadonlySet<string>): void {
    for (const [tenant, requests] of this.known) {
      for (const [id, { state }] of requests) {
        if (isDone(state) && !listed.has(requestKey(tenant, id))) requests.delete(id);
      }
    }
  }

  /** An object, or null for one that is damaged, which is logged, or that was removed meanwhile. */
  private async read(key: string): Promise<DeleteObject | null> {
    try {
      return decodeDelete(key, await this.deps.objects.get(key));
    } catch (error) {
      if (codeOf(error) === "object_missing") return null;
      if (codeOf(error) !== "delete_corrupt") throw error;
      this.deps.log.error({ key }, messageOf(error));
      return null;
    }
  }

  private take(object: DeleteObject): void {
    if (object.kind === "request") {
      const { request } = object;
      const { tenant, id } = request;
      this.keys.add(requestKey(tenant, id));
      const requests = this.known.get(tenant) ?? new Map<string, Known>();
      this.known.set(tenant, requests);
      if (!requests.has(id)) requests.set(id, { request, state: null });
      this.activeOf.delete(tenant);
      return;
    }
    const { tenant, id, state } = object;
    this.keys.add(stateKey(tenant, id, state.n));
    const known = this.known.get(tenant)?.get(id);
    if (known === undefined || (known.state !== null && known.state.n >= state.n)) return;
    known.state = state;
    this.activeOf.delete(tenant);
  }

  /**
   * Changes a request's state to what `next` makes of it; null leaves it. Tries again with the newer state when another process was
   * faster. Gives the state that the request has then.
   */
  private async change(
    request: DeleteRequest,
    next: (state: DeleteState | null) => Omit<DeleteState, "n"> | null,
  ): Promise<DeleteState | null> {
    const { tenant, id } = request;
    for (;;) {
      const state = this.state(request);
      const wanted = next(state);
      if (wanted === null) return state;
      const n = (state?.n ?? 0) + 1;
      const key = stateKey(tenant, id, n);
      const made: DeleteState = { ...wanted, n };
      try {
        await this.create(key, encodeState(request, made));
        this.take({ kind: "state", tenant, id, state: made });
        return made;
      } catch (error) {
        if (codeOf(error) !== "object_exists") throw error;
        const theirs = decodeDelete(key, await this.deps.objects.get(key));
        await this.deps.beforeUse();
        this.take(theirs);
      }
    }
  }

  /** Creates an object. Our own bytes under that name mean that an earlier try went well whose answer got lost. */
  private async create(key: string, bytes: Buffer): Promise<void> {
    try {
      await this.deps.objects.putIfAbsent(key, [bytes]);
    } catch (error) {
      if (codeOf(error) !== "object_exists" || !bytes.equals(await this.deps.objects.get(key))) throw error;
    }
  }
}

function reportOf(request: DeleteRequest, state: DeleteState | null): DeleteReport {
  const status = state === null || state.status === "cancelled" ? "received" : state.status;
  return {
    ...request,
    status,
    removed: state?.removed ?? NOTHING_REMOVED,
    percent: state?.percent ?? 0,
    processedMs: status === "processed" && state !== null ? state.atMs : null,
  };
}

function unknownRequest(id: string): WeirError {
  return new WeirError("delete_unknown", "could not find delete request with given id", { context: { id } });
}

function refused(code: string, message: string): WeirError {
  return new WeirError(code, message);
}
