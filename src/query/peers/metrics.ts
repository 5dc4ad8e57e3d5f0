import type { Counter, Metrics } from "../../core/metrics.ts";
import type { Peer } from "./peer.ts";

const OUTCOMES = ["done", "failed", "lost", "busy", "left"] as const;

/** What queriers do for each other, in numbers. They are there, empty, where a querier has no others. */
export class PeerMetrics {
  readonly requests: Counter<"peer" | "outcome">;
  readonly receivedBytes: Counter<"peer">;
  readonly scans: Counter<"outcome">;
  /** The others, as they are now. */
  peers: () => Iterable<Peer> = () => [];
  /** Batches that are scanned for others now. */
  running: () => number = () => 0;

  constructor(metrics: Metrics) {
    this.requests = metrics.counter(
      "weir_query_peer_requests_total",
      "Batches given to another querier, by outcome: `done`, `failed`, `lost` (blocks that it could not read: looked for here), `busy`, `left` (no longer wanted).",
      ["peer", "outcome"],
    );
    this.receivedBytes = metrics.counter(
      "weir_query_peer_received_bytes_total",
      "Bytes of what other queriers found.",
      ["peer"],
    );
    metrics.gauge("weir_query_peer_in_flight", "Batches that another querier has now.", ["peer"], (gauge) => {
      gauge.reset();
      for (const { name, inFlight } of this.peers()) gauge.set({ peer: name }, inFlight);
    });
    metrics.gauge("weir_query_peer_up", "1 while another querier takes batches.", ["peer"], (gauge) => {
      gauge.reset();
      for (const { name, isReady } of this.peers()) gauge.set({ peer: name }, isReady ? 1 : 0);
    });
    this.scans = metrics.counter("weir_query_peer_scans_total", "Batches that other queriers asked for, by outcome.", [
      "outcome",
    ]);
    metrics.gauge("weir_query_peer_scans_running", "Batches of other queriers that are here now.", [], (gauge) =>
      gauge.set(this.running()),
    );
  }

  /** Addresses come and go; what is gone takes no memory. */
  forget({ name }: Peer): void {
    for (const outcome of OUTCOMES) this.requests.remove({ peer: name, outcome });
    this.receivedBytes.remove({ peer: name });
  }
}
