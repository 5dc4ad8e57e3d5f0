import { WeirError } from "../core/errors.ts";
import type { ObjectInfo, ObjectStore } from "./store.ts";

export type StoreCall =
  | "put"
  | "putIfAbsent"
  | "get"
  | "getRange"
  | "getSuffix"
  | "head"
  | "list"
  | "delete"
  | "deleteMany";

/**
 * What becomes of a call: `fail` rejects with `store_unavailable` and nothing is done; `lost_answer` does it and rejects all the
 * same, as when a connection breaks after the request; `delayMs` waits first. A `list` may fail after a number of objects.
 */
export interface Fault {
  readonly outcome?: "fail" | "lost_answer";
  readonly delayMs?: number;
  /** Only for `list`: how many objects come before the failure. */
  readonly afterObjects?: number;
}

/** Decides about call number `n` (from 0, over all calls). */
export type FaultPlan = (call: {
  readonly op: StoreCall;
  readonly key: string;
  readonly n: number;
}) => Fault | undefined;

/** A store that fails as it is told to, for tests of what stands above it. An object is never half there. */
export class FaultyStore implements ObjectStore {
  /** Replaced at will while the store is in use. */
  plan: FaultPlan;
  /** How many calls there were. */
  calls = 0;
  private readonly inner: ObjectStore;

  constructor(inner: ObjectStore, plan: FaultPlan = () => undefined) {
    this.inner = inner;
    this.plan = plan;
  }

  put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.run("put", key, () => this.inner.put(key, parts));
  }

  putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.run("putIfAbsent", key, () => this.inner.putIfAbsent(key, parts));
  }

  get(key: string): Promise<Buffer> {
    return this.run("get", key, () => this.inner.get(key));
  }

  getRange(key: string, start: number, length: number): Promise<Buffer> {
    return this.run("getRange", key, () => this.inner.getRange(key, start, length));
  }

  getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    return this.run("getSuffix", key, () => this.inner.getSuffix(key, length));
  }

  head(key: string): Promise<ObjectInfo | null> {
    return this.run("head", key, () => this.inner.head(key));
  }

  async *list(prefix: string, after?: string): AsyncIterable<ObjectInfo> {
    const fault = this.plan({ op: "list", key: prefix, n: this.calls++ }) ?? {};
    await wait(fault);
    let left = fault.outcome === undefined ? Number.POSITIVE_INFINITY : (fault.afterObjects ?? 0);
    if (left === 0) throw refused("list", prefix);
    for await (const info of this.inner.list(prefix, after)) {
      yield info;
      if (--left <= 0) throw refused("list", prefix);
    }
    if (fault.outcome !== undefined) throw refused("list", prefix);
  }

  delete(key: string): Promise<void> {
    return this.run("delete", key, () => this.inner.delete(key));
  }

  deleteMany(keys: readonly string[]): Promise<void> {
    return this.run("deleteMany", keys[0] ?? "", () => this.inner.deleteMany(keys));
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  private async run<T>(op: StoreCall, key: string, act: () => Promise<T>): Promise<T> {
    const fault = this.plan({ op, key, n: this.calls++ }) ?? {};
    await wait(fault);
    if (fault.outcome === "fail") throw refused(op, key);
    const result = await act();
    if (fault.outcome === "lost_answer") throw refused(op, key);
    return result;
  }
}

async function wait({ delayMs = 0 }: Fault): Promise<void> {
  if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
}

function refused(op: StoreCall, key: string): WeirError {
  return new WeirError("store_unavailable", `${op} ${key}: the store was told to fail`, { retriable: true });
}
