import { objectExists, objectMissing, objectRange } from "./errors.ts";
import { checkKey, checkPrefix } from "./key.ts";
import type { ObjectInfo, ObjectStore } from "./store.ts";

interface Held {
  readonly bytes: Buffer;
  readonly modifiedMs: number;
}

/** Objects that last as long as the process: for tests and for trying things out. `nowMs` dates what is put. */
export class MemoryStore implements ObjectStore {
  private readonly objects = new Map<string, Held>();
  private readonly nowMs: () => number;

  constructor(nowMs: () => number = Date.now) {
    this.nowMs = nowMs;
  }

  async put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    checkKey(key);
    this.keep(key, parts);
  }

  async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    checkKey(key);
    if (this.objects.has(key)) throw objectExists(key);
    this.keep(key, parts);
  }

  async get(key: string): Promise<Buffer> {
    // A copy, as from any other store: who changes it must not change the object.
    return Buffer.from(this.bytesOf(key));
  }

  async getRange(key: string, start: number, length: number): Promise<Buffer> {
    const bytes = this.bytesOf(key);
    if (start < 0 || length < 0 || start + length > bytes.length) throw objectRange(key, start, length, bytes.length);
    return Buffer.from(bytes.subarray(start, start + length));
  }

  async getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    const bytes = this.bytesOf(key);
    if (length < 0) throw objectRange(key, bytes.length, length, bytes.length);
    return { bytes: Buffer.from(bytes.subarray(Math.max(0, bytes.length - length))), size: bytes.length };
  }

  async head(key: string): Promise<ObjectInfo | null> {
    checkKey(key);
    const held = this.objects.get(key);
    return held === undefined ? null : infoOf(key, held);
  }

  async *list(prefix: string, after = ""): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after);
    for (const key of keys.sort()) {
      const held = this.objects.get(key);
      if (held !== undefined) yield infoOf(key, held);
    }
  }

  async delete(key: string): Promise<void> {
    checkKey(key);
    this.objects.delete(key);
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.delete(key);
  }

  async close(): Promise<void> {}

  private keep(key: string, parts: readonly Uint8Array[]): void {
    this.objects.set(key, { bytes: Buffer.concat(parts), modifiedMs: this.nowMs() });
  }

  private bytesOf(key: string): Buffer {
    checkKey(key);
    const held = this.objects.get(key);
    if (held === undefined) throw objectMissing(key);
    return held.bytes;
  }
}

function infoOf(key: string, { bytes, modifiedMs }: Held): ObjectInfo {
  return { key, size: bytes.length, modifiedMs };
}
