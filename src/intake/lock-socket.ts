import net from "node:net";
import path from "node:path";
import { codeOf } from "../core/errors.ts";
import type { FileOps } from "../core/files.ts";

/** The longest path that Linux takes for a socket. Node cuts a longer one without a word. */
const PATH_BYTES_MAX = 107;

/** A name in a folder that takes connections, and closes them at once, until `close` or the end of the process. */
export interface LockSocket {
  /** The name is gone afterwards. */
  close(): Promise<void>;
}

/**
 * Listens at `name` in the folder. Null where there can be no socket: a file system without them, no Linux. Throws what opening
 * the folder throws.
 */
export async function listenAt(files: FileOps, folder: string, name: string): Promise<LockSocket | null> {
  if (process.platform !== "linux") return null;
  // Kept open: closing the server removes the path that it was given, which must not lead to another folder by then.
  const fd = await files.open(folder, "r");
  const short = shortPath(fd, name);
  const server = short === null ? null : await listen(short);
  if (server === null) {
    await files.close(fd);
    return null;
  }
  return {
    async close() {
      await new Promise((resolve) => server.close(resolve));
      await files.close(fd);
    },
  };
}

function listen(at: string): Promise<net.Server | null> {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => socket.destroy());
    // After it listens: no descriptor is left for one that asks. It counts as connected all the same.
    server.on("error", () => resolve(null));
    server.listen({ path: at }, () => resolve(server));
    server.unref();
  });
}

/**
 * Whether a process listens at the socket `name`, under this kernel and through the same mount. Null when that can't be told: no
 * socket, or one that this process may not use.
 */
export async function canConnect(files: FileOps, folder: string, name: string): Promise<boolean | null> {
  if (process.platform !== "linux") return null;
  try {
    if ((await files.stat(path.join(folder, name))).isFile) return null;
  } catch (error) {
    return codeOf(error) === "ENOENT" ? false : null;
  }
  const fd = await files.open(folder, "r");
  try {
    const short = shortPath(fd, name);
    return short === null ? null : await connect(short);
  } finally {
    await files.close(fd);
  }
}

function connect(to: string): Promise<boolean | null> {
  return new Promise((resolve) => {
    const socket = net.connect({ path: to });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", (error) => {
      const code = codeOf(error);
      // EAGAIN: as many are waiting as may, as before a process that is stopped.
      if (code === "EAGAIN") resolve(true);
      else resolve(code === "ECONNREFUSED" || code === "ENOENT" ? false : null);
    });
  });
}

/** A path for `name` in the folder that is open as `fd`, or null when even that is too long for a socket. */
function shortPath(fd: number, name: string): string | null {
  const short = `/proc/self/fd/${fd}/${name}`;
  return Buffer.byteLength(short) > PATH_BYTES_MAX ? null : short;
}
