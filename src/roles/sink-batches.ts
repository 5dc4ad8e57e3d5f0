/** Most of a batch, but for a single record that is larger. */
export interface BatchBounds {
  readonly records: number;
  readonly bytes: number;
}

/** What is to be sent, in batches within the bounds. `bytesOf`: what an item takes, roughly. */
export function* batchesOf<T>(
  items: readonly T[],
  bounds: BatchBounds,
  bytesOf: (item: T) => number,
): Generator<readonly T[]> {
  let batch: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const more = bytesOf(item);
    if (batch.length > 0 && (batch.length >= bounds.records || bytes + more > bounds.bytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(item);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}
