import type { ClientRequest, IncomingMessage } from "node:http";
import type { Client, ApiResponse as ClientReply } from "@opensearch-project/opensearch";
import { messageOf, WeirError } from "../../src/core/errors.ts";
import { sleepFor } from "../../src/core/wait.ts";
import { authorization, lowerCase, retryAfterMs, tlsOptions } from "./http-client.ts";
import type { HttpTargetOptions } from "./http-options.ts";

/** What is read of one answer. It says a few words about each document, and may repeat the values that it refuses. */
const ANSWER_BYTES_MAX = 64 << 20;
/** Longest wait for a node that was away to say that it is back. */
const PING_MS_MAX = 3000;
/** A node that stays away is asked less and less often: at most this many times its pause is doubled. */
const PAUSE_DOUBLINGS_MAX = 4;
const BUSY: ReadonlySet<number> = new Set([408, 425, 429]);

export interface ElasticTarget extends Omit<HttpTargetOptions, "url"> {
  /** Addresses of nodes. */
  readonly nodes: readonly string[];
  readonly api_key?: string | undefined;
  readonly node_pause_ms: number;
}

export interface ElasticRequest {
  readonly method: "GET" | "POST" | "PUT";
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ElasticAnswer {
  readonly status: number;
  /** What its JSON says; text where it is none. */
  readonly body: unknown;
}

/** The destination answered with more than is read. */
export class AnswerTooLarge extends WeirError {
  constructor(where: string) {
    super("sink_reply", `${where}: an answer of more than ${ANSWER_BYTES_MAX} bytes`, { retriable: true });
  }
}

/** Sends requests to the nodes of a cluster in turn, but for those that are away. */
export class ElasticClient {
  private readonly target: ElasticTarget;
  private readonly now: () => number;
  private readonly client: Client;
  private readonly ended: Ended;
  private readonly underWay = new Set<{ abort(): void }>();
  private notBeforeMs = 0;

  private constructor(target: ElasticTarget, client: Client, ended: Ended, now: () => number) {
    this.target = target;
    this.client = client;
    this.ended = ended;
    this.now = now;
  }

  /** Loads the library, which takes a while, so only where it is wanted. `now`: milliseconds since 1970. */
  static async load(target: ElasticTarget, now: () => number): Promise<ElasticClient> {
    const { Client, Connection } = await import("@opensearch-project/opensearch");
    const ended: Ended = { error: null };

    /** As the library's, with an end to each answer, in time and in size. */
    class BoundedConnection extends Connection {
      override request(...[params, callback]: Parameters<InstanceType<typeof Connection>["request"]>): ClientRequest {
        const timeoutMs = params.timeout ?? target.timeout_ms;
        let answer: IncomingMessage | null = null;
        const request = super.request(params, (error, response) => {
          if (response === null) {
            clearTimeout(timer);
          } else {
            answer = response;
            // The library prints what goes wrong from here on; the response tells it, too.
            request.removeAllListeners("error");
            request.on("error", nothing);
            response.on("error", nothing);
            response.once("close", () => clearTimeout(timer));
            boundAnswer(response, ended);
            if (params.method === "HEAD") response.resume();
          }
          callback(error, response);
        });
        const timer = setTimeout(() => {
          const late = new Error(`no answer within ${timeoutMs} ms`);
          if (answer === null) request.destroy(late);
          else end(answer, late, ended);
        }, timeoutMs);
        return request;
      }
    }

    const headers = headersOf(target);
    const client = new Client({
      // The library would look into the addresses for users; they have none.
      nodes: target.nodes.map((url) => ({ url: new URL(url), headers })),
      Connection: BoundedConnection,
      ssl: tlsOptions(target),
      maxRetries: target.nodes.length - 1,
      requestTimeout: target.timeout_ms,
      pingTimeout: Math.min(PING_MS_MAX, target.timeout_ms),
      headers: { "user-agent": "weir" },
    });
    client.connectionPool.resurrectTimeout = target.node_pause_ms;
    client.connectionPool.resurrectTimeoutCutoff = PAUSE_DOUBLINGS_MAX;
    return new ElasticClient(target, client, ended, now);
  }

  /**
   * Sends a request to one node, and where there is no answer from it (or 502, 503, 504) to the next, to each at most once. Resolves to
   * an answer that is 200, 201, 400, 404, 409 or 413. Rejects with a retriable `sink_unavailable` for everything else: no node is there,
   * or the cluster is busy, or not set up for what is asked.
   */
  async send(request: ElasticRequest, signal: AbortSignal): Promise<ElasticAnswer> {
    const waitMs = this.notBeforeMs - this.now();
    if (waitMs > 0) await sleepFor(waitMs, signal);
    signal.throwIfAborted();
    const { status, body, retryAfter } = await this.ask(request, signal);
    if ([200, 201, 400, 404, 409, 413].includes(status)) return { status, body };
    if (BUSY.has(status) || status >= 500) this.notBeforeMs = this.now() + retryAfterMs(retryAfter, this.now());
    throw this.unavailable(`answers ${answerText({ status, body })}`);
  }

