import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";
import { WeirError } from "../../src/core/errors.ts";
import type { EntryDraft } from "../../src/core/intake-entry.ts";
import type { Logger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { forwardOptions } from "../../src/forward/options.ts";
import { type ForwardServer, startForward } from "../../src/forward/server.ts";

export interface LogLine {
  readonly level: string;
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Log lines from `info` up. */
export class Lines {
  readonly all: LogLine[] = [];
  readonly logger: Logger;

  constructor() {
    const at = (level: string) => (first: unknown, text?: string) => {
      const fields = typeof first === "object" && first !== null ? { ...first } : {};
      this.all.push({ level, text: text ?? String(first), fields });
    };
    const silent = (): void => undefined;
    const logger = { info: at("info"), warn: at("warn"), error: at("error"), debug: silent, trace: silent };
    this.logger = logger as unknown as Logger; // The receiver calls no more than these.
  }

  get warnings(): LogLine[] {
    return this.all.filter(({ level }) => level !== "info");
  }
}

interface Pending {
  readonly draft: EntryDraft;
  readonly resolve: (stored: { offset: number | null }) => void;
  readonly reject: (error: Error) => void;
}

/** An intake log in memory that can be held up, and can refuse. It knows repeats, those still on their way included. */
export class Recorder {
  readonly stored: EntryDraft[] = [];
  /** What is neither stored nor refused yet. */
  readonly pending: Pending[] = [];
  /** Every call, also the refused ones. */
  calls = 0;
  private readonly keys = new Set<string>();
  private isHeld = false;
  private refusal: Error | null = null;
  private writable: (() => void)[] = [];

  readonly append = (draft: EntryDraft): Promise<{ offset: number | null }> => {
    this.calls++;
    if (this.refusal !== null) return Promise.reject(this.refusal);
    return new Promise((resolve, reject) => {
      this.pending.push({ draft, resolve, reject });
      if (!this.isHeld) setImmediate(() => this.flush());
    });
  };

  readonly whenWritable = (): Promise<void> => {
    if (this.refusal === null) return Promise.resolve();
    return new Promise((resolve) => this.writable.push(resolve));
  };

  /** Stores nothing until `release`. */
  hold(): void {
    this.isHeld = true;
  }

  release(): void {
    this.isHeld = false;
    this.flush();
  }

  refuse(error: Error = new WeirError("intake_full", "the intake log is full", { retriable: true })): void {
    this.refusal = error;
  }

  accept(): void {
    this.refusal = null;
    for (const resolve of this.writable.splice(0)) resolve();
  }

  private flush(): void {
    if (this.isHeld) return;
    for (const { draft, resolve } of this.pending.splice(0)) {
      if (draft.dedupeKey !== undefined && this.keys.has(draft.dedupeKey)) {
        resolve({ offset: null });
        continue;
      }
      if (draft.dedupeKey !== undefined) this.keys.add(draft.dedupeKey);
      resolve({ offset: this.stored.push(draft) - 1 });
    }
  }
}

export interface Receiver {
  readonly server: ForwardServer;
  readonly recorder: Recorder;
  readonly lines: Lines;
  readonly port: number;
  /** Value of a metric, by name and labels as Prometheus writes them: `name{reason="x"}`. */
  metric(name: string): Promise<number>;
}

const started: ForwardServer[] = [];

/** Starts a receiver on a free port (or where `options` say) that `stopAll` stops. */
export async function startReceiver(options: Record<string, unknown> = {}): Promise<Receiver> {
  const recorder = new Recorder();
  const lines = new Lines();
  const metrics = new Metrics();
  const server = await startForward(forwardOptions.parse({ listen: ["tcp://127.0.0.1:0"], ...options }), {
    name: "agents",
    tenant: "fake",
    append: recorder.append,
    whenWritable: recorder.whenWritable,
    metrics,
    log: lines.logger,
    now: () => 1_700_000_000_000,
  });
  started.push(server);
  const metric = async (name: string): Promise<number> => {
    const line = (await metrics.render()).split("\n").find((text) => text.startsWith(`${name} `));
    return line === undefined ? 0 : Number(line.slice(name.length + 1));
  };
  return { server, recorder, lines, port: Number(server.addresses[0].split(":").at(-1)), metric };
}

/** Stops what the tests started; for `afterEach`. */
export async function stopAll(): Promise<void> {
  for (const peer of peers.splice(0)) peer.socket.destroy();
  await Promise.all(started.splice(0).map((server) => server.close()));
}

const peers: Peer[] = [];

/** The other end of a connection, byte by byte. */
export class Peer {
  readonly socket: net.Socket;
  /** What was read, one item a read. */
  readonly reads: Buffer[] = [];
  isClosed = false;
  private waiting: (() => void)[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    peers.push(this);
    const wake = (): void => {
      for (const resolve of this.waiting.splice(0)) resolve();
    };
    socket.on("data", (bytes: Buffer) => {
      this.reads.push(bytes);
      wake();
    });
    socket.on("error", () => undefined); // A reset is an end like others here.
    socket.on("end", () => {
      this.isClosed = true;
      wake();
    });
    socket.on("close", () => {
      this.isClosed = true;
      wake();
    });
  }

  static async connect(to: number | { path: string }): Promise<Peer> {
    const socket = typeof to === "number" ? net.connect({ host: "127.0.0.1", port: to }) : net.connect(to);
    const peer = new Peer(socket);
    await once(socket, "connect");
    socket.setNoDelay(true);
    return peer;
  }

  static async connectTls(port: number, options: tls.ConnectionOptions): Promise<Peer> {
    const socket = tls.connect({ host: "127.0.0.1", port, ...options });
    const peer = new Peer(socket);
    await once(socket, "secureConnect");
    return peer;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.reads);
  }

  write(...parts: readonly Uint8Array[]): void {
    for (const part of parts) this.socket.write(part);
  }

  /** Resolves when that many bytes have been read. */
  async read(count: number): Promise<Buffer> {
    await this.until(() => this.bytes.length >= count || this.isClosed);
    return this.bytes;
  }

  async closed(): Promise<void> {
    await this.until(() => this.isClosed);
  }

  private async until(isDone: () => boolean): Promise<void> {
    while (!isDone()) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }
}

/** Waits until `check` gives true; fails with what it waited for. */
export async function eventually(what: string, check: () => boolean | Promise<boolean>, ms = 120_000): Promise<void> {
  const end = performance.now() + ms;
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(5);
  }
}
