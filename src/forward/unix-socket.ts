import { once } from "node:events";
import { chmod, lstat, unlink } from "node:fs/promises";
import net from "node:net";
import { codeOf } from "../core/errors.ts";

/**
 * Removes the socket that a killed process left at `path`. One that somebody listens on, and a file that is no socket,
 * stay: listening then fails with the address in use.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isSocket()) return;
    const probe = net.connect({ path });
    try {
      await once(probe, "connect");
    } finally {
      probe.destroy();
    }
  } catch (error) {
    if (codeOf(error) === "ECONNREFUSED") await unlink(path);
    // Not there, or not ours to look at: listening says what there is to say.
  }
}

/** `permissions`: three octal digits. */
export function setPermissions(path: string, permissions: string): Promise<void> {
  return chmod(path, Number.parseInt(permissions, 8));
}