  unavailable(what: string, cause?: unknown): WeirError {
    return new WeirError("sink_unavailable", `${this.where}: ${what}`, { retriable: true, cause });
  }

  /** The cluster, as messages name it. */
  get where(): string {
    const [first, ...others] = this.target.nodes;
    return others.length === 0 ? first : `${first} and ${others.length} more`;
  }

  close(): void {
    for (const request of this.underWay) request.abort();
    for (const { agent } of this.client.connectionPool.connections) agent.destroy();
  }

  private async ask(
    { method, path, query, body, headers }: ElasticRequest,
    signal: AbortSignal,
  ): Promise<ElasticAnswer & { retryAfter: string | undefined }> {
    const sent = this.client.transport.request(
      { method, path, querystring: query, ...(body === undefined ? {} : { body }) },
      { headers: { ...headers } },
    );
    // Without a value: the signal would take what `abort` gives for a promise of its own, and throw what that rejects with.
    const stop = (): void => {
      sent.abort();
    };
    signal.addEventListener("abort", stop, { once: true });
    this.underWay.add(sent);
    this.ended.error = null;
    try {
      return replied(await sent);
    } catch (error) {
      signal.throwIfAborted();
      const reply = replyOf(error);
      if (reply !== null) return reply;
      const why = this.ended.error ?? error;
      if (why === TOO_LARGE) throw new AnswerTooLarge(this.where);
      throw this.unavailable(messageOf(why) || "no connection", why);
    } finally {
      this.underWay.delete(sent);
      signal.removeEventListener("abort", stop);
    }
  }
}

/** Why the last response was ended by Weir: of those that it is part of, the library only tells that it has ended. */
interface Ended {
  error: Error | null;
}

const TOO_LARGE = new Error("the answer is too large");
const nothing = () => undefined;

function end(response: IncomingMessage, error: Error, ended: Ended): void {
  ended.error = error;
  response.destroy(error);
}

/** Ends a response that becomes too large, or that is compressed although nobody asked for that: it could become anything. */
function boundAnswer(response: IncomingMessage, ended: Ended): void {
  let bytes = 0;
  response.on("data", (part: Buffer | string) => {
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) end(response, TOO_LARGE, ended);
  });
  const encoding = response.headers["content-encoding"] ?? "identity";
  if (encoding === "identity") return;
  ended.error = new Error(`content-encoding ${encoding}, which was not asked for`);
  // The library would inflate it.
  delete response.headers["content-encoding"];
  // It is to listen first.
  setImmediate(() => response.destroy());
}

function headersOf(target: ElasticTarget): Record<string, string> {
  const { api_key } = target;
  const who = api_key === undefined ? authorization(target) : { authorization: `ApiKey ${api_key}` };
  return { ...who, ...lowerCase(target.headers) };
}

function replied({ statusCode, body, headers }: ClientReply): ElasticAnswer & { retryAfter: string | undefined } {
  const retryAfter: unknown = headers?.["retry-after"];
  return { status: statusCode ?? 0, body, retryAfter: typeof retryAfter === "string" ? retryAfter : undefined };
}

/** The answer that the library has made an error of, or null where there was none. */
function replyOf(error: unknown): ReturnType<typeof replied> | null {
  if (!(error instanceof Error) || error.name !== "ResponseError" || !("meta" in error)) return null;
  return replied(error.meta as ClientReply); // As the library declares it.
}

const REASON_CHARS_MAX = 1000;

/** A status and what was said with it, for a message. */
export function answerText({ status, body }: ElasticAnswer): string {
  const said = typeof body === "string" ? body.trim() : errorText(body);
  const text = said === "" ? String(status) : `${status} ${said}`;
  return text.length > REASON_CHARS_MAX ? `${text.slice(0, REASON_CHARS_MAX)}…` : text;
}

/** `type: reason` of an error as Elasticsearch writes it, with its cause; the JSON of anything else. */
export function errorText(body: unknown): string {
  const error = part(body, "error") ?? body;
  const reason = part(error, "reason");
  if (typeof reason !== "string") return body === undefined || body === null ? "" : (JSON.stringify(error) ?? "");
  const cause = part(part(error, "caused_by"), "reason");
  const type = part(error, "type");
  return `${typeof type === "string" ? `${type}: ` : ""}${reason}${typeof cause === "string" ? `; ${cause}` : ""}`;
}

/** `value[name]`, where that is. */
export function part(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}
