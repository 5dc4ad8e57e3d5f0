import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Decoder, Encoder, ExtData } from "@msgpack/msgpack";

const encoder = new Encoder();
/** Nothing that a slow machine takes is taken for a lost answer; a connection that ends says so itself. */
const ACK_MS = 15_000;

/** A chunk as an agent keeps it until it is acknowledged. */
interface Chunk {
  readonly id: string;
  readonly message: Uint8Array;
  readonly lines: readonly string[];
}

function eventTime(ms: number, nanos: number): ExtData {
  const data = Buffer.alloc(8);
  data.writeUInt32BE(Math.floor(ms / 1000), 0);
  data.writeUInt32BE((ms % 1000) * 1_000_000 + nanos, 4);
  return new ExtData(0, data);
}

/**
 * An agent as Fluent Bit behaves: sends a chunk, waits for its ack, and sends it again with the same id on a new
 * connection when the ack does not come. Written with another MessagePack library than Weir's.
 */
export class Agent {
  readonly acknowledged: string[] = [];
  private readonly name: string;
  private readonly tag: string;
  private readonly address: () => { host: string; port: number };
  private line = 0;
  private stopping = false;
  private running: Promise<void> | null = null;

  constructor(name: string, tag: string, address: () => { host: string; port: number }) {
    this.name = name;
    this.tag = tag;
    this.address = address;
  }

  start(): void {
    this.running = this.run();
  }

  /** Sends no new chunk, but goes on until the present one is acknowledged. */
  async finish(): Promise<void> {
    this.stopping = true;
    await this.running;
  }

  private makeChunk(): Chunk {
    const lines: string[] = [];
    const entries: unknown[] = [];
    const count = 1 + (this.line % 40);
    for (let i = 0; i < count; i++) {
      const text = `${this.name} line ${this.line}`;
      lines.push(text);
      entries.push([eventTime(Date.now(), this.line % 1_000_000), { log: text, n: this.line }]);
      this.line++;
    }
    const id = Buffer.from(`${this.name}-${this.line}`).toString("base64");
    return { id, lines, message: encoder.encode([this.tag, entries, { chunk: id, size: count }]) };
  }

  private async run(): Promise<void> {
    while (!this.stopping) {
      const chunk = this.makeChunk();
      while (!(await this.deliver(chunk))) await sleep(20);
      this.acknowledged.push(...chunk.lines);
    }
    this.socket?.destroy();
  }

  private socket: net.Socket | null = null;

  /** True once the server has acknowledged the chunk; false when the connection or the server failed. */
  private async deliver(chunk: Chunk): Promise<boolean> {
    try {
      if (this.socket === null || this.socket.destroyed) {
        this.socket = net.connect(this.address());
        await once(this.socket, "connect", { signal: AbortSignal.timeout(2000) });
        // A reset while nobody waits for data must not be an unhandled error; the next wait sees the closed socket.
        this.socket.on("error", () => this.socket?.destroy());
      }
      const answer = ackOf(this.socket, ACK_MS);
      this.socket.write(chunk.message);
      const id = await answer;
      if (id === null) this.socket.destroy();
      return id === chunk.id;
    } catch {
      // Refused or cut: what an agent meets when the server is being restarted. It tries again.
      this.socket?.destroy();
      return false;
    }
  }
}

/** Waits until these agents have more than so many lines acknowledged, however slow the machine is. */
export async function untilAcknowledged(agents: readonly Agent[], lines: number): Promise<void> {
  while (agents.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0) <= lines) await sleep(20);
}

/** The chunk id of the next acknowledgement; null when none comes within `ms`, or the connection ends. */
export function ackOf(socket: net.Socket, ms: number): Promise<string | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => done(null), ms);
    const onData = (data: Buffer) => done((new Decoder().decode(data) as { ack: string }).ack);
    const onClose = () => done(null);
    const done = (value: string | null) => {
      clearTimeout(timer);
      socket.off("data", onData);
      socket.off("close", onClose);
      resolve(value);
    };
    socket.once("data", onData);
    socket.once("close", onClose);
  });
}
