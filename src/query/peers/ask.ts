import http from "node:http";
import https from "node:https";
import { messageOf, WeirError } from "../../core/errors.ts";
import type { PeerTarget } from "./address.ts";

/** What an error's text may take. */
const ERROR_BYTES_MAX = 4096;

/** Most bytes of answers that are being received at one time, of all other queriers together. */
export class AnswerRoom {
  readonly bytesMax: number;
  bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }
}

export interface Ask {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | null;
  /** Longest time until all of the answer is there. */
  readonly timeoutMs: number;
  /** Most bytes of the answer. */
  readonly bytesMax: number;
  readonly room: AnswerRoom;
  readonly signal: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

export function createAgent({ isTls, host }: PeerTarget, socketsMax: number): http.Agent {
  const keep = { keepAlive: true, maxSockets: socketsMax, maxFreeSockets: socketsMax };
  return isTls ? new https.Agent({ ...keep, servername: host }) : new http.Agent(keep);
}

/**
 * Asks another querier. Errors: `querier_unavailable` for no connection, no answer in time, and an answer that is cut or too
 * large; what `signal` brings when it is aborted, which also ends the connection.
 */
export function ask(target: PeerTarget, agent: http.Agent, asked: Ask): Promise<Answer> {
  const { method, path, headers, body, timeoutMs, bytesMax, room, signal } = asked;
  const { request } = target.isTls ? https : http;
  return new Promise((resolve, reject) => {
    let held = 0;
    let isOver = false;
    const end = (finish: () => void) => {
      isOver = true;
      clearTimeout(timer);
      room.bytes -= held;
      held = 0;
      finish();
    };
    const sent = request({
      host: target.address,
      port: target.port,
      method,
      path,
      agent,
      signal,
      headers: { ...headers, host: hostHeader(target), ...(body === null ? {} : { "content-length": body.length }) },
    });
    const fail = (what: string, cause?: unknown) =>
      end(() => reject(signal.aborted ? signal.reason : unavailable(target, what, cause)));
    const give = (what: string) => {
      sent.destroy();
      fail(what);
    };
    const timer = setTimeout(() => give(`no answer within ${timeoutMs} ms`), timeoutMs);
    sent.on("error", (error) => fail(messageOf(error) || "no connection", error));
    sent.on("response", (response) => {
      const status = response.statusCode ?? 0;
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => {
        if (isOver || (status !== 200 && held >= ERROR_BYTES_MAX)) return;
        parts.push(part);
        held += part.length;
        room.bytes += part.length;
        if (held > bytesMax) give(`an answer of more than ${bytesMax} bytes`);
        else if (room.bytes > room.bytesMax) give(`answers of more than ${room.bytesMax} bytes at one time`);
      });
      response.on("error", (error) => fail(messageOf(error), error));
      response.on("end", () => {
        const answer = Buffer.concat(parts);
        end(() => resolve({ status, body: answer }));
      });
    });
    sent.end(body ?? undefined);
  });
}

function hostHeader({ host, port }: PeerTarget): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function unavailable({ name }: PeerTarget, what: string, cause: unknown): WeirError {
  return new WeirError("querier_unavailable", `querier ${name}: ${what}`, { retriable: true, cause });
}
