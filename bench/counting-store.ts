import { MemoryStore } from "../src/objects/memory.ts";
import type { ObjectInfo, ObjectStore } from "../src/objects/store.ts";
import type { Requests } from "./prices.ts";

/** What S3 would be asked for an upload: the defaults of the `s3:` options. */
const MULTIPART_BYTES = 32 * 1024 * 1024;
const PART_BYTES = 16 * 1024 * 1024;
/** Objects of one LIST. */
const LIST_OBJECTS = 1000;

/** PUT requests that an object of so many bytes takes. */
export function putRequests(bytes: number): number {
  return bytes <= MULTIPART_BYTES ? 1 : Math.ceil(bytes / PART_BYTES) + 2;
}

/** A store in memory that counts what the requests would be on S3. */
export class CountingStore implements ObjectStore {
  readonly requests: Requests = { puts: 0, gets: 0, lists: 0 };
  bytesIn = 0;
  bytesOut = 0;
  /** Time of the simulated clock, which is when objects are written. */
  nowMs: () => number = Date.now;
  private readonly inner = new MemoryStore();
  private readonly written = new Map<string, number>();

  async put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    this.countPut(key, parts);
    await this.inner.put(key, parts);
  }

  async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    this.countPut(key, parts);
    await this.inner.putIfAbsent(key, parts);
  }

  async get(key: string): Promise<Buffer> {
    return this.countGet(this.inner.get(key));
  }

  async getRange(key: string, start: number, length: number): Promise<Buffer> {
    return this.countGet(this.inner.getRange(key, start, length));
  }

  async getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    this.requests.gets++;
    const found = await this.inner.getSuffix(key, length);
    this.bytesOut += found.bytes.length;
    return found;
  }

  async head(key: string): Promise<ObjectInfo | null> {
    this.requests.gets++;
    const info = await this.inner.head(key);
    return info === null ? null : this.dated(info);
  }

  async *list(prefix: string, after?: string): AsyncIterable<ObjectInfo> {
    let count = 0;
    this.requests.lists++;
    for await (const info of this.inner.list(prefix, after)) {
      if (++count % LIST_OBJECTS === 0) this.requests.lists++;
      yield this.dated(info);
    }
  }

  async delete(key: string): Promise<void> {
    await this.inner.delete(key);
  }

  /** Free of charge, as DELETE is. */
  async deleteMany(keys: readonly string[]): Promise<void> {
    await this.inner.deleteMany(keys);
  }

  async close(): Promise<void> {
    await this.inner.close();
  }

  /** Bytes that are only said to be written. */
  async pretendPut(key: string, bytes: number): Promise<void> {
    this.requests.puts += putRequests(bytes);
    this.bytesIn += bytes;
    this.written.set(key, this.nowMs());
    await this.inner.put(key, []);
  }

  pretendGets(count: number, bytes: number): void {
    this.requests.gets += count;
    this.bytesOut += bytes;
  }

  private countPut(key: string, parts: readonly Uint8Array[]): void {
    const bytes = parts.reduce((sum, { length }) => sum + length, 0);
    this.requests.puts += putRequests(bytes);
    this.bytesIn += bytes;
    this.written.set(key, this.nowMs());
  }

  private async countGet(read: Promise<Buffer>): Promise<Buffer> {
    this.requests.gets++;
    const bytes = await read;
    this.bytesOut += bytes.length;
    return bytes;
  }

  private dated(info: ObjectInfo): ObjectInfo {
    return { ...info, modifiedMs: this.written.get(info.key) ?? info.modifiedMs };
  }
}
