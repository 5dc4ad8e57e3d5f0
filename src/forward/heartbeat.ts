import dgram from "node:dgram";
import { once } from "node:events";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { ForwardMetrics } from "./metrics.ts";

export interface Heartbeat {
  close(): void;
}

/** What Fluentd answers; what it says does not matter to the one who asked. */
const ANSWER = Buffer.of(0);

/** Least time between two answers to one peer: Fluentd asks once a second. */
const PAUSE_MS = 100;
/** Peers whose last answer is remembered. */
const PEERS_MAX = 4096;

/**
 * Answers heartbeats over UDP on the address of a listener. A port that is taken costs only the heartbeats: Fluent Bit
 * sends none, so it is a warning and nothing more.
 * Source: Fluent Forward Protocol Specification v1, "Heartbeat Message".
 */
export async function startHeartbeat(
  host: string,
  port: number,
  metrics: ForwardMetrics,
  log: Logger,
): Promise<Heartbeat> {
  const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  const answered = new Map<string, number>();
  socket.on("message", (_message, { address, port: peerPort }) => {
    // Agents ask from a port of their own. What comes from a server's port is an answer, and answering answers would
    // never end. Servers on other ports, which one forged packet sets upon each other, are stopped by the pause.
    if (peerPort === port) return;
    const peer = `${address} ${peerPort}`;
    const now = performance.now();
    if (now - (answered.get(peer) ?? Number.NEGATIVE_INFINITY) < PAUSE_MS) return;
    if (answered.size >= PEERS_MAX) answered.clear();
    answered.set(peer, now);
    metrics.heartbeats.inc();
    socket.send(ANSWER, peerPort, address, (error) => {
      if (error !== null) log.debug({ peer: address }, `forward: heartbeat not answered: ${messageOf(error)}`);
    });
  });
  try {
    socket.bind({ address: host, port });
    await once(socket, "listening");
  } catch (error) {
    log.warn({ host, port }, `forward: no heartbeats over UDP: ${messageOf(error)}`);
    socket.close();
    return { close: () => undefined };
  }
  socket.on("error", (error) => log.warn({ host, port }, `forward: heartbeats: ${messageOf(error)}`));
  socket.unref();
  return { close: () => socket.close() };
}
