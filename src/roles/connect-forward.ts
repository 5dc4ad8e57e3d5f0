import { WeirError } from "../core/errors.ts";
import type { ForwardConnection, ForwardTarget } from "../core/sink.ts";
import { ForwardClient } from "../forward/client.ts";
import { parseListenUrl } from "../forward/listen-url.ts";

/** Connects the sink `forward`, which knows nothing of the receiver's room. Errors as ForwardClient.connect. */
export async function connectForward(target: ForwardTarget): Promise<ForwardConnection> {
  const { url, sharedKey, user, tls, timeoutMs, inFlightMax } = target;
  const to = parseListenUrl(url);
  if (typeof to === "string") throw new WeirError("bad_sink", `forward sink: ${to}`);
  return ForwardClient.connect({
    to,
    ...(sharedKey === undefined ? {} : { sharedKey }),
    ...(user === undefined ? {} : { user }),
    ...(tls === undefined ? {} : { tls }),
    inFlightMax,
    ackTimeoutMs: timeoutMs,
    connectTimeoutMs: timeoutMs,
  });
}
