import { DIGEST_BYTES, digestOf } from "./seen-keys.ts";

/** Lanes that are remembered: far more than partitions that one process reads. */
const LANES_MAX = 65_536;

/** The last key of each lane (EntryDraft.hasLane), by digests of 16 bytes; of too many lanes the idlest is forgotten. */
export class LastKeys {
  /** Whether keys were added since the last time somebody set it to false. */
  isChanged = false;
  private readonly last = new Map<string, string>();
  /** While a log is recovered: when each lane's last key was received, since its entries may stand in several partitions. */
  private receivedMs = new Map<string, number>();

  has(tenant: string, key: string): boolean {
    return this.last.get(laneOf(tenant, key)) === textOf(digestOf(tenant, key));
  }

  add(tenant: string, key: string): void {
    this.set(laneOf(tenant, key), textOf(digestOf(tenant, key)));
  }

  /** As `add`, for keys that stand in a log, in whatever order its partitions have them. */
  recover(tenant: string, key: string, receivedMs: number): void {
    const lane = laneOf(tenant, key);
    if (receivedMs < (this.receivedMs.get(lane) ?? 0)) return;
    this.receivedMs.set(lane, receivedMs);
    this.set(lane, textOf(digestOf(tenant, key)));
  }

  /** Ends recovering: takes a dump, given in digests of 16 bytes. What is there already is newer. */
  load(digests: readonly Buffer[]): void {
    this.receivedMs = new Map();
    for (let i = 0; i + 1 < digests.length; i += 2) {
      const lane = textOf(digests[i]);
      if (!this.last.has(lane)) this.set(lane, textOf(digests[i + 1]));
    }
  }

  /** For each lane its digest and that of its last key, 16 bytes each, idlest first. */
  dump(): Buffer {
    const out = Buffer.allocUnsafe(this.last.size * 2 * DIGEST_BYTES);
    let at = 0;
    for (const [lane, key] of this.last) {
      at += out.write(lane, at, "latin1");
      at += out.write(key, at, "latin1");
    }
    return out;
  }

  private set(lane: string, key: string): void {
    this.last.delete(lane);
    this.last.set(lane, key);
    this.isChanged = true;
    if (this.last.size <= LANES_MAX) return;
    for (const idlest of this.last.keys()) {
      this.last.delete(idlest);
      break;
    }
  }
}

const textOf = (digest: Buffer): string => digest.toString("latin1");

function laneOf(tenant: string, key: string): string {
  const end = key.indexOf("\0");
  return textOf(digestOf(tenant, end === -1 ? key : key.slice(0, end)));
}
