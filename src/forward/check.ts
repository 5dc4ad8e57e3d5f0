import { badMessage } from "../codec/forward-error.ts";
import { EventCursor, type ForwardMessage } from "../codec/forward-message.ts";
import type { ForwardLimits } from "./options.ts";

/** Entries and bytes after which the event loop gets a turn: both take about 3 ms. */
const SLICE_ENTRIES = 20_000;
const SLICE_BYTES = 8 << 20;

/**
 * Walks all entries of a message before it is stored: structure, times, depth and number. So whatever is in the intake
 * log decodes, and nothing behind it has to deal with what an agent might send. One object serves one connection.
 *
 * A fault anywhere in a message means that nothing of it is stored. Keeping the entries before the fault would be no
 * gain: an agent that wants an ack gets none, sends the same chunk again, and the good part would be stored with every
 * try; and a message cut short would have to be written anew, while the intake keeps messages as they came.
 */
export class MessageCheck {
  /** Events found so far; markers are none. */
  events = 0;
  private readonly cursor = new EventCursor();
  private readonly entriesMax: number;
  private message: ForwardMessage | null = null;

  constructor(limits: ForwardLimits) {
    this.entriesMax = limits.entries_max;
    this.cursor.nestingMax = limits.nesting_max;
  }

  /** Begins a message; `inflated` must be there for a compressed one. Then call `step` until it gives true. */
  open(payload: Buffer, message: ForwardMessage, inflated?: Buffer): void {
    if (message.entryCount > this.entriesMax) throw this.tooMany(message.entryCount, message.entriesStart);
    this.events = 0;
    this.message = message;
    this.cursor.open(payload, message, inflated);
  }

  /** Checks a slice of the entries; true when all are checked. Throws `bad_message`. */
  step(): boolean {
    const { cursor, entriesMax, message } = this;
    const entriesStop = cursor.entries + SLICE_ENTRIES;
    const bytesStop = cursor.at + SLICE_BYTES;
    while (cursor.next()) {
      this.events++;
      if (cursor.entries > entriesMax) break;
      if (cursor.entries >= entriesStop || cursor.at >= bytesStop) return false;
    }
    if (cursor.entries > entriesMax) throw this.tooMany(cursor.entries, cursor.at);
    if (message !== null && message.mode !== "compressed" && cursor.at !== message.entriesEnd) {
      throw badMessage("shape", "entries do not end where the message says", cursor.at);
    }
    return true;
  }

  private tooMany(count: number, at: number): Error {
    return badMessage("too_many_entries", `got ${count} entries, want at most ${this.entriesMax}`, at);
  }
}
