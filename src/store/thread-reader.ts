import { openObjectStore } from "../objects/open.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { SegmentInfo } from "./view.ts";

/** First size of the buffer that blocks are read into: two blocks of the default size, compressed badly. */
const BUFFER_BYTES = 512 * 1024;

export interface BlockPlace extends Pick<SegmentInfo, "key"> {
  readonly offset: number;
  readonly length: number;
}

/** The bytes of one block. They are valid until the next call. Errors are those of the object store. */
export type ReadBlock = (place: BlockPlace) => Buffer | Promise<Buffer>;

interface SyncStore extends ObjectStore {
  readRangeSync(key: string, start: number, length: number, into?: Buffer): Buffer;
}

/**
 * Reads blocks in a thread of its own, which opens the object store by itself. A folder is read at once, because such a
 * thread has nothing else to do, and into one buffer, used again and again; any other store asynchronously.
 */
export async function openThreadReader(objectsUrl: string): Promise<ReadBlock> {
  const objects = await openObjectStore(objectsUrl);
  if (!isSync(objects)) return ({ key, offset, length }) => objects.getRange(key, offset, length);
  let buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  return ({ key, offset, length }) => {
    if (length > buffer.length) buffer = Buffer.allocUnsafeSlow(length * 2);
    return objects.readRangeSync(key, offset, length, buffer);
  };
}

function isSync(objects: ObjectStore): objects is SyncStore {
  return "readRangeSync" in objects;
}
