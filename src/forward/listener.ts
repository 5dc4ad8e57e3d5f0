import { once } from "node:events";
import { readFile } from "node:fs/promises";
import net, { type Server, type Socket } from "node:net";
import tls from "node:tls";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { formatListenUrl, type ListenAddress } from "./listen-url.ts";
import type { ForwardOptions } from "./options.ts";
import { clearStaleSocket, setPermissions } from "./unix-socket.ts";

/** Connections that the system keeps waiting while the process is busy. */
const BACKLOG = 1024;

export interface ListenerHost {
  /** Counts a new socket, also one that still has its TLS handshake before it; false when it was refused. */
  admit(socket: Socket, peer: string): boolean;
  /** The socket can be spoken with. */
  accept(socket: Socket, peer: string): void;
  onTlsRefused(peer: string, why: string): void;
}

export interface Listener {
  readonly server: Server;
  /** With the port that port 0 became. */
  readonly bound: ListenAddress;
}

/** Listens on one address. Errors: `listen_failed`, `bad_certificate`; nothing is left open then. */
export async function openListener(
  address: ListenAddress,
  options: ForwardOptions,
  host: ListenerHost,
): Promise<Listener> {
  const server = address.scheme === "tls" ? await tlsServer(options, address, host) : plainServer(address, host);
  if (address.scheme === "unix") await clearStaleSocket(address.path);
  try {
    const listening = once(server, "listening");
    if (address.scheme === "unix") server.listen({ path: address.path, backlog: BACKLOG });
    else server.listen({ host: address.host, port: address.port, backlog: BACKLOG });
    await listening;
    if (address.scheme === "unix") await setPermissions(address.path, options.unix_permissions);
  } catch (error) {
    server.close();
    const what = `forward: cannot listen on ${formatListenUrl(address)}: ${reasonOf(error)}`;
    throw new WeirError("listen_failed", what, { cause: error, context: { code: codeOf(error) } });
  }
  const bound = server.address();
  if (address.scheme === "unix" || bound === null || typeof bound === "string") return { server, bound: address };
  return { server, bound: { ...address, port: bound.port } };
}

function plainServer(address: ListenAddress, host: ListenerHost): Server {
  // Half open: an agent that closes its side after the last chunk still gets its ack.
  return net.createServer({ allowHalfOpen: true }, (socket) => {
    const peer = peerOf(socket, address);
    if (host.admit(socket, peer)) host.accept(socket, peer);
  });
}

async function tlsServer(options: ForwardOptions, address: ListenAddress, host: ListenerHost): Promise<Server> {
  const wantsCertificate = options.tls?.client_ca_file !== undefined;
  const server = tls.createServer(await tlsOptions(options), (socket) => {
    const peer = peerOf(socket, address);
    // Only now: in its handshake, a socket that leaves must not stay until the handshake's time is up.
    socket.allowHalfOpen = true;
    if (!wantsCertificate || socket.authorized) {
      host.accept(socket, peer);
      return;
    }
    host.onTlsRefused(peer, `the agent's certificate is refused: ${socket.authorizationError ?? "it has none"}`);
    socket.on("error", () => undefined); // It is being destroyed: nothing is lost by its error.
    socket.destroy();
  });
  // The limit counts sockets before their handshake too: those cost the most.
  server.on("connection", (socket: Socket) => host.admit(socket, peerOf(socket, address)));
  server.on("tlsClientError", (error, socket) => {
    // Health checks and heartbeats connect and leave, and refused sockets never had a chance: nothing to report.
    if (codeOf(error) !== "ECONNRESET") host.onTlsRefused(peerOf(socket, address), messageOf(error));
    // node:tls itself leaves a socket open whose handshake took too long: it would count as a connection for good.
    socket.destroy();
  });
  return server;
}

async function tlsOptions({ tls: files, limits }: ForwardOptions): Promise<tls.TlsOptions> {
  if (files === undefined) {
    throw new WeirError("bad_certificate", "forward: a tls:// listener needs tls.cert_file and tls.key_file");
  }
  try {
    const [cert, key, ca] = await Promise.all([
      readFile(files.cert_file),
      readFile(files.key_file),
      files.client_ca_file === undefined ? undefined : readFile(files.client_ca_file),
    ]);
    // Judged when the handshake is over: node:tls itself would hang up without telling whose certificate it was.
    const options = { cert, key, ...(ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: false }) };
    tls.createSecureContext(options); // Throws for what would otherwise fail each handshake.
    return { ...options, handshakeTimeout: limits.message_timeout_ms };
  } catch (error) {
    const what = `forward: cannot use the certificate ${files.cert_file} with its key: ${messageOf(error)}`;
    throw new WeirError("bad_certificate", what, { cause: error });
  }
}

function peerOf(socket: Socket, address: ListenAddress): string {
  if (address.scheme === "unix") return address.path;
  const host = socket.remoteAddress ?? "unknown";
  return host.includes(":") ? `[${host}]:${socket.remotePort}` : `${host}:${socket.remotePort}`;
}

function reasonOf(error: unknown): string {
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return "the address is in use; stop the other process or choose another with --forward";
    case "EACCES":
      return "permission denied";
    case "EADDRNOTAVAIL":
      return "this machine has no such address";
    default:
      return messageOf(error);
  }
}
