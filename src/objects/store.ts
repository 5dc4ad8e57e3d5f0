/** What a listing says of an object. */
export interface ObjectInfo {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /**
   * When the object was last written, in milliseconds since 1970 by the store's clock (S3: whole seconds, at the start of an upload;
   * folder: the end of the file's writing, before it got its name).
   */
  readonly modifiedMs: number;
}

/**
 * The object store that everything durable but the intake log lives in: a folder, S3, or memory for tests.
 *
 * Keys are `/`-separated, each part made of `A-Z a-z 0-9 . _ -` and `=`, no part `.` or `..`, at most 512 bytes in all; others are
 * refused with `bad_key`. Objects are immutable unless `put` is used, and become visible whole or not at all.
 * Errors are WeirErrors: `object_missing` (not retriable), `object_exists` (putIfAbsent only, not retriable),
 * `object_range` (a range outside the object), `store_unavailable` (retriable: the disk is full, the network is away).
 */
export interface ObjectStore {
  /** Creates or replaces. Durable when it resolves. `parts` are written one after the other. */
  put(key: string, parts: readonly Uint8Array[]): Promise<void>;
  /** Creates, or rejects with `object_exists`. Exactly one of several racing calls succeeds. */
  putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void>;
  get(key: string): Promise<Buffer>;
  /** Bytes [start, start + length). */
  getRange(key: string, start: number, length: number): Promise<Buffer>;
  /** The last `length` bytes (all of a shorter object) and the size of the whole. */
  getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }>;
  /** What a listing would say of it, or null when there is no such object. */
  head(key: string): Promise<ObjectInfo | null>;
  /** All objects whose key begins with `prefix`, in order of their keys' bytes, beginning after key `after`. */
  list(prefix: string, after?: string): AsyncIterable<ObjectInfo>;
  /** Deleting what is not there succeeds. */
  delete(key: string): Promise<void>;
  deleteMany(keys: readonly string[]): Promise<void>;
  close(): Promise<void>;
}
