import { lookup } from "node:dns/promises";
import net from "node:net";

/** `HOST:PORT`, or a URL without a path. */
export const QUERIER_ADDRESS = /^(?:https?:\/\/)?(?:\[[0-9A-Fa-f:.]+\]|[^:\s/[\]@]+):[0-9]{1,5}\/?$/;

/** Where queriers are asked for, as it is configured. */
export interface PeerHost {
  readonly isTls: boolean;
  /** A name, or an address without brackets. */
  readonly host: string;
  readonly port: number;
}

/** One querier. */
export interface PeerTarget extends PeerHost {
  /** What is connected to: an address that `host` has. */
  readonly address: string;
  /** `ADDRESS:PORT`, as metrics and messages have it. */
  readonly name: string;
}

/** Takes a text apart that `QUERIER_ADDRESS` matches. */
export function parseHost(text: string): PeerHost {
  const [, scheme = "http", rest = ""] = /^(?:(https?):\/\/)?(.*?)\/?$/.exec(text) ?? [];
  const at = rest.lastIndexOf(":");
  const host = rest.slice(0, at).replace(/^\[(.*)\]$/, "$1");
  return { isTls: scheme === "https", host, port: Number(rest.slice(at + 1)) };
}

/** All addresses of a name; rejects with the system's error. */
export type Lookup = (name: string) => Promise<readonly string[]>;

/** As every other program on the machine would: its files, search domains, and name servers. */
export const systemLookup: Lookup = async (name) => {
  const found = await lookup(name, { all: true });
  return found.map(({ address }) => address);
};

/** The queriers at a host: one for each address that its name has. */
export async function targetsOf(host: PeerHost, lookupAll: Lookup): Promise<readonly PeerTarget[]> {
  const addresses = net.isIP(host.host) === 0 ? await lookupAll(host.host) : [host.host];
  return [...new Set(addresses)].map((address) => {
    const name = `${net.isIPv6(address) ? `[${address}]` : address}:${host.port}`;
    return { ...host, address, name };
  });
}
