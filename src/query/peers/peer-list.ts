import { messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import { type Lookup, type PeerHost, type PeerTarget, parseHost, targetsOf } from "./address.ts";
import { Peer, type PeerSetup } from "./peer.ts";

/** How often names are looked up: soon after an orchestrator has started or ended a querier. */
const LOOKUP_MS = 10_000;
/** Queriers that names may have: beyond it one has found something else than queriers. */
const PEERS_MAX = 256;

export interface PeerListDeps extends PeerSetup {
  readonly lookup: Lookup;
  readonly log: Logger;
  /** It is gone from the list: whatever it has under way is to be done elsewhere. */
  readonly onGone: (peer: Peer) => void;
}

/** The queriers that a configured list means now: names are looked up again and again. */
export class PeerList {
  private readonly hosts: readonly PeerHost[];
  private readonly deps: PeerListDeps;
  private readonly peers = new Map<string, Peer>();
  /** What was found last, by host; what can't be looked up now stays what it was. */
  private readonly found = new Map<PeerHost, readonly PeerTarget[]>();
  private readonly troubled = new Set<PeerHost>();
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(addresses: readonly string[], deps: PeerListDeps) {
    this.hosts = addresses.map(parseHost);
    this.deps = deps;
    void this.refresh();
  }

  get all(): Iterable<Peer> {
    return this.peers.values();
  }

  /** Looks all names up. Never rejects. */
  async refresh(): Promise<void> {
    await Promise.all(this.hosts.map((host) => this.lookUp(host)));
    if (this.isClosed) return;
    this.take();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.refresh(), LOOKUP_MS).unref();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    for (const peer of this.peers.values()) peer.close();
    this.peers.clear();
  }

  private async lookUp(host: PeerHost): Promise<void> {
    try {
      this.found.set(host, await targetsOf(host, this.deps.lookup));
      this.troubled.delete(host);
    } catch (error) {
      if (this.troubled.has(host)) return;
      this.troubled.add(host);
      const { log } = this.deps;
      log.warn(
        { reason: messageOf(error) },
        `query: can't look up the queriers at ${host.host}; tried again and again`,
      );
    }
  }

  private take(): void {
    const wanted = new Map([...this.found.values()].flat().map((target) => [target.name, target]));
    for (const [name, peer] of this.peers) {
      if (wanted.has(name)) continue;
      this.peers.delete(name);
      this.deps.onGone(peer);
      peer.close();
    }
    for (const [name, target] of wanted) {
      if (this.peers.has(name) || this.peers.size >= PEERS_MAX) continue;
      const peer = new Peer(target, this.deps);
      this.peers.set(name, peer);
      peer.greet();
    }
  }
}
