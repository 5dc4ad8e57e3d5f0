import { badMessage } from "./forward-error.ts";
import { CUT, itemCount, itemHead, kindAt, readInteger, skip, textHead, textLength } from "./msgpack.ts";

export { EventCursor, type EventGroup } from "./event-cursor.ts";

/*
 * A message of the Fluentd Forward Protocol v1, taken apart without decoding its records. Used twice: the receiver
 * checks a message with it before it is written to the intake log, and the pipeline reads its events.
 *
 *   Message            [tag, time, record, options?]
 *   Forward            [tag, [entry, entry, …], options?]
 *   PackedForward      [tag, bin or str of entries one after the other, options?]
 *   Compressed…        the same, the entries compressed, and the options say how
 *   entry              [time, record] or, as Fluent Bit has it, [[time, metadata], record]
 */

/** Which of the protocol's four shapes a message has. */
export type ForwardMode = "message" | "forward" | "packed" | "compressed";

/** What `fluent_signal` says: 0 logs (also when absent), 1 metrics, 2 traces. */
export type ForwardSignal = "logs" | "metrics" | "traces";

const SIGNALS: readonly ForwardSignal[] = ["logs", "metrics", "traces"];

/** The head of one whole message; offsets are into the payload it was read from. */
export interface ForwardMessage {
  readonly mode: ForwardMode;
  readonly tag: string;
  readonly signal: ForwardSignal;
  /** Value of the option `chunk`, for which the sender wants an ack; null without. */
  readonly chunk: string | null;
  /** Where the value of `chunk` stands as MessagePack, so that an ack repeats its very bytes; -1 without. */
  readonly chunkStart: number;
  readonly chunkEnd: number;
  readonly compression: "none" | "gzip" | "zstd";
  /**
   * Where the entries stand: for `forward` the elements of the array, for `packed` and `compressed` the content of
   * the bin or str, for `message` the time value and the record after it.
   */
  readonly entriesStart: number;
  readonly entriesEnd: number;
  /** Entries in the array of `forward`, markers included; 1 for `message`; -1 where only a walk can tell. */
  readonly entryCount: number;
  /** The option `size`: entries that the sender counted; -1 without. Never relied upon. */
  readonly size: number;
  /** Metadata map among the options of message mode, or -1. */
  readonly metadataStart: number;
  readonly metadataEnd: number;
}

/**
 * Reads the head and the options of the one message that fills `payload`. Entries are not looked into: EventCursor
 * does that. `optionsAt` is where the third element begins, when the caller knows it.
 *
 * In forward mode with options the entries stand before the options, so those are looked for only when somebody asks
 * for one of them: the pipeline never does, and is spared a walk over all entries.
 *
 * Throws `bad_message` with the byte offset. On a payload from the intake log it never does: the receiver has checked it.
 */
export function readForwardMessage(payload: Buffer, optionsAt = -1): ForwardMessage {
  return new Head(payload, optionsAt);
}

class Head implements ForwardMessage {
  mode: ForwardMode;
  readonly tag: string;
  readonly entriesStart: number;
  readonly entryCount: number;

  private readonly payload: Buffer;
  /** Elements of the whole message. */
  private readonly count: number;
  /** Where the options stand, or would stand; -1 while nobody has looked. */
  private optionsAt: number;
  private optionsRead = false;
  private lastEntryEnd = -1;
  private signalValue: ForwardSignal = "logs";
  private chunkAt = -1;
  private chunkStop = -1;
  private compressionValue: "none" | "gzip" | "zstd" = "none";
  private sizeValue = -1;
  private metadataAt = -1;
  private metadataStop = -1;

