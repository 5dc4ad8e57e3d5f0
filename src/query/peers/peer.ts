import { messageOf, WeirError } from "../../core/errors.ts";
import type { PeerTarget } from "./address.ts";
import { type Answer, type AnswerRoom, ask, createAgent } from "./ask.ts";
import { HELLO_PATH, type Hello, hello, PEER_IN_FLIGHT_MAX, SCAN_PATH, SCAN_TYPE } from "./protocol.ts";

const HELLO_BYTES_MAX = 16 * 1024;
/** Longest wait for a hello: it costs the other nothing, so one that takes longer is of no use now. */
const HELLO_TIMEOUT_MS = 2000;
/** How long a querier is left alone after its first failure in a row; twice as long after each further one. */
const REST_MIN_MS = 250;
const REST_MAX_MS = 30_000;
/** How long one is left alone that has enough to do. */
const BUSY_MS = 100;

export interface PeerSetup {
  /** Who asks. */
  readonly id: string;
  readonly version: string;
  /** What all queriers know, or "". */
  readonly key: string;
  readonly room: AnswerRoom;
  /** `performance.now`. */
  readonly now: () => number;
  /** It takes batches. */
  readonly onReady: (peer: Peer) => void;
  /** What is worth telling people: it was of use (null) for the first time, or again; or why not, once until it is again. */
  readonly onChange: (peer: Peer, trouble: string | null) => void;
}

/**
 * Another querier as this one sees it. It gets batches once it has answered a hello: that says that it is there, of the same
 * version, knows the same key, and is not this process itself. After a failure it rests, and has to answer a hello again.
 */
export class Peer {
  readonly target: PeerTarget;
  /** Batches under way. */
  inFlight = 0;
  /** As it said itself. */
  parallel = 1;
  /** Batches that it may have at one time. */
  window = 0;
  private windowMax = 0;
  private readonly setup: PeerSetup;
  private readonly agent;
  private readonly closing = new AbortController();
  private state: "new" | "greeted" | "ready" | "self" = "new";
  private restUntilMs = 0;
  private failures = 0;
  /** What was told last; null for nothing yet. */
  private isInTrouble: boolean | null = null;

  constructor(target: PeerTarget, setup: PeerSetup) {
    this.target = target;
    this.setup = setup;
    this.agent = createAgent(target, PEER_IN_FLIGHT_MAX + 1);
  }

  get name(): string {
    return this.target.name;
  }

  /** Whether it takes batches at all now. */
  get isReady(): boolean {
    return this.state === "ready" && this.setup.now() >= this.restUntilMs;
  }

  get hasRoom(): boolean {
    return this.isReady && this.inFlight < this.window;
  }

  /** Finds out whether it takes batches, unless that is known, under way, or to be left alone. Never throws. */
  greet(): void {
    if (this.state !== "new" || this.closing.signal.aborted || this.setup.now() < this.restUntilMs) return;
    this.state = "greeted";
    this.sayHello().then(
      (state) => {
        this.state = state;
        if (state === "ready") this.setup.onReady(this);
      },
      (error: unknown) => this.fail(error),
    );
  }

  /**
   * Has a batch scanned: the frame that it gave. Errors: `querier_unavailable`; `querier_busy`, which is no failure of it; what `signal`
   * brings.
   */
  async scan(body: Buffer, timeoutMs: number, bytesMax: number, signal: AbortSignal): Promise<Buffer> {
    const headers = { ...this.headers(), "content-type": SCAN_TYPE };
    const asked = { method: "POST", path: SCAN_PATH, headers, body, timeoutMs, bytesMax } as const;
    this.inFlight++;
    try {
      const answer = await ask(this.target, this.agent, { ...asked, room: this.setup.room, signal });
      if (answer.status === 200) return answer.body;
      if (answer.status === 503) {
        this.restUntilMs = this.setup.now() + BUSY_MS;
        this.window = Math.max(1, Math.floor(this.window / 2));
        throw new WeirError("querier_busy", refusal(this.name, answer), { retriable: true });
      }
      throw new WeirError("querier_unavailable", refusal(this.name, answer), { retriable: true });
    } finally {
      this.inFlight--;
    }
  }

  /** What it gave was of use. */
  succeeded(): void {
    // A hello alone proves little: one that answers nothing else goes on resting longer and longer.
    this.failures = 0;
    if (this.isInTrouble !== false) this.setup.onChange(this, null);
    this.isInTrouble = false;
    this.window = Math.min(this.windowMax, this.window + 1);
  }

  /** It did not do what it was asked for. */
  fail(error: unknown): void {
    if (this.closing.signal.aborted || this.state === "self") return;
    this.state = "new";
    const restMs = Math.min(REST_MAX_MS, REST_MIN_MS * 2 ** this.failures);
    this.failures++;
    // Not all of those who ask at the same time.
    this.restUntilMs = this.setup.now() + restMs * (0.75 + Math.random() / 2);
    if (this.isInTrouble === true) return;
    this.isInTrouble = true;
    this.setup.onChange(this, messageOf(error));
  }

  /** Ends its connections. Whoever waits for a batch has been told before. */
  close(): void {
    this.closing.abort();
    this.agent.destroy();
  }

  private async sayHello(): Promise<"ready" | "self"> {
    const { version, id, room } = this.setup;
    const asked = { method: "GET", path: HELLO_PATH, headers: this.headers(), body: null } as const;
    const bounds = { timeoutMs: HELLO_TIMEOUT_MS, bytesMax: HELLO_BYTES_MAX, signal: this.closing.signal };
    const answer = await ask(this.target, this.agent, { ...asked, ...bounds, room });
    if (answer.status !== 200) throw new WeirError("querier_unavailable", refusal(this.name, answer));
    const said = readHello(answer.body);
    if (said === null)
      throw new WeirError("querier_unavailable", `querier ${this.name}: its hello is not one of a querier`);
    if (said.id === id) return "self";
    if (said.version !== version) {
      const text = `querier ${this.name}: got version ${said.version}, want ${version}: queriers work together when all have the same`;
      throw new WeirError("querier_version", text);
    }
    this.parallel = said.parallel;
    this.windowMax = Math.min(PEER_IN_FLIGHT_MAX, said.ahead);
    this.window = this.windowMax;
    return "ready";
  }

  private headers(): Record<string, string> {
    const { key } = this.setup;
    return { "user-agent": "weir", ...(key === "" ? {} : { authorization: `Bearer ${key}` }) };
  }
}

function readHello(body: Buffer): Hello | null {
  try {
    return hello.parse(JSON.parse(body.toString("utf8")));
  } catch {
    return null; // Whatever it is, it is none.
  }
}

function refusal(name: string, { status, body }: Answer): string {
  const reason =
    status === 401
      ? "it knows another querier_key, or one where this querier has none"
      : body.toString("utf8", 0, 500).trim();
  return `querier ${name}: answers ${status}: ${reason}`;
}
