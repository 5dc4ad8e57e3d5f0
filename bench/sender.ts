/*
 * An agent for measurements, a process of its own: sends generated lines as Fluent Bit's Kubernetes records in
 * PackedForward messages with acknowledgements, over several connections.
 *
 *   node dist/bench/sender.js HOST:PORT LINE_BYTES SEED
 *
 * Prints one JSON object: lines, line bytes, wire bytes, seconds, and ids to ask for afterwards.
 */
import { once } from "node:events";
import net from "node:net";
import { encode } from "../src/codec/msgpack.ts";
import { makeLine, makeSources, Random, type Source } from "./lines.ts";

const CONNECTIONS = 4;
const MESSAGE_BYTES = 1_000_000;
const IN_FLIGHT = 2;

export interface SentReport {
  readonly lines: number;
  readonly lineBytes: number;
  readonly wireBytes: number;
  readonly seconds: number;
  readonly traceIds: readonly string[];
  readonly firstMs: number;
  readonly lastMs: number;
}

/** The bytes of one pod's records around the line: `{log: …, stream: "stdout", kubernetes: {…}}`. */
class PodRecord {
  readonly tag: string;
  readonly before: Buffer;
  readonly after: Buffer;

  constructor(source: Source, pod: string, random: Random) {
    const id = random.hex(8);
    this.tag = `kube.var.log.containers.${pod}_${source.namespace}_${source.container}-${id}.log`;
    this.before = Buffer.concat([Buffer.of(0x83), encode("log")]);
    this.after = Buffer.concat([
      encode("stream"),
      encode("stdout"),
      encode("kubernetes"),
      encode({
        pod_name: pod,
        namespace_name: source.namespace,
        pod_id: `${random.hex(1)}-4e1b-4c55-9d1e-${random.hex(1)}0001`,
        labels: { app: source.app },
        host: source.node,
        container_name: source.container,
        container_hash: id.slice(0, 32),
      }),
    ]);
  }
}

/** Packs entries `[[EventTime, {}], record]` into one bin until it is full. */
class Packer {
  private readonly buffer = Buffer.allocUnsafe(MESSAGE_BYTES + 4096);
  private at = 0;
  count = 0;

  get bytes(): number {
    return this.at;
  }

  add(ms: number, nanos: number, line: string, pod: PodRecord): void {
    const b = this.buffer;
    let at = this.at;
    b[at++] = 0x92;
    b[at++] = 0x92;
    b[at++] = 0xd7;
    b[at++] = 0x00;
    at = b.writeUInt32BE(Math.floor(ms / 1000), at);
    at = b.writeUInt32BE((ms % 1000) * 1_000_000 + nanos, at);
    b[at++] = 0x80;
    at += pod.before.copy(b, at);
    const length = line.length;
    if (length < 32) b[at++] = 0xa0 | length;
    else if (length < 256) {
      b[at++] = 0xd9;
      b[at++] = length;
    } else {
      b[at++] = 0xda;
      at = b.writeUInt16BE(length, at);
    }
    at += b.write(line, at, "latin1");
    at += pod.after.copy(b, at);
    this.at = at;
    this.count++;
  }

  /** The whole message; the packer begins anew. */
  take(tag: string, chunk: string): Buffer {
    const head = Buffer.concat([Buffer.of(0x93), encode(tag), Buffer.of(0xc6, 0, 0, 0, 0)]);
    head.writeUInt32BE(this.at, head.length - 4);
    const message = Buffer.concat([head, this.buffer.subarray(0, this.at), encode({ chunk, size: this.count })]);
    this.at = 0;
    this.count = 0;
    return message;
  }
}

/** One connection: `send` resolves when there is room in the window, `drain` when all is acknowledged. */
class Connection {
  private readonly socket: net.Socket;
  private unacknowledged = 0;
  private readonly waiting: (() => void)[] = [];
  private pending = Buffer.alloc(0);

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (data) => this.onData(data));
    socket.on("error", (error) => {
      process.stderr.write(`sender: ${error.message}\n`);
      process.exit(1);
    });
  }

  private onData(data: Buffer): void {
    // An ack is {"ack": <chunk>}: fixmap 1, fixstr "ack", fixstr of 16: 22 bytes.
    this.pending = Buffer.concat([this.pending, data]);
    while (this.pending.length >= 22) {
      this.pending = this.pending.subarray(22);
      this.unacknowledged--;
      this.waiting.shift()?.();
    }
  }

  async send(message: Buffer): Promise<void> {
    while (this.unacknowledged >= IN_FLIGHT) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.unacknowledged++;
    if (!this.socket.write(message)) await once(this.socket, "drain");
  }

  async drain(): Promise<void> {
    while (this.unacknowledged > 0) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.socket.end();
  }
}

async function connect(host: string, port: number): Promise<Connection> {
  const socket = net.connect(port, host);
  await once(socket, "connect");
  return new Connection(socket);
}

async function main(address: string, lineBytes: number, seed: number): Promise<SentReport> {
  const random = new Random(seed);
  const sources = makeSources(random);
  const pods = sources.map((source) => source.pods.map((pod) => new PodRecord(source, pod, random)));
  const [host, port] = address.split(":");
  const connections = await Promise.all(Array.from({ length: CONNECTIONS }, () => connect(host, Number(port))));

  const started = performance.now();
  const firstMs = Date.now() - 3_600_000;
  const total = { lines: 0, lineBytes: 0, wireBytes: 0 };
  const traceIds: string[] = [];
  const packer = new Packer();
  let ms = firstMs;
  let message = 0;
  let trace = random.hex(4);
  while (total.lineBytes < lineBytes) {
    const which = message % STREAM_ORDER;
    const stream = which % sources.length;
    const pod = pods[stream][Math.floor(message / sources.length) % 2];
    ms = firstMs + Math.floor((total.lineBytes / lineBytes) * 3_500_000);
    while (packer.bytes < MESSAGE_BYTES && total.lineBytes < lineBytes) {
      // A handful of lines share a trace, and the next stream's lines go on with the last of them.
      if (random.below(5) === 0) trace = random.hex(4);
      ms += random.below(3);
      const line = makeLine(random, sources[stream], ms, trace);
      packer.add(ms, random.below(1_000_000), line, pod);
      total.lines++;
      total.lineBytes += line.length;
    }
    if (message % 50 === 0) traceIds.push(trace);
    const chunk = random.hex(2);
    const bytes = packer.take(pod.tag, chunk);
    total.wireBytes += bytes.length;
    await connections[message % CONNECTIONS].send(bytes);
    message++;
  }
  await Promise.all(connections.map((connection) => connection.drain()));
  return { ...total, seconds: (performance.now() - started) / 1000, traceIds, firstMs, lastMs: ms };
}

const STREAM_ORDER = 100;

const [address, lineBytes, seed] = process.argv.slice(2);
process.stdout.write(`${JSON.stringify(await main(address, Number(lineBytes), Number(seed)))}\n`);
