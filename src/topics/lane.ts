import { randomBytes } from "node:crypto";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { EntryDraft } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import { sleepFor, untilAborted } from "../core/wait.ts";
import { OFFSET_EARLIEST } from "../kafka/admin.ts";
import type { KafkaMessage } from "../kafka/feed.ts";
import { runSliced } from "../push/slices.ts";
import { type BuildDeps, type BuiltBatch, buildBatch } from "./batch-builder.ts";
import type { TopicMessage } from "./facts.ts";
import { decodeIntent, encodeIntent, type Intent } from "./intent.ts";
import type { MessageResult, TopicMetrics } from "./metrics.ts";
import type { TopicOptions } from "./options.ts";
import type { Slots } from "./slots.ts";
import { tagOf } from "./tag.ts";

/** How often a lane looks whether another member is through with a batch. */
const LOOK_MS = 200;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5000;
/** Errors of an intake log that has certainly not stored what it was given. */
const NOT_STORED: ReadonlySet<string> = new Set(["intake_full", "intake_unavailable", "intake_closed"]);
/** What the entries of a batch may become, as a multiple of its messages' bytes; the batch ends where it is reached. */
const GROWTH = 4;

/** What a lane reads from. */
export interface LaneFeed {
  readonly topic: string;
  readonly partition: number;
  readonly isLost: boolean;
  readonly isCut: boolean;
  readonly highWatermark: number;
  readonly waitingBytes: number;
  readonly wantsMore: boolean;
  seek(offset: number): void;
  peek(): KafkaMessage | null;
  poll(): KafkaMessage | null;
  wait(): Promise<void>;
}

/** The group, as a lane needs it. Errors as KafkaGroup and KafkaAdmin. */
export interface LaneGroup {
  readonly memberId: string;
  readonly joins: number;
  /** Refused once the group's members have come together again since this one joined as `joins`. */
  commit(topic: string, partition: number, offset: number, metadata: string, joins: number): Promise<void>;
  committed(topic: string, partition: number): Promise<Committed>;
  members(): Promise<ReadonlySet<string>>;
  /** The oldest offset that is there, and the one behind the newest. */
  offsets(topic: string, partition: number): Promise<{ readonly low: number; readonly high: number }>;
}

export interface Committed {
  /** null: none. OFFSET_EARLIEST as in KafkaAdmin.committed. */
  readonly offset: number | null;
  readonly metadata: string;
}

/** The part of the intake log that a lane needs. */
export interface LaneIntake {
  append(draft: EntryDraft): Promise<{ readonly offset: number | null }>;
  /** Resolves when entries are taken again. */
  whenWritable(): Promise<void>;
}

export interface LaneDeps extends Omit<BuildDeps, "options"> {
  readonly options: TopicOptions;
  /** Name of the receiver: EntryDraft.source. */
  readonly receiver: string;
  readonly feed: LaneFeed;
  readonly group: LaneGroup;
  readonly intake: LaneIntake;
  /** For batches on their way: they bound the memory of all lanes together. */
  readonly slots: Slots;
  /** Aborted when the process stops: what is under way is ended, and nothing new begun. */
  readonly stopping: AbortSignal;
  /** Aborted when that takes too long. */
  readonly abandoned: AbortSignal;
  readonly metrics: TopicMetrics;
  readonly log: Logger;
}

interface OpenIntent {
  readonly intent: Intent;
  readonly offset: number;
  readonly metadata: string;
}

interface Batch {
  readonly built: BuiltBatch;
  /** The offset behind the last message. */
  readonly next: number;
  readonly count: number;
}

/**
 * One partition of a topic on its way into the intake log, each message once.
 *
 * Before a batch is appended, its bounds and an id are committed to the group beside the offset where it begins (intent.ts). The
 * id is in the entries' keys. Whoever reads the partition next, this process after a crash or another one, finds the intent and
 * makes the same batch with the same keys; an intake log that has it drops it, and it remembers the last key of each lane
 * for good. While the member that made an intent is in the group, others wait for it. A commit of a member that the group has
 * given up is refused by the broker, as is one that was begun before the group changed, however late it comes, so such a one begins no
 * batch; after each change of the group a lane looks whether what is committed is what it has committed itself.
 */
