import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { messageOf, WeirError } from "../../src/core/errors.ts";
import { sleepFor } from "../../src/core/wait.ts";
import type { HttpTargetOptions } from "./http-options.ts";

/** What is read of an answer: reasons are short, and a page of a proxy says no more in its second part. */
const ANSWER_BYTES_MAX = 64 * 1024;
const REASON_CHARS_MAX = 1000;
/** A server may ask to be left alone, but not for ever. */
const RETRY_AFTER_MAX_MS = 300_000;
/** "I understood the request, and not now." */
const BUSY: ReadonlySet<number> = new Set([408, 425, 429]);
/**
 * These speak of the records: the destination has read them and will refuse them again. Any other answer that is no success
 * speaks of the setup (a wrong key, a path that is not there, a redirect): no record is to blame, so they wait until it is mended.
 */
const REFUSED: ReadonlySet<number> = new Set([400, 406, 409, 411, 412, 413, 415, 416, 422, 431]);

export interface HttpAnswer {
  readonly status: number;
  /** For people: status and text, cut. */
  readonly text: string;
  /** Whether the destination took the records (2xx). Otherwise it refuses them, and will again. */
  readonly taken: boolean;
  /** The first 64 KiB. */
  readonly body: Buffer;
  /** The media type, in lower case and without parameters; "" where there is none. */
  readonly type: string;
}

interface Raw {
  readonly status: number;
  readonly body: Buffer;
  readonly headers: http.IncomingHttpHeaders;
}

/** Sends requests to one URL over connections that stay open. */
export class HttpClient {
  private readonly options: HttpTargetOptions;
  private readonly now: () => number;
  private readonly url: URL;
  private readonly headers: Readonly<Record<string, string>>;
  private readonly agent: http.Agent;
  private notBeforeMs = 0;

  /** Throws `bad_sink` when the file with certificates can't be read. `now`: milliseconds since 1970. */
  constructor(options: HttpTargetOptions, now: () => number) {
    this.options = options;
    this.now = now;
    this.url = new URL(options.url);
    this.headers = { "user-agent": "weir", ...authorization(options), ...lowerCase(options.headers) };
    // There is one request at a time, so there is no need of a limit, and none that a broken connection could use up.
    const keep = { keepAlive: true };
    this.agent =
      this.url.protocol === "https:" ? new https.Agent({ ...keep, ...tlsOptions(options) }) : new http.Agent(keep);
  }

  /**
   * Posts a body; null when it was taken (2xx), or the answer when the destination refuses the records. Rejects with a retriable
   * `sink_unavailable` for everything else: no connection, no answer in time, a server that is busy or not set up.
   */
  async post(body: Buffer, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HttpAnswer | null> {
    const answer = await this.ask(body, headers, signal);
    return answer.taken ? null : answer;
  }

  /** As `post`, but with the answer where it was taken too. `refused`: statuses that speak of the records. */
  async ask(
    body: Buffer,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    refused: (status: number) => boolean = (status) => REFUSED.has(status),
  ): Promise<HttpAnswer> {
    const waitMs = this.notBeforeMs - this.now();
    if (waitMs > 0) await sleepFor(waitMs, signal);
    signal.throwIfAborted();
    const raw = await this.request(body, headers, signal);
    const { status } = raw;
    const text = reasonOf(status, raw.body.toString());
    // 260 is Loki's way to say that an operator keeps lines out.
    const taken = status >= 200 && status < 300 && status !== 260;
    const type = (raw.headers["content-type"] ?? "").split(";", 1)[0].trim().toLowerCase();
    if (taken || refused(status)) return { status, text, taken, body: raw.body, type };
    if (BUSY.has(status) || status >= 500) {
      this.notBeforeMs = this.now() + retryAfterMs(raw.headers["retry-after"], this.now());
    }
    throw this.unavailable(`answers ${text}`);
  }

  close(): void {
    this.agent.destroy();
  }

  private request(body: Buffer, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Raw> {
    const { timeout_ms } = this.options;
    const { request } = this.url.protocol === "https:" ? https : http;
    return new Promise((resolve, reject) => {
      const sent = request(this.url, {
        method: "POST",
        agent: this.agent,
        signal,
        headers: { ...headers, ...this.headers, "content-length": String(body.length) },
      });
      const fail = (error: Error) => {
        clearTimeout(timer);
        reject(signal.aborted ? error : this.unavailable(messageOf(error) || "no connection", error));
      };
      const timer = setTimeout(() => {
        const error = new Error(`no answer within ${timeout_ms} ms`);
        sent.destroy(error);
        fail(error); // A request that has no connection yet tells nobody of its end.
      }, timeout_ms);
      sent.on("error", fail);
      sent.on("response", (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on("data", (part: Buffer) => {
          if (bytes < ANSWER_BYTES_MAX) parts.push(part);
          bytes += part.length;
        });
        response.on("error", fail);
        response.on("end", () => {
          clearTimeout(timer);
          const read = Buffer.concat(parts).subarray(0, ANSWER_BYTES_MAX);
          resolve({ status: response.statusCode ?? 0, body: read, headers: response.headers });
        });
      });
      sent.end(body);
    });
  }

  /** The error for an answer that says nothing of the records. */
  unavailable(what: string, cause?: unknown): WeirError {
    const where = `${this.url.origin}${this.url.pathname}`;
    return new WeirError("sink_unavailable", `${where}: ${what}`, { retriable: true, cause });
  }
}

/** The header that says who is asking. */
export function authorization({
  basic,
  bearer_token,
}: Pick<HttpTargetOptions, "basic" | "bearer_token">): Record<string, string> {
  if (basic !== undefined) {
    return { authorization: `Basic ${Buffer.from(`${basic.user}:${basic.password}`).toString("base64")}` };
  }
  return bearer_token === undefined ? {} : { authorization: `Bearer ${bearer_token}` };
}

export function lowerCase(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

export function tlsOptions({ tls: { ca_file, verify } }: Pick<HttpTargetOptions, "tls">): https.AgentOptions {
  return { rejectUnauthorized: verify, ...(ca_file === undefined ? {} : { ca: readPem(ca_file) }) };
}

/** The text of a file with certificates. Throws `bad_sink`. */
export function readPem(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new WeirError("bad_sink", `tls.ca_file: ${messageOf(error)}`, { cause: error });
  }
}

function reasonOf(status: number, text: string): string {
  const plain = text.trim();
  const cut = plain.length > REASON_CHARS_MAX ? `${plain.slice(0, REASON_CHARS_MAX)}…` : plain;
  return cut === "" ? String(status) : `${status} ${cut}`;
}

/** `Retry-After`: seconds, or a date. */
export function retryAfterMs(text: string | undefined, nowMs: number): number {
  if (text === undefined) return 0;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return ms > 0 ? Math.min(ms, RETRY_AFTER_MAX_MS) : 0;
}
