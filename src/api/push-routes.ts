import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { endsWithin } from "../core/wait.ts";
import type { PushReceiver, ReceiverAnswer } from "../push/receivers.ts";
import { HttpProblem } from "./errors.ts";
import { sendText } from "./reply.ts";
import type { Tenants } from "./tenants.ts";

/*
 * Where logs are pushed to. Bodies are read here, counted against one limit for all of them, and given to the receivers.
 */

export interface PushRoutesDeps {
  readonly receivers: readonly PushReceiver[];
  readonly tenants: Tenants;
  readonly log: Logger;
  /** Largest body as it comes, and most bytes of all that are being received or worked on. */
  readonly bodyBytesMax: number;
  readonly memoryBytesMax: number;
}

/** The pushes under way. */
export class PushGate {
  private readonly memoryBytesMax: number;
  private held = 0;
  private running = 0;
  private closed = false;
  /** What ends each push whose body is still coming. */
  private readonly receiving = new Set<() => void>();
  private waiting: (() => void)[] = [];

  constructor(memoryBytesMax: number) {
    this.memoryBytesMax = memoryBytesMax;
  }

  get bytes(): number {
    return this.held;
  }

  get isShut(): boolean {
    return this.closed;
  }

  /** Counts a push until `leave`. Throws HttpProblem 503 once the gate is shut. */
  enter(): void {
    if (this.closed) throw new HttpProblem(503, "the server is stopping");
    this.running++;
  }

  leave(): void {
    this.running--;
    if (this.running === 0) for (const resolve of this.waiting.splice(0)) resolve();
  }

  /** Counts bytes that are held. Throws HttpProblem 503 when there are too many; those of `bytes` are not counted then. */
  hold(bytes: number): void {
    if (this.held + bytes > this.memoryBytesMax) {
      throw new HttpProblem(
        503,
        "too many pushes at once: their bodies fill the memory that they may take; try again later",
      );
    }
    this.held += bytes;
  }

  release(bytes: number): void {
    this.held -= bytes;
  }

  /** Runs `read`; `cut` ends it before its time. */
  async receive<T>(cut: () => void, read: () => Promise<T>): Promise<T> {
    this.receiving.add(cut);
    try {
      return await read();
    } finally {
      this.receiving.delete(cut);
    }
  }

  /**
   * Refuses pushes from now on, and resolves when those under way are answered. Bodies that are still coming after `ms` are cut
   * off: nothing of them was acknowledged.
   */
  async shut(ms: number): Promise<void> {
    this.closed = true;
    if (this.running === 0) return;
    const ended = new Promise<void>((resolve) => this.waiting.push(resolve));
    if (await endsWithin(ended, ms)) return;
    for (const cut of this.receiving) cut();
    await ended;
  }
}

/** Registers the paths of `receivers`. */
export function addPushRoutes(app: FastifyInstance, deps: PushRoutesDeps, gate: PushGate): void {
  if (deps.receivers.length === 0) return;
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    // The handler reads the body itself: who may send, and how much, is known by then.
    scope.addContentTypeParser("*", (_request, _payload, done) => done(null));
    for (const receiver of deps.receivers) {
      for (const url of [receiver.path, ...receiver.aliases]) {
        scope.post(url, (request, reply) => push(receiver, deps, gate, request, reply));
      }
    }
  });
}

async function push(
  receiver: PushReceiver,
  deps: PushRoutesDeps,
  gate: PushGate,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  try {
    gate.enter();
  } catch (error) {
    return refuse(receiver, deps.log, reply, error);
  }
  let held = 0;
  try {
    const { headers } = request.raw;
    const tenant = receiver.tenant ?? deps.tenants.of(headers);
    const hold = (bytes: number) => {
      gate.hold(bytes);
      held += bytes;
    };
    const body = await gate.receive(
      () => request.raw.destroy(),
      () => readBody(request.raw, headers["content-length"], deps.bodyBytesMax, hold),
    );
    const { "content-type": contentType, "content-encoding": contentEncoding } = headers;
    return send(reply, await receiver.receive({ tenant, contentType, contentEncoding, body, hold }));
  } catch (error) {
    return refuse(receiver, deps.log, reply, error);
  } finally {
    gate.release(held);
    gate.leave();
  }
}

/** Resolves with the whole body. Rejects with HttpProblem 413 above the limit, and with what `hold` throws. */
async function readBody(
  stream: Readable,
  contentLength: string | undefined,
  bytesMax: number,
  hold: (bytes: number) => void,
): Promise<Buffer> {
  const declared = Number(contentLength ?? 0);
  if (declared > bytesMax) throw tooLarge(declared, bytesMax);
  const pieces: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of stream) {
      if (!Buffer.isBuffer(piece)) throw new Error("a request's body came as text");
      length += piece.length;
      if (length > bytesMax) throw tooLarge(length, bytesMax);
      hold(piece.length);
      pieces.push(piece);
    }
  } catch (error) {
    // The client left, which nobody is told of.
    throw error instanceof HttpProblem ? error : new HttpProblem(400, `the body was cut off: ${messageOf(error)}`);
  }
  return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, length);
}

function tooLarge(bytes: number, bytesMax: number): HttpProblem {
  return new HttpProblem(413, `request body too large: got ${bytes} bytes, limit ${bytesMax}`);
}

function refuse(receiver: PushReceiver, log: Logger, reply: FastifyReply, error: unknown): FastifyReply {
  if (!(error instanceof HttpProblem)) {
    const status = receiver.failureStatus;
    log.error({ id: reply.request.id, receiver: receiver.name, status, err: error }, `push: ${messageOf(error)}`);
    return send(reply, receiver.refuse(status, messageOf(error)));
  }
  // The rest of the body is not read.
  reply.header("connection", "close");
  // Who does not say who he is, is told so before anybody knows what he sends: in the same words everywhere.
  if (error.status === 401) return sendText(reply, error.status, error.message);
  return send(reply, receiver.refuse(error.status, error.message));
}

function send(reply: FastifyReply, { status, type, body }: ReceiverAnswer): FastifyReply {
  if (body.length === 0) return reply.code(status).send();
  return reply.code(status).header("content-type", type).header("x-content-type-options", "nosniff").send(body);
}