export class TopicLane {
  private readonly deps: LaneDeps;
  private readonly tag: string;
  /** Where the next batch begins. */
  private first = 0;
  /** An intent that was found, and is to be carried out as it stands. */
  private pending: Intent | null = null;
  /** What this lane has committed last, and when it was certain that nobody else has since. */
  private committed: Committed = { offset: null, metadata: "" };
  private joins = -1;
  /** An intent of this lane that may stand, and what is to stand in its place once the partition is lost. */
  private open: OpenIntent | null = null;
  /** The one before it, until it is certain that it stands no more. */
  private before: OpenIntent | null = null;
  /** Messages that were taken from the feed and are in no batch yet. */
  private held: TopicMessage[] = [];
  private messagesMax: number;

  constructor(deps: LaneDeps) {
    this.deps = deps;
    this.messagesMax = deps.options.batch_messages_max;
    this.tag = tagOf(deps.options.tag, deps.feed.topic, deps.feed.partition);
  }

  /** Works until the partition is lost or the process stops. Rejects for nothing but a mistake in the program. */
  async run(): Promise<void> {
    const { metrics, receiver, feed } = this.deps;
    try {
      while (!this.isOver) {
        if (await this.begin()) await this.work();
      }
      if (!feed.isLost) await this.settle();
      // The last intent may have been refused, and then the one before it stands.
      else
        for (const one of [this.before, this.open])
          if (one !== null) await this.finishFor(one.intent, one.offset, one.metadata);
    } finally {
      metrics.lag.remove({ receiver, topic: feed.topic, partition: String(feed.partition) });
    }
  }

  private get isOver(): boolean {
    return this.deps.feed.isLost || this.deps.stopping.aborted;
  }

  private get place(): string {
    const { topic, partition } = this.deps.feed;
    return `${topic}/${partition}`;
  }

  /** Finds out where to begin. False when the lane is over before that is known. */
  private async begin(): Promise<boolean> {
    const { feed, group } = this.deps;
    const before = { committed: this.committed, joins: this.joins };
    this.held = [];
    this.pending = null;
    this.joins = -1;
    for (let isSaid = false; !this.isOver; ) {
      const joins = group.joins;
      const found = await this.persist("look up where to begin", async () => ({
        committed: await group.committed(feed.topic, feed.partition),
        members: await group.members(),
        ...(await group.offsets(feed.topic, feed.partition)),
      }));
      if (found === null) return false;
      const standing =
        found.committed.offset !== OFFSET_EARLIEST
          ? found.committed
          : // The library has put that in the place of what this lane has committed, or another before it.
            before.joins === joins && before.committed.offset !== null
            ? before.committed
            : { offset: found.low, metadata: "" };
      const intent = decodeIntent(standing.metadata);
      if (intent !== null && intent.member !== group.memberId && found.members.has(intent.member)) {
        if (!isSaid) this.deps.log.info({ ...this.where }, `kafka: ${this.place}: waits for the member that had it`);
        isSaid = true;
        await sleepFor(LOOK_MS, this.deps.stopping);
        continue;
      }
      if (joins !== group.joins) continue;
      this.committed = found.committed;
      this.joins = joins;
      if (standing.offset === null) {
        if (!(await this.beginAnew(found))) continue;
      } else {
        this.resume(standing.offset, intent, found);
        if (this.first !== found.committed.offset && !(await this.settle())) continue;
      }
      feed.seek(this.first);
      this.showLag();
      return true;
    }
    return false;
  }

  /** A group that has not read the partition yet: where it begins is kept at once. */
  private async beginAnew({ low, high }: { low: number; high: number }): Promise<boolean> {
    this.first = this.deps.options.start === "earliest" ? low : high;
    return this.commit(this.first, "");
  }

  private resume(offset: number, intent: Intent | null, { low, high }: { low: number; high: number }): void {
    const { metrics, receiver, feed, log } = this.deps;
    this.first = offset;
    this.pending = intent;
    if (offset < low) {
      metrics.lost.inc({ receiver, topic: feed.topic }, low - offset);
      log.error(
        { ...this.where, offset, low },
        `kafka: ${this.place}: Kafka has removed the messages ${offset} to ${low - 1} before they were read; goes on at ${low}`,
      );
      this.first = low;
      if (intent !== null && intent.next <= low) this.pending = null;
    } else if (offset > high || (intent !== null && intent.next > high)) {
      log.error(
        { ...this.where, offset, high },
        `kafka: ${this.place}: the partition ends at ${high}, before what was read already: messages that were acknowledged are gone from it; goes on at ${Math.min(offset, high)}`,
      );
      this.first = Math.min(offset, high);
      this.pending = null;
    }
  }

