import { STATUS_CODES } from "node:http";
import { type Duplex, Readable } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { FastifyReply } from "fastify";
import { WeirError } from "../core/errors.ts";
import { Pieces } from "./json.ts";

const JSON_TYPE = "application/json; charset=UTF-8";

/** Whoever says one of these may still refuse it (`gzip;q=0`); the library reads that. */
const MAY_TAKE_GZIP = /gzip|\*/i;

/**
 * Sends a body, as gzip where the client takes that. The library's own hook would look at each answer, which costs every request
 * some 20 µs; so it is asked only for those that are wanted smaller.
 */
export function deliver(reply: FastifyReply, body: string | Readable): FastifyReply {
  const vary = reply.getHeader("vary");
  reply.header("vary", vary === undefined ? "accept-encoding" : `${String(vary)}, accept-encoding`);
  if (!MAY_TAKE_GZIP.test(reply.request.headers["accept-encoding"] ?? "")) return reply.send(body);
  reply.compress(body);
  return reply;
}

/** A small JSON answer; it ends in a newline, as Go's encoder leaves it. */
export function sendJson(reply: FastifyReply, value: unknown): FastifyReply {
  return deliver(reply.header("content-type", JSON_TYPE), `${JSON.stringify(value)}\n`);
}

/** An error as Go's http.Error writes it. */
export function sendText(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply
    .code(status)
    .header("content-type", "text/plain; charset=utf-8")
    .header("x-content-type-options", "nosniff")
    .send(`${text}\n`);
}

/** An error on a connection that no request has, or none that was read: as text, too. The connection ends with it. */
export function refuse(socket: Duplex, status: number, text: string): void {
  const body = `${text}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `X-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** Counts the bytes of answers that clients have not read yet, so that slow readers can't fill the memory. */
export class AnswerBudget {
  readonly bytesMax: number;
  private held = 0;
  /** An answer had no room, and none has been read since: there is no point in making another. */
  private isFull = false;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.held;
  }

  /** Throws `answers_full` while too much is unread. To be asked before the work of a query is begun. */
  check(): void {
    if (this.isFull || this.held >= this.bytesMax) throw this.full();
  }

  /**
   * Counts an answer until it has been read. Throws `answers_full` when others have come in between, as the many that
   * waited for their turn at the same time; a single answer is never too large.
   */
  hold(reply: FastifyReply, bytes: number): void {
    if (this.held > 0 && this.held + bytes > this.bytesMax) {
      this.isFull = true;
      throw this.full();
    }
    // A client that has left already holds nothing, and its response has told of its end.
    if (reply.raw.destroyed) return;
    this.held += bytes;
    reply.raw.once("close", () => {
      this.held -= bytes;
      this.isFull = false;
    });
  }

  private full(): WeirError {
    return new WeirError("answers_full", "too many answers are still being read by their clients; try again later", {
      retriable: true,
      context: { bytes: this.held },
    });
  }
}

export interface StreamedAnswer {
  readonly texts: Iterable<string>;
  /** Bytes that stay in memory until the client has read the answer. */
  readonly holds: number;
  readonly type?: string;
}

/**
 * Writes an answer piece by piece as the client reads it. After each piece others have a turn, so that a large answer
 * to a fast client does not hold the event loop.
 */
export function sendPieces(
  reply: FastifyReply,
  answer: StreamedAnswer,
  budget: AnswerBudget,
  stallMs: number,
): FastifyReply {
  const pieces = new Pieces(answer.texts);
  const first = pieces.next();
  reply.header("content-type", answer.type ?? JSON_TYPE);
  reply.raw.setTimeout(stallMs, () => reply.raw.destroy());
  if (pieces.isDone) {
    // One piece: send it whole, with its length.
    budget.hold(reply, first.length);
    return deliver(reply, first);
  }
  budget.hold(reply, answer.holds);
  return deliver(reply, Readable.from(paced(first, pieces), { objectMode: false }));
}

async function* paced(first: string, rest: Pieces): AsyncGenerator<string> {
  yield first;
  while (!rest.isDone) {
    await nextTurn();
    const piece = rest.next();
    if (piece !== "") yield piece;
  }
}
