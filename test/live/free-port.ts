import { randomInt } from "node:crypto";
import { once } from "node:events";
import net from "node:net";

/**
 * Below the ports that systems take for outgoing connections (from 32768 on Linux, from 49152 elsewhere): of those, one that is free now
 * may be somebody's before the process it was chosen for listens at it, or while that process is down.
 */
const FIRST = 20_000;
const END = 32_000;

const given = new Set<number>();

/** A port of this machine at which nobody listens, another one each time. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, END);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = net.createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return false; // Somebody's, or not to be had.
  }
  server.close();
  await once(server, "close");
  return true;
}