  /** Batch after batch. Ends when the lane is over, or has to find out anew where it stands. */
  private async work(): Promise<void> {
    while (!this.isOver && !this.deps.feed.isCut) {
      if (!(await this.waitForMessages())) return;
      const giveBack = await this.deps.slots.take();
      try {
        if (this.isOver) return;
        const batch = await this.collect();
        if (batch === null) continue;
        if (!(await this.store(batch))) return;
      } finally {
        giveBack();
      }
      this.showLag();
      if (this.held.length === 0 && this.deps.feed.peek() === null && !(await this.settle())) return;
    }
  }

  /** Waits for a message, and a little longer for others. False when the lane is over, or the log is another. */
  private async waitForMessages(): Promise<boolean> {
    const { feed, options, stopping } = this.deps;
    if (this.held.length > 0) return true;
    while (feed.peek() === null) {
      if (this.isOver || feed.isCut) return false;
      await untilAborted(feed.wait(), stopping);
    }
    const until = performance.now() + options.linger_ms;
    const isFull = () => feed.waitingBytes >= options.batch_bytes_max || !feed.wantsMore;
    while (!this.isOver && !isFull()) {
      const left = until - performance.now();
      if (left <= 0) break;
      await sleepFor(Math.min(left, 50), stopping);
    }
    return !this.isOver;
  }

  /** The next batch; null when the messages of an intent are not all there yet. */
  private async collect(): Promise<Batch | null> {
    const { feed, options } = this.deps;
    const { pending, held } = this;
    if (pending !== null) {
      this.take((message) => message.offset < pending.next);
      const hasAll = feed.peek() !== null || (held.at(-1)?.offset ?? -1) === pending.next - 1;
      if (!hasAll) {
        await untilAborted(feed.wait(), this.deps.stopping);
        return null;
      }
    } else {
      let bytes = held.reduce((sum, message) => sum + bytesOf(message), 0);
      this.take((message) => {
        if (held.length > 0 && (held.length >= this.messagesMax || bytes + bytesOf(message) > options.batch_bytes_max))
          return false;
        bytes += bytesOf(message);
        return true;
      });
    }
    const messages = pending === null ? held.slice(0, this.messagesMax) : held;
    const payloadBytesMax = pending === null ? options.batch_bytes_max * GROWTH : Number.POSITIVE_INFINITY;
    const built = await runSliced(buildBatch(messages, this.tag, payloadBytesMax, this.deps));
    const next = pending?.next ?? (messages[built.taken - 1]?.offset ?? this.first - 1) + 1;
    return { built, next, count: built.taken };
  }

  private take(wants: (message: KafkaMessage) => boolean): void {
    const { feed } = this.deps;
    for (let message = feed.peek(); message !== null && wants(message); message = feed.peek()) {
      feed.poll();
      this.held.push({ ...message, topic: feed.topic, partition: feed.partition });
    }
  }

  /** Declares the batch and appends it. False when the lane has to find out anew where it stands, or is over. */
  private async store(batch: Batch): Promise<boolean> {
    const { group, metrics, receiver, feed } = this.deps;
    const { next, built } = batch;
    const intent: Intent = { next, id: this.pending?.id ?? randomBytes(12).toString("hex"), member: group.memberId };
    if (built.parts.length > 0) {
      const released = this.pending === null ? "" : encodeIntent({ ...intent, member: "" });
      this.before = this.open;
      this.open = { intent, offset: this.first, metadata: released };
      if (!(await this.commit(this.first, encodeIntent(intent)))) return false;
      // Whoever lost the partition meanwhile begins nothing: the one that has it now may have waited for this intent alone.
      if (feed.isLost || this.joins !== group.joins) return this.takeBack(intent);
      const result = await this.appendAll(built, intent);
      if (result === "too large") return this.makeSmaller(batch, intent);
      if (result === "given up") return this.takeBack(intent);
      if (result === "abandoned") {
        this.pending = intent;
        return false;
      }
    }
    for (const [name, count] of Object.entries(built.results) as [MessageResult, number][])
      if (count > 0) metrics.messages.inc({ receiver, topic: feed.topic, result: name }, count);
    metrics.bytes.inc({ receiver, topic: feed.topic }, built.bytes);
    this.held.splice(0, batch.count);
    this.first = next;
    this.pending = null;
    if (built.parts.length > 0) this.open = { intent, offset: next, metadata: "" };
    return true;
  }

