import { s3Options } from "../../src/objects/options.ts";
import { S3Store } from "../../src/objects/s3.ts";
import type { S3Proxy } from "../contract/s3-proxy.ts";
import { BUCKET } from "../live/s3-server.ts";

let stores = 0;

/** An empty store behind the proxy. Waits between tries cost the test only time, so there are none. */
export function openBehind(proxy: S3Proxy, options: Record<string, unknown> = {}): S3Store {
  const parsed = s3Options.parse({ endpoint: proxy.endpoint, request_timeout_ms: 60_000, ...options });
  return new S3Store(
    { bucket: BUCKET, prefix: `store-${stores++}/`, options: parsed },
    { sleep: () => new Promise((resolve) => setImmediate(resolve)) },
  );
}
