import type { Counter, Gauge, Metrics } from "../core/metrics.ts";

/** What the receivers of this process count. */
export interface ForwardMetrics {
  readonly connections: Gauge;
  readonly connectionsTotal: Counter;
  readonly refusedConnections: Counter;
  readonly bytes: Counter;
  readonly messages: Counter;
  readonly events: Counter;
  readonly acks: Counter;
  readonly repeats: Counter;
  readonly dropped: Counter<"signal">;
  readonly rejected: Counter<"reason">;
  readonly heartbeats: Counter;
  readonly memory: Gauge;
  readonly held: Gauge;
}

export function forwardMetrics(metrics: Metrics): ForwardMetrics {
  return {
    connections: metrics.gauge("weir_forward_connections", "Open connections of agents."),
    connectionsTotal: metrics.counter("weir_forward_connections_total", "Connections that agents opened."),
    refusedConnections: metrics.counter(
      "weir_forward_connections_refused_total",
      "Connections closed at once because there were too many.",
    ),
    bytes: metrics.counter("weir_forward_received_bytes_total", "Bytes read from agents, after decryption."),
    messages: metrics.counter("weir_forward_messages_total", "Whole messages received, of any signal."),
    events: metrics.counter("weir_forward_events_total", "Log events that are durable in the intake log."),
    acks: metrics.counter("weir_forward_acks_total", "Acknowledgements written."),
    repeats: metrics.counter("weir_forward_repeats_total", "Messages that were in the intake log already."),
    dropped: metrics.counter("weir_forward_dropped_messages_total", "Messages of signals that are not logs.", [
      "signal",
    ]),
    rejected: metrics.counter("weir_forward_rejected_total", "Connections ended for what the peer sent, or did not.", [
      "reason",
    ]),
    heartbeats: metrics.counter("weir_forward_heartbeats_total", "Heartbeats over UDP that were answered."),
    memory: metrics.gauge("weir_forward_memory_bytes", "Bytes held for unfinished messages and such on their way."),
    held: metrics.gauge("weir_forward_held_messages", "Messages that wait because the intake log takes none."),
  };
}
