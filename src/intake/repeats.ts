import type { SeenKeys } from "./seen-keys.ts";

/** Lets each chunk through once: one that is durable or under way is not stored again. */
export class Repeats {
  private readonly seen: SeenKeys;
  /** Chunks under way; their promises say whether they became durable. */
  private readonly pending = new Map<string, Promise<boolean>>();

  constructor(seen: SeenKeys) {
    this.seen = seen;
  }

  /**
   * The offset that `store` gave, or null for a repeat. A repeat of a chunk that is under way waits for it, and should that
   * fail, is stored itself. `store` sees to it that a chunk that became durable is in `seen` when it resolves.
   */
  async once(digest: Buffer, store: () => Promise<number>): Promise<number | null> {
    const id = digest.toString("latin1");
    for (;;) {
      if (this.seen.has(digest)) return null;
      const first = this.pending.get(id);
      if (first === undefined) break;
      if (await first) return null;
    }
    const stored = store();
    const outcome = stored.then(
      () => true,
      () => false,
    );
    this.pending.set(id, outcome);
    try {
      return await stored;
    } finally {
      this.pending.delete(id);
    }
  }
}