  private async appendAll(built: BuiltBatch, intent: Intent): Promise<"done" | "too large" | "given up" | "abandoned"> {
    const { options, receiver, metrics, feed, now } = this.deps;
    let done = 0;
    // The largest first: where the intake log takes that one, it takes the others.
    const parts = [...built.parts].sort((a, b) => b.payload.length - a.payload.length);
    for (const { name, kind, payload } of parts) {
      const lane = `kafka ${options.group} ${feed.topic} ${feed.partition} ${name}`;
      const draft: EntryDraft = {
        kind,
        tenant: options.tenant,
        source: receiver,
        receivedMs: now(),
        payload,
        dedupeKey: `${lane}\0${intent.next} ${intent.id}`,
        hasLane: true,
        origin: `kafka ${feed.topic} ${feed.partition}`,
      };
      const result = await this.append(draft, done === 0);
      if (result === "too large" || result === "given up" || result === "abandoned") return result;
      metrics.batches.inc({ receiver, topic: feed.topic, result });
      done++;
    }
    return "done";
  }

  /** Until the intake log has it. While nothing of the batch was appended, a lane that is over gives up. */
  private async append(
    draft: EntryDraft,
    mayGiveUp: boolean,
  ): Promise<"stored" | "repeat" | "too large" | "given up" | "abandoned"> {
    const { intake, abandoned, log } = this.deps;
    for (let attempt = 0; ; attempt++) {
      try {
        const { offset } = await intake.append(draft);
        return offset === null ? "repeat" : "stored";
      } catch (error) {
        if (codeOf(error) === "intake_entry_too_large") return "too large";
        if (!(error instanceof WeirError)) throw error;
        // What may be stored after all is not given up under this key: whoever goes on appends it under the same one.
        if (!NOT_STORED.has(error.code) && this.open !== null) {
          const { intent } = this.open;
          this.open = { ...this.open, metadata: encodeIntent({ ...intent, member: "" }) };
          this.pending = intent;
        }
        if (attempt === 0) log.warn({ ...this.where }, `kafka: ${this.place}: waits: ${error.message}`);
      }
      const mayEnd = () => abandoned.aborted || (mayGiveUp && this.isOver);
      await this.untilWritable(mayEnd);
      if (!mayEnd()) await sleepFor(pauseMs(attempt), mayGiveUp ? this.deps.stopping : abandoned);
      if (mayEnd()) return mayGiveUp ? "given up" : "abandoned";
    }
  }

  private async untilWritable(mayEnd: () => boolean): Promise<void> {
    let isWritable = false;
    const set = () => {
      isWritable = true; // Where waiting itself fails, the next append says why.
    };
    this.deps.intake.whenWritable().then(set, set);
    // Asked now and then, since what else may end it is no promise.
    while (!isWritable && !mayEnd()) await sleepFor(LOOK_MS, this.deps.abandoned);
  }

  /** An entry that the intake log can't keep: the batch is made again with half of the messages. One alone is left out. */
  private async makeSmaller({ count, next }: Batch, intent: Intent): Promise<boolean> {
    const { log, metrics, receiver, feed } = this.deps;
    if (count > 1) {
      this.messagesMax = Math.max(1, Math.floor(count / 2));
      log.warn(
        { ...this.where, count },
        `kafka: ${this.place}: a batch of ${count} messages is more than the intake log takes as one entry; goes on with ${this.messagesMax}`,
      );
    } else {
      metrics.messages.inc({ receiver, topic: feed.topic, result: "too_large" });
      log.error(
        { ...this.where, offset: next - 1 },
        `kafka: ${this.place}: the message at offset ${next - 1} is more than the intake log takes as one entry, and is not stored; raise intake.size_max_bytes`,
      );
      this.held.splice(0, 1);
      this.first = next;
    }
    this.pending = null;
    return this.takeBack(intent);
  }

