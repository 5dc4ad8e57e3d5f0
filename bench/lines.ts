/*
 * Realistic log lines from a seed: JSON with trace ids, mesh access lines, and plain text, a third of the streams each,
 * wrapped in the records that Fluent Bit's tail input and Kubernetes filter make of them.
 */

/** A small fast generator of pseudo-random numbers (sfc32), so that a run can be repeated from its seed. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d = 1;

  constructor(seed: number) {
    this.a = seed | 0;
    this.b = 0x9e3779b9;
    this.c = 0x243f6a88;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const t = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + t;
    return t >>> 0;
  }

  /** An integer, 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * limit);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  /** 8 hex digits a time. */
  hex(words: number): string {
    let out = "";
    for (let i = 0; i < words; i++) out += this.u32().toString(16).padStart(8, "0");
    return out;
  }
}

export const STREAMS = 100;
const NAMESPACES = ["shop", "payments", "search", "ingest", "platform", "identity", "mail", "media", "reports", "edge"];
const WORDS = [
  "cart",
  "order",
  "invoice",
  "user",
  "session",
  "catalog",
  "stock",
  "price",
  "refund",
  "shipment",
  "coupon",
];
const PATHS = [
  "/api/v1/orders",
  "/api/v1/carts",
  "/healthz",
  "/api/v2/search",
  "/login",
  "/static/app.js",
  "/api/v1/users",
];
const AGENTS = [
  "curl/8.5.0",
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
  "Go-http-client/2.0",
  "okhttp/4.12.0",
];
const CODES = [200, 200, 200, 200, 200, 200, 201, 204, 301, 304, 400, 404, 429, 500, 503];
const LEVELS = ["info", "info", "info", "info", "info", "debug", "debug", "warn", "error"];

/** What one of the 100 streams is: where it runs and which kind of lines it writes. */
export interface Source {
  readonly namespace: string;
  readonly app: string;
  readonly container: string;
  readonly pods: readonly string[];
  readonly node: string;
  readonly kind: "json" | "mesh" | "text";
}

export function makeSources(random: Random): Source[] {
  return Array.from({ length: STREAMS }, (_, i) => {
    const kind = (["json", "mesh", "text"] as const)[i % 3];
    const app = `${WORDS[i % WORDS.length]}-${["api", "worker", "gateway"][i % 3]}-${Math.floor(i / 10)}${i % 10}`;
    return {
      namespace: NAMESPACES[i % NAMESPACES.length],
      app,
      container: kind === "mesh" ? "istio-proxy" : "app",
      pods: [0, 1].map(() => `${app}-${random.hex(1)}${random.hex(1).slice(0, 2)}-${random.hex(1).slice(0, 5)}`),
      node: `node-${String(i % 7).padStart(2, "0")}.eu-west-1.compute.internal`,
      kind,
    };
  });
}

const two = (n: number) => String(n).padStart(2, "0");

/** ISO time of `ms` since 1970, cheaper than a Date a line. */
function isoTime(ms: number): string {
  const day = Math.floor(ms / 86_400_000);
  if (day !== isoDay.day) {
    isoDay.day = day;
    isoDay.text = new Date(day * 86_400_000).toISOString().slice(0, 10);
  }
  const rest = ms - day * 86_400_000;
  const s = Math.floor(rest / 1000);
  const fraction = String(rest % 1000).padStart(3, "0");
  return `${isoDay.text}T${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}.${fraction}Z`;
}
const isoDay = { day: -1, text: "" };

function address(random: Random): string {
  return `10.${random.below(64)}.${random.below(256)}.${random.below(256)}`;
}

function uuid(random: Random): string {
  const h = random.hex(4);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-4${h.slice(13, 16)}-9${h.slice(17, 20)}-${h.slice(20, 32)}`;
}

/** One line of a source, ASCII, at `ms` since 1970. `trace` is the id that a JSON line carries. */
export function makeLine(random: Random, source: Source, ms: number, trace: string): string {
  if (source.kind === "json") return jsonLine(random, source, ms, trace);
  return source.kind === "mesh" ? meshLine(random, source, ms) : textLine(random, source, ms);
}

function jsonLine(random: Random, source: Source, ms: number, trace: string): string {
  const word = random.pick(WORDS);
  return (
    `{"time":"${isoTime(ms)}","level":"${random.pick(LEVELS)}","service":"${source.app}",` +
    `"msg":"${random.pick(["created", "loaded", "updated", "rejected", "sent"])} ${word} ${random.below(100_000)}",` +
    `"trace_id":"${trace}","span_id":"${random.hex(2)}","duration_ms":${random.below(2000)}.${random.below(1_000_000)},` +
    `"user":"u-${random.below(2_000_000)}","session":"${random.hex(3)}","client":"${address(random)}","status":${random.pick(CODES)}}`
  );
}

function meshLine(random: Random, source: Source, ms: number): string {
  const code = random.pick(CODES);
  const took = random.below(400);
  return (
    `[${isoTime(ms)}] "${random.pick(["GET", "GET", "GET", "POST", "PUT"])} ${random.pick(PATHS)}/${random.hex(1)}${random.below(50_000)}?page=${random.below(90)} HTTP/1.1" ` +
    `${code} ${code >= 500 ? "UF" : "-"} via_upstream - "-" ${random.below(900)} ${random.below(20_000)} ${took + 2} ${took} "-" ` +
    `"${random.pick(AGENTS)}" "${uuid(random)}" "${source.app}.${source.namespace}:8080" "${address(random)}:8080" ` +
    `inbound|8080|| 127.0.0.6:${30_000 + random.below(30_000)} ${address(random)}:8080 ${address(random)}:${30_000 + random.below(30_000)} - default`
  );
}

function textLine(random: Random, source: Source, ms: number): string {
  const time = isoTime(ms).replace("T", " ").replace("Z", "");
  const thread = `[pool-${random.below(4)}-thread-${random.below(32)}]`;
  const word = random.pick(WORDS);
  switch (random.below(5)) {
    case 0:
      return `${time} ${thread} INFO  c.e.${source.namespace}.${word}.Service - processed ${word} id=${random.below(1_000_000)} key=${random.hex(2)} in ${random.below(900)}.${random.below(1000)} ms`;
    case 1:
      return `${time} ${thread} DEBUG c.e.${source.namespace}.cache.Store - cache miss for key ${word}:${random.hex(3)}:${random.below(500_000)}, loading from ${random.pick(["db", "replica", "origin"])}`;
    case 2:
      return `${time} ${thread} WARN  c.e.${source.namespace}.http.Client - slow call to ${random.pick(NAMESPACES)}-service took ${500 + random.below(5000)} ms, attempt ${random.below(4)}, caller ${address(random)}, ticket ${random.hex(2)}`;
    case 3:
      return `${time} ${thread} INFO  c.e.${source.namespace}.queue.Consumer - consumed offset ${random.below(100_000_000)} of partition ${random.below(48)} lag ${random.below(300)} checksum ${random.hex(2)}`;
    default:
      return `${time} ${thread} ERROR c.e.${source.namespace}.${word}.Handler - failed to save ${word} ${random.below(100_000)}: connection reset by peer (${address(random)}:5432) xid ${random.below(1_000_000_000)}`;
  }
}
