import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";

/*
 * Requests with the header Upgrade. Node takes the socket of each from its HTTP parser once anybody listens for one of them.
 */

/** What belongs to an offer of another protocol, and to this hop alone. */
const OFFER = new Set(["upgrade", "http2-settings"]);

export function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === "websocket";
}

/**
 * Answers a request that offers another protocol than WebSocket, as Java's HTTP client offers `h2c` with each first one, in HTTP/1.1:
 * nobody has to take such an offer (RFC 9110, "Upgrade"). The request's head is put back without it, in front of what has come of its
 * body, and the server gets the connection anew.
 */
export function answerWithoutUpgrade(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  socket.unshift(Buffer.concat([Buffer.from(headWithoutOffer(request), "latin1"), head]));
  server.emit("connection", socket);
}

function headWithoutOffer({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [rawHeaders[i], rawHeaders[i + 1]];
    if (OFFER.has(name.toLowerCase())) continue;
    if (name.toLowerCase() !== "connection") {
      lines.push(`${name}: ${value}`);
      continue;
    }
    const kept = value.split(",").filter((option) => !OFFER.has(option.trim().toLowerCase()));
    if (kept.length > 0) lines.push(`${name}: ${kept.join(",")}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}
