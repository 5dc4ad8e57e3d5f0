import type { ObjectStore } from "./store.ts";

const DAY_MS = 86_400_000;

interface LeavesUploads extends ObjectStore {
  abortLeftovers(beforeMs: number): Promise<number>;
}

/**
 * Removes what writers that were killed have left in the store and no listing shows: in S3 uploads in parts that began more than a day
 * before `nowMs`. Gives how many. Other stores have none: a folder is tidied up when it is opened.
 */
export async function removeLeftovers(objects: ObjectStore, nowMs: number): Promise<number> {
  return leavesUploads(objects) ? objects.abortLeftovers(nowMs - DAY_MS) : 0;
}

function leavesUploads(objects: ObjectStore): objects is LeavesUploads {
  return "abortLeftovers" in objects;
}
