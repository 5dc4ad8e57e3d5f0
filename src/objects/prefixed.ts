import type { ObjectInfo, ObjectStore } from "./store.ts";

/** A store within a store: objects whose keys begin with `prefix`, which ends in `/`. `close` leaves the outer one open. */
export class PrefixedObjects implements ObjectStore {
  private readonly inner: ObjectStore;
  private readonly prefix: string;

  constructor(inner: ObjectStore, prefix: string) {
    this.inner = inner;
    this.prefix = prefix;
  }

  put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.inner.put(this.prefix + key, parts);
  }

  putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    return this.inner.putIfAbsent(this.prefix + key, parts);
  }

  get(key: string): Promise<Buffer> {
    return this.inner.get(this.prefix + key);
  }

  getRange(key: string, start: number, length: number): Promise<Buffer> {
    return this.inner.getRange(this.prefix + key, start, length);
  }

  getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    return this.inner.getSuffix(this.prefix + key, length);
  }

  async head(key: string): Promise<ObjectInfo | null> {
    const info = await this.inner.head(this.prefix + key);
    return info === null ? null : { ...info, key };
  }

  async *list(prefix: string, after?: string): AsyncIterable<ObjectInfo> {
    const from = after === undefined ? undefined : this.prefix + after;
    for await (const info of this.inner.list(this.prefix + prefix, from)) {
      yield { ...info, key: info.key.slice(this.prefix.length) };
    }
  }

  delete(key: string): Promise<void> {
    return this.inner.delete(this.prefix + key);
  }

  deleteMany(keys: readonly string[]): Promise<void> {
    return this.inner.deleteMany(keys.map((key) => this.prefix + key));
  }

  async close(): Promise<void> {}
}
