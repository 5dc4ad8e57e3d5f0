import type { Server, Socket } from "node:net";
import { messageOf, WeirError } from "../core/errors.ts";
import type { EntryDraft } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import { LogBudget } from "../core/log-budget.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin } from "../core/wait.ts";
import { Connection, type ConnectionDeps } from "./connection.ts";
import { Delivery, type Stored } from "./delivery.ts";
import { type Heartbeat, startHeartbeat } from "./heartbeat.ts";
import { InflateGate } from "./inflate-gate.ts";
import { formatListenUrl, type ListenAddress, parseListenUrl } from "./listen-url.ts";
import { type ListenerHost, openListener } from "./listener.ts";
import { MemoryBudget } from "./memory.ts";
import { type ForwardMetrics, forwardMetrics } from "./metrics.ts";
import type { ForwardOptions } from "./options.ts";

/** How long `close` waits for messages that are on their way to the intake log. */
const CLOSE_MS = 3000;
/** How long it then waits for agents to take their acks. */
const LEAVE_MS = 1000;
/** Least time between two log lines about refused connections. */
const REFUSAL_LOG_MS = 60_000;

export interface ForwardDeps {
  /** Name of the receiver: EntryDraft.source. */
  readonly name: string;
  readonly tenant: string;
  append(draft: EntryDraft): Promise<Stored>;
  whenWritable(): Promise<void>;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970; Date.now unless a test hands in another. */
  readonly now?: () => number;
}

export interface ForwardServer {
  /** Where it listens, as URLs, with the ports that port 0 became. */
  readonly addresses: readonly string[];
  /** Stops reading from all sockets; new connections are accepted and wait. */
  pause(): void;
  resume(): void;
  /** Bytes held for messages that are not durable yet. */
  memoryBytes(): number;
  /** Reads nothing more, waits up to 3 s for what is on its way to be stored and acknowledged, and closes. */
  close(): Promise<void>;
}

/**
 * Listens on all addresses of `options.listen`. Errors: `listen_failed` (port in use, no right to the port or path, no
 * such address), `bad_certificate`; nothing is left open then.
 */
export async function startForward(options: ForwardOptions, deps: ForwardDeps): Promise<ForwardServer> {
  const receiver = new Receiver(options, deps);
  try {
    for (const url of options.listen) await receiver.listen(addressOf(url));
  } catch (error) {
    await receiver.close();
    throw error;
  }
  return receiver;
}

function addressOf(url: string): ListenAddress {
  const address = parseListenUrl(url);
  if (typeof address === "string") throw new WeirError("listen_failed", `forward: ${address}`);
  return address;
}