  constructor(payload: Buffer, optionsAt: number) {
    this.payload = payload;
    const end = payload.length;
    if (end === 0) throw badMessage("cut", "got no bytes, want a message", 0);
    const outer = arrayHead(payload, 0, "a message, which is an array");
    this.count = itemCount(payload, 0);
    if (this.count < 2 || this.count > 4) {
      throw badMessage("shape", `got an array of ${this.count}, want [tag, entries] or [tag, time, record]`, 0);
    }
    const tagEnd = textEnd(payload, outer, "a tag, which is a str");
    this.tag = payload.toString("utf8", outer + textHead(payload[outer]), tagEnd);
    if (tagEnd >= end) throw badMessage("cut", "message ends after its tag", tagEnd);

    const c = payload[tagEnd];
    const kind = safeKind(payload, tagEnd);
    if (kind === "array") {
      this.mode = "forward";
      this.entriesStart = tagEnd + arrayHead(payload, tagEnd, "entries");
      this.entryCount = itemCount(payload, tagEnd);
      this.wantCount(2, tagEnd);
      // Without options the entries end where the message ends; the cursor finds out whether they really do.
      this.optionsAt = this.count === 2 ? end : optionsAt;
      return;
    }
    if (kind === "str" || kind === "bin") {
      this.mode = "packed";
      this.optionsAt = valueEnd(payload, tagEnd);
      this.lastEntryEnd = this.optionsAt;
      this.entriesStart = tagEnd + textHead(c);
      this.entryCount = -1;
      this.wantCount(2, tagEnd);
    } else if (kind === "uint" || kind === "int" || kind === "float" || kind === "ext") {
      this.mode = "message";
      this.entriesStart = tagEnd;
      this.entryCount = 1;
      this.wantCount(3, tagEnd);
      this.optionsAt = valueEnd(payload, valueEnd(payload, tagEnd));
      this.lastEntryEnd = this.optionsAt;
    } else {
      throw badMessage("shape", `got ${kind} after the tag, want entries (array, bin or str) or a time`, tagEnd);
    }
    this.readRest();
    if (this.mode === "packed" && this.compressionValue !== "none") this.mode = "compressed";
  }

  get entriesEnd(): number {
    this.readRest();
    return this.lastEntryEnd;
  }
  get signal(): ForwardSignal {
    this.readRest();
    return this.signalValue;
  }
  get chunk(): string | null {
    this.readRest();
    if (this.chunkAt === -1) return null;
    return this.payload.toString("utf8", this.chunkAt + textHead(this.payload[this.chunkAt]), this.chunkStop);
  }
  get chunkStart(): number {
    this.readRest();
    return this.chunkAt;
  }
  get chunkEnd(): number {
    this.readRest();
    return this.chunkStop;
  }
  get compression(): "none" | "gzip" | "zstd" {
    this.readRest();
    return this.mode === "compressed" || this.mode === "packed" ? this.compressionValue : "none";
  }
  get size(): number {
    this.readRest();
    return this.sizeValue;
  }
  get metadataStart(): number {
    this.readRest();
    return this.mode === "message" ? this.metadataAt : -1;
  }
  get metadataEnd(): number {
    this.readRest();
    return this.mode === "message" ? this.metadataStop : -1;
  }

  /** Elements before the options are `least`; one more may follow. */
  private wantCount(least: number, at: number): void {
    if (this.count !== least && this.count !== least + 1) {
      throw badMessage(
        "shape",
        `got an array of ${this.count}, want ${least} or ${least + 1} in ${this.mode} mode`,
        at,
      );
    }
  }

  private readRest(): void {
    if (this.optionsRead) return;
    const { payload } = this;
    if (this.optionsAt === -1) {
      let at = this.entriesStart;
      for (let i = 0; i < this.entryCount; i++) at = valueEnd(payload, at);
      this.optionsAt = at;
    }
    if (this.lastEntryEnd === -1) this.lastEntryEnd = this.optionsAt;
    const least = this.mode === "message" ? 3 : 2;
    let at = this.optionsAt;
    if (this.count > least) at = this.readOptions(at);
    if (at !== payload.length) throw badMessage("shape", `message of ${payload.length} bytes ends early`, at);
    this.optionsRead = true;
  }

