/** The port that the forward protocol is registered with. */
const FORWARD_PORT = 24224;

export type ListenAddress =
  | { readonly scheme: "tcp" | "tls"; readonly host: string; readonly port: number }
  | { readonly scheme: "unix"; readonly path: string };

/**
 * `tcp://HOST:PORT`, `tls://HOST:PORT` (port 24224 if absent, 0 for any free one) or `unix:///PATH`; or, for anything
 * else, a sentence that says what is wrong.
 */
export function parseListenUrl(text: string): ListenAddress | string {
  const unix = /^unix:\/\/(\/.+)$/.exec(text);
  if (unix !== null) return { scheme: "unix", path: unix[1] };
  const m = /^(tcp|tls):\/\/(\[[0-9A-Fa-f:.%]+\]|[^\s/:[\]]+)(?::(\d{1,5}))?\/?$/.exec(text);
  if (m === null) {
    return `got ${JSON.stringify(text)}, want tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH`;
  }
  const port = m[3] === undefined ? FORWARD_PORT : Number(m[3]);
  if (port > 65_535) return `got port ${port} in ${JSON.stringify(text)}, want at most 65535`;
  const host = m[2].startsWith("[") ? m[2].slice(1, -1) : m[2];
  return { scheme: m[1] === "tls" ? "tls" : "tcp", host, port };
}

/** The address as a URL again. */
export function formatListenUrl(address: ListenAddress): string {
  if (address.scheme === "unix") return `unix://${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${address.scheme}://${host}:${address.port}`;
}