/** Knows all connections: how many there are, what they hold together, and whether they may be read. */
class Receiver implements ForwardServer, ListenerHost {
  readonly addresses: string[] = [];
  private readonly options: ForwardOptions;
  private readonly log: Logger;
  private readonly budget: LogBudget;
  private readonly metrics: ForwardMetrics;
  private readonly memory: MemoryBudget;
  private readonly delivery: Delivery;
  private readonly connectionDeps: ConnectionDeps;
  private readonly servers: Server[] = [];
  private readonly heartbeats: Heartbeat[] = [];
  private readonly connections = new Set<Connection>();
  /** Every open socket, those in their TLS handshake included. */
  private readonly sockets = new Set<Socket>();
  private readonly clock: NodeJS.Timeout;
  private isPaused = false;
  /** Since when unfinished messages alone keep everybody from being read; -1 while they don't. */
  private stuckSince = -1;
  private refusalLoggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ForwardOptions, deps: ForwardDeps) {
    const { limits, shared_key, users, self_hostname } = options;
    const { name, tenant, log, now = Date.now } = deps;
    this.options = options;
    this.log = log;
    this.budget = new LogBudget(log);
    this.metrics = forwardMetrics(deps.metrics);
    this.memory = new MemoryBudget(limits.memory_bytes_max);
    this.memory.onChange = () => this.applyReading();
    this.delivery = new Delivery({
      append: (draft) => deps.append(draft),
      whenWritable: () => deps.whenWritable(),
      log,
      onChange: () => this.applyReading(),
    });
    this.connectionDeps = {
      ...{ name, tenant, limits, log, now },
      handshake: shared_key === undefined ? null : { sharedKey: shared_key, users, hostname: self_hostname },
      delivery: this.delivery,
      memory: this.memory,
      gate: new InflateGate(this.memory),
      metrics: this.metrics,
      budget: this.budget,
      onMessageEnd: () => this.applyReading(),
      onGone: (connection) => this.forget(connection),
    };
    // Often enough that a time limit is kept to within a quarter of itself.
    const tickMs = Math.max(5, Math.min(1000, limits.message_timeout_ms / 4, limits.idle_timeout_ms / 4));
    this.clock = setInterval(() => this.tick(), tickMs);
    this.clock.unref();
  }

  async listen(address: ListenAddress): Promise<void> {
    const { server, bound } = await openListener(address, this.options, this);
    server.on("error", (error) => this.log.error({ err: error }, `forward: ${messageOf(error)}`));
    this.servers.push(server);
    this.addresses.push(formatListenUrl(bound));
    if (bound.scheme === "unix" || !this.options.udp_heartbeat) return;
    this.heartbeats.push(await startHeartbeat(bound.host, bound.port, this.metrics, this.log));
  }

  pause(): void {
    this.isPaused = true;
    this.applyReading();
  }

  resume(): void {
    this.isPaused = false;
    this.applyReading();
  }

  memoryBytes(): number {
    return this.memory.used;
  }

  async close(): Promise<void> {
    const closed = this.servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const heartbeat of this.heartbeats.splice(0)) heartbeat.close();
    const all = [...this.connections];
    const settled = Promise.all(all.map((connection) => connection.whenSettled()));
    for (const connection of all) connection.end();
    await endsWithin(settled, CLOSE_MS);
    // What the intake has not taken by now it will not: agents get no ack, and send it again elsewhere or later.
    this.delivery.close();
    // Acks that were written still have to leave, but nobody waits for a peer that doesn't read, or in a TLS handshake.
    await endsWithin(Promise.all(all.map((connection) => connection.whenGone)), LEAVE_MS);
    for (const socket of this.sockets) socket.destroy();
    await Promise.all(closed);
    clearInterval(this.clock);
  }

  admit(socket: Socket, peer: string): boolean {
    this.metrics.connectionsTotal.inc();
    if (this.sockets.size >= this.options.limits.connections_max) {
      this.refuse(socket, peer);
      return false;
    }
    this.sockets.add(socket);
    socket.once("close", () => this.sockets.delete(socket));
    return true;
  }

  accept(socket: Socket, peer: string): void {
    const connection = new Connection(socket, peer, this.connectionDeps);
    this.connections.add(connection);
    this.metrics.connections.inc();
    if (!this.isReading) connection.allowReading(false);
  }

  onTlsRefused(peer: string, why: string): void {
    this.metrics.rejected.inc({ reason: "tls" });
    this.budget.warn("tls", { peer }, `forward: TLS handshake with ${peer} failed: ${why}`);
  }

  private refuse(socket: Socket, peer: string): void {
    this.metrics.refusedConnections.inc();
    // Once a minute: agents that are refused try again and again.
    const now = performance.now();
    if (now - this.refusalLoggedAt >= REFUSAL_LOG_MS) {
      this.refusalLoggedAt = now;
      const max = this.options.limits.connections_max;
      this.log.warn({ peer }, `forward: closed a new connection at once: limits.connections_max is ${max}`);
    }
    socket.on("error", () => undefined); // It is being destroyed: nothing is lost by its error.
    socket.destroy();
  }

  private forget(connection: Connection): void {
    if (this.connections.delete(connection)) this.metrics.connections.dec();
    if (this.memory.isOver) this.applyReading();
  }

  private get isReading(): boolean {
    return !this.isPaused && this.delivery.isOpen && !this.memory.isOver;
  }

  private applyReading(): void {
    const all = this.isReading;
    // Over the memory limit unfinished messages are read all the same, one at a time and by turns: were all of them to
    // wait for each other's memory, none would ever be done, and were one not to give way, its peer could hold up all.
    const one = !all && !this.isPaused && this.delivery.isOpen ? this.oldestPartial() : null;
    for (const connection of this.connections) connection.allowReading(all || connection === one);
  }

  private oldestPartial(): Connection | null {
    let oldest: Connection | null = null;
    for (const connection of this.connections) {
      const { partialStart } = connection.clock;
      if (partialStart === -1) continue;
      if (oldest === null || partialStart < oldest.clock.partialStart) oldest = connection;
    }
    return oldest;
  }

  /**
   * Peers that begin messages and don't end them could hold all memory, and with it everybody: nobody is read over the limit, and
   * who isn't read has no time limit. So where unfinished messages alone are enough for that, their time goes on, and
   * the oldest that had all of it end, until there is room. An agent among them sends its message again.
   */
  private endStuck(now: number): void {
    const holders = [...this.connections].filter(({ partialBytes }) => partialBytes > 0);
    let held = holders.reduce((sum, { partialBytes }) => sum + partialBytes, 0);
    const isOpen = !this.isPaused && this.delivery.isOpen;
    if (!isOpen || !this.memory.isOver || held <= this.memory.resumeBytes) {
      this.stuckSince = -1;
      return;
    }
    if (this.stuckSince === -1) this.stuckSince = now;
    for (const connection of holders.sort((a, b) => a.clock.partialBegan - b.clock.partialBegan)) {
      const waitedMs = now - Math.max(this.stuckSince, connection.clock.partialBegan);
      if (held <= this.memory.resumeBytes || waitedMs <= this.options.limits.message_timeout_ms) break;
      held -= connection.partialBytes;
      connection.endPartial(waitedMs);
    }
  }

  private tick(): void {
    const now = performance.now();
    if (this.memory.isOver) this.applyReading();
    for (const connection of this.connections) connection.checkTime(now);
    this.endStuck(now);
    this.metrics.memory.set(this.memory.used);
    this.metrics.held.set(this.delivery.heldCount);
  }
}
