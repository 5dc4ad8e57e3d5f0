import { z } from "zod";

/** The HTTP server. */
export const httpOptions = z.strictObject({
  listen: z
    .string()
    .regex(/^(?:\[[0-9A-Fa-f:.]+\]|[^:\s]*):[0-9]{1,5}$/, "want HOST:PORT, such as 127.0.0.1:3100 or [::1]:3100")
    .default("127.0.0.1:3100")
    .describe(
      "Address and port. 3100 is Loki's, so that Grafana's and logcli's settings fit; only this machine, because there is no sign-in.",
    ),
  auth_enabled: z
    .boolean()
    .default(false)
    .describe(
      "Whether every request belongs to the tenant that its header X-Scope-OrgID names, and is refused without one, as Loki's option of this name. Weir checks no password: the proxy in front of it does, and sets the header. Off: there is one tenant, `fake`.",
    ),
  cors_origins: z
    .array(z.string().regex(/^(?:\*|https?:\/\/[^/\s]+)$/, 'want an origin such as https://logs.example.com, or "*"'))
    .default([])
    .describe(
      "Origins whose pages may read answers in a browser; `*` for all. None: Grafana's server asks by itself, so nobody needs it by default.",
    ),
  connections_max: z
    .int()
    .positive()
    .default(4096)
    .describe("Connections at one time; further ones are closed at once. A connection costs some 20 KB."),
  body_bytes_max: z
    .int()
    .positive()
    .default(1_048_576)
    .describe("Largest body of a request. 1 MiB: queries end at 128 KiB, and their escaped form is three times that."),
  request_timeout_ms: z
    .int()
    .positive()
    .default(30_000)
    .describe("Longest time in which a client has to send its request. 30 s, far more than a query's text needs."),
  stall_timeout_ms: z
    .int()
    .positive()
    .default(60_000)
    .describe("A client that takes no byte of its answer for so long is cut off, because its answer fills memory."),
  answers_bytes_max: z
    .int()
    .positive()
    .default(268_435_456)
    .describe(
      "Most bytes of answers that clients are still reading. Beyond it queries are refused with 503 until some have been read; 256 MiB are 50 of the largest usual ones.",
    ),
});

export type HttpOptions = z.output<typeof httpOptions>;

/** `HOST:PORT` in its parts; brackets around an IPv6 address go, and no host means all addresses. */
export function splitListen(listen: string): { host: string; port: number } {
  const at = listen.lastIndexOf(":");
  const host = listen.slice(0, at).replace(/^\[(.*)\]$/, "$1");
  return { host: host === "" ? "::" : host, port: Number(listen.slice(at + 1)) };
}