  /** Reads the options at `at` and returns the offset after them. nil stands for none. A repeated key: the last counts. */
  private readOptions(at: number): number {
    const { payload } = this;
    if (at < payload.length && payload[at] === 0xc0) return at + 1;
    if (at >= payload.length || safeKind(payload, at) !== "map") {
      throw badMessage("options", "want a map of options", at);
    }
    const head = itemHead(payload[at]);
    if (at + head > payload.length) throw badMessage("cut", "options are cut", at);
    const count = itemCount(payload, at);
    at += head;
    for (let i = 0; i < count; i++) {
      const valueAt = valueEnd(payload, at);
      const next = valueEnd(payload, valueAt);
      const keyHead = textHead(payload[at]);
      if (keyHead > 0 && valueAt - at <= LONGEST_OPTION + 5) {
        this.readOption(payload.toString("latin1", at + keyHead, valueAt), valueAt, next);
      }
      at = next;
    }
    return at;
  }

  private readOption(name: string, at: number, next: number): void {
    const { payload } = this;
    const c = payload[at];
    switch (name) {
      case "chunk":
        if (c === 0xc0) this.chunkAt = this.chunkStop = -1;
        else if (kindAt(payload, at) !== "str") {
          throw badMessage("options", `option chunk: got ${kindAt(payload, at)}, want a str`, at);
        } else {
          this.chunkAt = at;
          this.chunkStop = next;
        }
        return;
      case "size": {
        const size = readInteger(payload, at);
        this.sizeValue = typeof size === "number" && size >= 0 ? size : -1;
        return;
      }
      case "fluent_signal": {
        const signal = SIGNALS[Number(readInteger(payload, at) ?? -1)];
        if (signal === undefined) throw badMessage("options", "option fluent_signal: want 0, 1 or 2", at);
        this.signalValue = signal;
        return;
      }
      case "compressed": {
        const value = payload.toString("latin1", at + textHead(c), next);
        // "text" is Fluentd's word for no compression.
        if (c === 0xc0 || value === "text") this.compressionValue = "none";
        else if (kindAt(payload, at) === "str" && (value === "gzip" || value === "zstd")) this.compressionValue = value;
        else throw badMessage("compression", "option compressed: want gzip or zstd", at);
        return;
      }
      case "metadata":
        if (this.mode !== "message") return;
        if (c === 0xc0) this.metadataAt = this.metadataStop = -1;
        else if (kindAt(payload, at) !== "map") {
          throw badMessage("options", `option metadata: got ${kindAt(payload, at)}, want a map`, at);
        } else {
          this.metadataAt = at;
          this.metadataStop = next;
        }
        return;
      default: // Whatever `Add_option` put there is nobody's business here.
    }
  }
}

const LONGEST_OPTION = "fluent_signal".length;

/** The kind of the value at `at`, with the byte that begins no value as `bad_message`. */
function safeKind(payload: Buffer, at: number): ReturnType<typeof kindAt> {
  if (payload[at] === 0xc1) throw badMessage("not_msgpack", "got byte 0xc1, which begins no value", at);
  return kindAt(payload, at);
}

/** Bytes of the head of the array at `at`. */
function arrayHead(payload: Buffer, at: number, what: string): number {
  const kind = safeKind(payload, at);
  if (kind !== "array") throw badMessage("shape", `got ${kind}, want ${what}`, at);
  const head = itemHead(payload[at]);
  if (at + head > payload.length) throw badMessage("cut", `array is cut, want ${what}`, at);
  return head;
}

/** Offset after the str at `at`. */
function textEnd(payload: Buffer, at: number, what: string): number {
  if (at >= payload.length) throw badMessage("cut", `message is cut, want ${what}`, at);
  const kind = safeKind(payload, at);
  if (kind !== "str") throw badMessage("shape", `got ${kind}, want ${what}`, at);
  const head = textHead(payload[at]);
  if (at + head > payload.length) throw badMessage("cut", `str is cut, want ${what}`, at);
  const end = at + head + textLength(payload, at);
  if (end > payload.length) throw badMessage("cut", `str is cut, want ${what}`, at);
  return end;
}

/** Offset after the value at `at`. */
function valueEnd(payload: Buffer, at: number): number {
  let end: number;
  try {
    end = skip(payload, at, payload.length);
  } catch (error) {
    throw badMessage("not_msgpack", "got byte 0xc1, which begins no value", at, "message", error);
  }
  if (end === CUT) throw badMessage("cut", "value is cut", at);
  return end;
}
