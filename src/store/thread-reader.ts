import { openObjectStore } from "../objects/open.ts";
import type { ObjectStore } from "../objects/store.ts";
import { type BlockPlace, prefetchBlocks, type ReadBlock } from "./prefetch.ts";

/** First size of the buffer that blocks are read into: two blocks of the default size, compressed badly. */
const BUFFER_BYTES = 512 * 1024;

/** Where a thread has its blocks from. */
export interface BlockSource {
  /** Whether blocks come over the network: then many should be asked for ahead. */
  readonly isRemote: boolean;
  /** How to read blocks of which most are in `places`; a remote store begins to send them at once. */
  open(places: readonly BlockPlace[]): ReadBlock;
}

interface SyncStore extends ObjectStore {
  readRangeSync(key: string, start: number, length: number, into?: Buffer): Buffer;
}

/**
 * Blocks for a thread of its own, which opens the object store by itself. A folder is read at once, because such a
 * thread has nothing else to do, and into one buffer, used again and again; any other store ahead of time.
 */
export async function openThreadReader(objectsUrl: string): Promise<BlockSource> {
  const objects = await openObjectStore(objectsUrl, { isChecked: true });
  if (!isSync(objects)) return { isRemote: true, open: (places) => prefetchBlocks(objects, places) };
  let buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  const read: ReadBlock = ({ key, offset, length }) => {
    if (length > buffer.length) buffer = Buffer.allocUnsafeSlow(length * 2);
    return objects.readRangeSync(key, offset, length, buffer);
  };
  return { isRemote: false, open: () => read };
}

function isSync(objects: ObjectStore): objects is SyncStore {
  return "readRangeSync" in objects;
}
