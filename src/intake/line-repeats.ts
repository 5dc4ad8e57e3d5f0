import type { LineClaim } from "./intake.ts";
import { DIGEST_BYTES, type SeenKeys } from "./seen-keys.ts";

/** Lets each pushed line through once, by its id, within the last ones that `seen` remembers. */
export class LineRepeats {
  readonly seen: SeenKeys;
  /** Whether lines were added since the last time somebody set it to false. */
  isChanged = false;
  /** Lines under way; the promise ends with the claim that has them. */
  private readonly pending = new Map<string, Promise<void>>();

  constructor(seen: SeenKeys) {
    this.seen = seen;
  }

  /** Lines that are durable: `ids` has 16 bytes for each. */
  add(ids: Buffer): void {
    for (let at = 0; at < ids.length; at += DIGEST_BYTES) this.seen.add(ids.subarray(at, at + DIGEST_BYTES));
    this.isChanged = true;
  }

  /** See IntakeLog.claimLines. Nothing is held while it waits for others, so two claims never wait for each other. */
  async claim(ids: Buffer): Promise<LineClaim> {
    const keys = new Array<string>(ids.length / DIGEST_BYTES);
    for (let i = 0; i < keys.length; i++) keys[i] = ids.toString("latin1", i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES);
    for (let i = 0; this.pending.size > 0 && i < keys.length; ) {
      const other = this.pending.get(keys[i]);
      if (other === undefined) {
        i++;
        continue;
      }
      await other;
      i = 0; // Meanwhile others may have been taken.
    }
    return this.take(ids, keys);
  }

  private take(ids: Buffer, keys: readonly string[]): LineClaim {
    const isNew = new Uint8Array(keys.length);
    const taken: string[] = [];
    let end: () => void = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    for (let i = 0; i < keys.length; i++) {
      const id = ids.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES);
      if (this.seen.has(id) || this.pending.has(keys[i])) continue;
      isNew[i] = 1;
      taken.push(keys[i]);
      this.pending.set(keys[i], ended);
    }
    return {
      isNew,
      newCount: taken.length,
      end: () => {
        for (const key of taken) this.pending.delete(key);
        end();
      },
    };
  }
}