  /**
   * Nothing of the intent was appended now: the group is told, so that nobody waits for it. One that was found may have been
   * appended long ago, so it stays, but is nobody's.
   */
  private async takeBack(intent: Intent): Promise<boolean> {
    const isOwn = this.pending === null;
    if (!this.deps.feed.isLost && this.joins === this.deps.group.joins)
      return isOwn ? this.commit(this.first, "") : !this.isOver;
    await this.finishFor(intent, this.first, isOwn ? "" : encodeIntent({ ...intent, member: "" }));
    this.open = null;
    this.before = null;
    return false;
  }

  /**
   * Ends an intent of a partition that this member may have lost: only where it still stands, because then the new owner
   * waits for it. After a crash in between the intent is carried out again, with the same key.
   */
  private async finishFor(intent: Intent, offset: number, metadata = ""): Promise<void> {
    const { group, feed, abandoned, log } = this.deps;
    for (let attempt = 0; !abandoned.aborted; attempt++) {
      try {
        const { joins } = group;
        const found = await group.committed(feed.topic, feed.partition);
        const standing = decodeIntent(found.metadata);
        // Who has joined anew was given up by the group in between: the intent is another's by now.
        if (standing?.id !== intent.id || standing.member !== group.memberId) return;
        await group.commit(feed.topic, feed.partition, offset, metadata, joins);
        return;
      } catch (error) {
        if (attempt === 0)
          log.warn({ ...this.where }, `kafka: ${this.place}: can't hand over yet: ${messageOf(error)}`);
        // A member that is gone for good has nothing to hand over: others see that it is gone.
        if (group.memberId !== "" && group.memberId !== intent.member) return;
        await sleepFor(pauseMs(attempt), abandoned);
      }
    }
  }

  /** Says that everything up to here is durable. False when the lane has to find out anew where it stands. */
  private settle(): Promise<boolean> {
    if (this.joins === -1 || this.pending !== null) return Promise.resolve(true);
    if (this.committed.offset === this.first && this.committed.metadata === "") return Promise.resolve(true);
    return this.commit(this.first, "");
  }

  /**
   * Commits, with as many tries as it takes. False when the lane is over before, or somebody else has committed since this one did.
   */
  private async commit(offset: number, metadata: string): Promise<boolean> {
    const { group, feed } = this.deps;
    const result = await this.persist("commit", async () => {
      const joins = group.joins;
      if (joins !== this.joins) {
        // The group has changed. Where the partition was another's in between, that one has committed something.
        const now = await group.committed(feed.topic, feed.partition);
        const isMine = now.offset === this.committed.offset && now.metadata === this.committed.metadata;
        // A commit that got no answer may have been made.
        const isThis = now.offset === offset && now.metadata === metadata;
        if (!isMine && !isThis) return "changed";
        this.joins = joins;
        this.committed = now;
      }
      await group.commit(feed.topic, feed.partition, offset, metadata, joins);
      return "done";
    });
    if (result !== "done") return false;
    this.committed = { offset, metadata };
    this.before = null;
    if (metadata === "") this.open = null;
    return true;
  }

  /** Tries until it works; null when the lane is over before. */
  private async persist<T>(what: string, act: () => Promise<T>): Promise<T | null> {
    const { feed, log } = this.deps;
    for (let attempt = 0; ; attempt++) {
      try {
        return await act();
      } catch (error) {
        if (!(error instanceof WeirError)) throw error;
        const level = attempt === 2 ? "warn" : "debug";
        log[level]({ ...this.where }, `kafka: ${this.place}: can't ${what} yet: ${error.message}`);
      }
      if (feed.isLost || this.deps.stopping.aborted) return null;
      await sleepFor(pauseMs(attempt), this.deps.stopping);
    }
  }

  /** How far it is behind, as far as is known. */
  showLag(): void {
    const { metrics, receiver, feed } = this.deps;
    if (feed.isLost || feed.highWatermark < 0) return;
    const labels = { receiver, topic: feed.topic, partition: String(feed.partition) };
    metrics.lag.set(labels, Math.max(0, feed.highWatermark - this.first));
  }

  private get where(): { topic: string; partition: number } {
    const { topic, partition } = this.deps.feed;
    return { topic, partition };
  }
}

function bytesOf({ value, key }: KafkaMessage): number {
  return (value?.length ?? 0) + (key?.length ?? 0);
}

function pauseMs(attempt: number): number {
  return Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempt, 10)) * (1 - Math.random() / 2);
}
