import { messageOf, WeirError } from "../core/errors.ts";
import type { EntryDraft } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";

export interface Stored {
  /** null: it was there already. */
  readonly offset: number | null;
}

export interface DeliveryDeps {
  append(draft: EntryDraft): Promise<Stored>;
  whenWritable(): Promise<void>;
  readonly log: Logger;
  /** Called when `isOpen` changes. */
  onChange(): void;
}

/** Pause before trying again when the intake says that it takes entries, and then doesn't. */
const RETRY_MS_MIN = 20;
const RETRY_MS_MAX = 2000;

interface Held {
  readonly draft: EntryDraft;
  readonly resolve: (stored: Stored) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Hands messages to the intake log, and keeps those that it can't take now until it can.
 *
 * While the intake is full or its disk refuses, the receiver stops reading, and both kinds of messages wait here, with
 * their connections open. An agent that asked for an ack could instead be told by closing its connection, but waiting
 * is kinder: Fluent Bit by default waits for an ack without end, while a closed connection costs it one of its tries,
 * and by default (Retry_Limit 1) it drops the chunk after the second. If its net.io_timeout does run out, it sends the
 * chunk again on a new connection with the same id, and the intake recognises it. What arrived without wish for an ack
 * is nowhere else any more, so it must wait here in any case. Messages that wait count towards the memory limit.
 */
export class Delivery {
  private readonly deps: DeliveryDeps;
  private held: Held[] = [];
  private recovering: Promise<void> | null = null;
  private isClosed = false;
  private abandon: () => void = () => {};
  private readonly abandoned: Promise<void>;

  constructor(deps: DeliveryDeps) {
    this.deps = deps;
    this.abandoned = new Promise((resolve) => {
      this.abandon = resolve;
    });
  }

  /** Whether the intake took what was offered last. */
  get isOpen(): boolean {
    return this.recovering === null;
  }

  get heldCount(): number {
    return this.held.length;
  }

  /** Resolves when the entry is durable. Rejects when it never will be: refused for good, or `close` was called. */
  async send(draft: EntryDraft): Promise<Stored> {
    if (this.recovering !== null) return this.hold(draft);
    try {
      return await this.deps.append(draft);
    } catch (error) {
      if (!isRetriable(error)) throw error;
      return this.hold(draft, error);
    }
  }

  /** Gives up on what waits. */
  close(): void {
    this.isClosed = true;
    this.abandon();
  }

  private hold(draft: EntryDraft, cause?: unknown): Promise<Stored> {
    if (this.isClosed) {
      return Promise.reject(new WeirError("forward_closed", "the receiver closes before the intake took the message"));
    }
    const promise = new Promise<Stored>((resolve, reject) => {
      this.held.push({ draft, resolve, reject });
    });
    if (this.recovering === null) {
      this.deps.log.warn({ reason: messageOf(cause) }, "intake takes no entries: agents have to wait");
      this.recovering = this.recover();
      this.deps.onChange();
    }
    return promise;
  }

  /** Tries until nothing waits. Never rejects: what the intake says goes to those who wait. */
  private async recover(): Promise<void> {
    let pauseMs = RETRY_MS_MIN;
    while (this.held.length > 0) {
      try {
        await Promise.race([this.deps.whenWritable(), this.abandoned]);
      } catch (error) {
        if (!isRetriable(error)) this.deps.log.error({ err: error }, "waiting for the intake failed");
      }
      if (this.isClosed) {
        for (const { reject } of this.held.splice(0)) {
          reject(new WeirError("forward_closed", "the receiver closes before the intake took the message"));
        }
        this.recovered();
        return;
      }
      if (await this.tryHeld()) {
        pauseMs = RETRY_MS_MIN;
        continue;
      }
      await Promise.race([pause(pauseMs), this.abandoned]);
      pauseMs = Math.min(pauseMs * 2, RETRY_MS_MAX);
    }
    this.deps.log.info("intake takes entries again");
    this.recovered();
  }

  /** Called in the same turn in which nothing waits any more: what came to wait after that would wait for nobody. */
  private recovered(): void {
    this.recovering = null;
    this.deps.onChange();
  }

  /** Offers everything that waits, in order; false when some still has to. What arrived meanwhile waits behind it. */
  private async tryHeld(): Promise<boolean> {
    const offered = this.held;
    this.held = [];
    const again = new Set<Held>();
    await Promise.all(
      offered.map(async (item) => {
        try {
          item.resolve(await this.deps.append(item.draft));
        } catch (error) {
          if (isRetriable(error)) again.add(item);
          else item.reject(error);
        }
      }),
    );
    this.held = [...offered.filter((item) => again.has(item)), ...this.held];
    return again.size === 0;
  }
}

function isRetriable(error: unknown): boolean {
  return error instanceof WeirError && error.retriable;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
