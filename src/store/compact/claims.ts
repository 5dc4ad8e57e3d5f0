import { createHash } from "node:crypto";
import { codeOf, messageOf, WeirError } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { ObjectStore } from "../../objects/store.ts";
import type { SegmentInfo } from "../view.ts";

/**
 * Where compactors of one store note what they have under way: `compacting/` and the SHA-1 of the first segment's key, in hex. The
 * object's text is for people. Any of them, and all, may be removed.
 */
export const CLAIMS_PREFIX = "compacting/";
/** A note that was not written anew for so long is one of a process that died. */
const STALE_MS = 60_000;
/** The same for a process that has just begun, and has only two clocks to go by, which may differ. */
const STALE_BY_CLOCK_MS = 600_000;
/** How often a note is written anew, at least; merges are asked every few seconds. */
const RENEW_MS = 15_000;

export interface ClaimDeps {
  readonly objects: ObjectStore;
  readonly log: Logger;
  /** Milliseconds that only go forward. */
  readonly ticks: () => number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

interface Seen {
  readonly modifiedMs: number;
  /** When it was first seen like that, by `ticks`. */
  readonly sinceMs: number;
}

/**
 * Keeps several compactors from merging the same segments at the same time. Nothing depends on it but their time: what a merge
 * makes is named by a change of the manifest, whoever has noted what. So a store that fails here keeps nobody from merging.
 */
export class MergeClaims {
  private readonly deps: ClaimDeps;
  private seen = new Map<string, Seen>();
  private renewedMs = 0;

  constructor(deps: ClaimDeps) {
    this.deps = deps;
  }

  /** Says which segments others have begun to merge, by the first one; removes notes of those that died. */
  async others(): Promise<(segments: readonly SegmentInfo[]) => boolean> {
    const { objects } = this.deps;
    const ticks = this.deps.ticks();
    const now = this.deps.now();
    const seen = new Map<string, Seen>();
    const stale: string[] = [];
    await this.quietly("look what others merge", async () => {
      for await (const { key, modifiedMs } of objects.list(CLAIMS_PREFIX)) {
        const before = this.seen.get(key);
        const sinceMs = before?.modifiedMs === modifiedMs ? before.sinceMs : ticks;
        if (ticks - sinceMs > STALE_MS || now - modifiedMs > STALE_BY_CLOCK_MS) stale.push(key);
        else seen.set(key, { modifiedMs, sinceMs });
      }
      if (stale.length > 0) await objects.deleteMany(stale);
    });
    this.seen = seen;
    return (segments) => seen.has(keyOf(segments));
  }

  /** Notes that these are being merged. False when somebody else has just done so. */
  async take(segments: readonly SegmentInfo[]): Promise<boolean> {
    const { objects, ticks } = this.deps;
    let isTaken = true;
    await this.quietly("note what is merged", async () => {
      try {
        await objects.putIfAbsent(keyOf(segments), [textOf(segments)]);
      } catch (error) {
        if (codeOf(error) !== "object_exists") throw error;
        isTaken = false;
      }
    });
    this.renewedMs = ticks();
    return isTaken;
  }

  /** Says that it is still so, when that is due. */
  async renew(segments: readonly SegmentInfo[]): Promise<void> {
    const { objects, ticks } = this.deps;
    if (ticks() - this.renewedMs < RENEW_MS) return;
    this.renewedMs = ticks();
    await this.quietly("note what is merged", () => objects.put(keyOf(segments), [textOf(segments)]));
  }

  async release(segments: readonly SegmentInfo[]): Promise<void> {
    await this.quietly("say that a merge has ended", () => this.deps.objects.delete(keyOf(segments)));
  }

  private async quietly(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      this.deps.log.debug({ code: error.code }, `compaction: can't ${what}: ${messageOf(error)}`);
    }
  }
}

function keyOf([first]: readonly SegmentInfo[]): string {
  return CLAIMS_PREFIX + createHash("sha1").update(first.key).digest("hex");
}

function textOf(segments: readonly SegmentInfo[]): Buffer {
  return Buffer.from(`process ${process.pid} merges ${segments.length} segments from ${segments[0].key} on\n`);
}
