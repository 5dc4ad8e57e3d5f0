import type { IntakeEntry } from "../core/intake-entry.ts";
import type { EntryReader, IntakeLog } from "../intake/intake.ts";
import type { PostedEntry } from "./worker-messages.ts";

/** What a thread is sent ahead of what it has taken: some 50 ms of work, so that it never waits for the main thread. */
const AHEAD_BYTES = 4 * 1024 * 1024;
const AHEAD_ENTRIES = 512;
/** Bytes and entries of one message. Small entries go together; a large one goes alone. */
const MESSAGE_BYTES = 256 * 1024;
const MESSAGE_ENTRIES = 64;

export interface FeederDeps {
  readonly intake: Pick<IntakeLog, "read" | "nextOffset">;
  readonly partition: number;
  /** All entries below `through` have been sent then, or are lost. */
  readonly send: (entries: readonly PostedEntry[], through: number, memory: ArrayBuffer[]) => void;
}

/**
 * Sends a partition's entries to a thread, as far ahead as is allowed. Bytes that nobody else needs are handed over, others
 * are copied: entries that came back from disk, and small ones that lie in memory with others.
 */
export class EntryFeeder {
  readonly partition: number;
  private readonly deps: FeederDeps;
  private readonly reader: EntryReader;
  private aheadBytes = 0;
  private aheadEntries = 0;
  private isClosed = false;
  private wake: () => void = () => {};
  private readonly done: Promise<void>;

  constructor(from: number, deps: FeederDeps) {
    this.deps = deps;
    this.partition = deps.partition;
    this.reader = deps.intake.read(deps.partition, from);
    this.done = this.loop();
  }

  /** Resolves when the feeder is closed; rejects when it can't go on. */
  ended(): Promise<void> {
    return this.done;
  }

  /** The thread has taken so much. */
  taken(entries: number, bytes: number): void {
    this.aheadEntries -= entries;
    this.aheadBytes -= bytes;
    this.wake();
  }

  /** The partition can be read by another afterwards. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.wake();
    await this.reader.close();
  }

  private async loop(): Promise<void> {
    const { intake, partition, send } = this.deps;
    let told = -1;
    while (!this.isClosed) {
      if (this.aheadBytes >= AHEAD_BYTES || this.aheadEntries >= AHEAD_ENTRIES) {
        await this.room();
        continue;
      }
      const entries: PostedEntry[] = [];
      const memory: ArrayBuffer[] = [];
      let bytes = 0;
      let through = 0;
      while (bytes < MESSAGE_BYTES && entries.length < MESSAGE_ENTRIES) {
        // Whatever comes between these two is not in `end`.
        const end = intake.nextOffset(partition);
        const entry = await this.reader.poll();
        if (entry === null) {
          through = end;
          break;
        }
        const posted = post(entry, memory);
        entries.push(posted);
        bytes += posted.payload.length + (posted.inflated?.length ?? 0);
        through = entry.offset + 1;
      }
      if (this.isClosed) return;
      if (entries.length > 0 || through !== told) {
        this.aheadBytes += bytes;
        this.aheadEntries += entries.length;
        told = through;
        send(entries, through, memory);
      } else await Promise.race([this.reader.wait(), this.room()]);
    }
  }

  /** Resolves when the thread has taken something, or at `close`. */
  private room(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}

function post(entry: IntakeEntry, memory: ArrayBuffer[]): PostedEntry {
  const { offset, kind, tenant, source, receivedMs, payload, inflated, isAlone = false } = entry;
  return {
    ...{ offset, kind, tenant, source, receivedMs },
    payload: handOver(payload, isAlone, memory),
    inflated: inflated === undefined ? null : handOver(inflated, false, memory),
  };
}

/** The bytes for another thread; a copy of them unless they are all that their memory is for. */
function handOver(bytes: Buffer, isAlone: boolean, memory: ArrayBuffer[]): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, length } = bytes;
  const isWhole = isAlone || length === buffer.byteLength;
  const own =
    isWhole && buffer instanceof ArrayBuffer ? new Uint8Array(buffer, byteOffset, length) : new Uint8Array(bytes);
  memory.push(own.buffer);
  return own;
}
