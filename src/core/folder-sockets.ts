import fs from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { codeOf } from "./errors.ts";

/** The longest path that Linux takes for a socket. Node cuts a longer one without a word. */
const PATH_BYTES_MAX = 107;

/** Sockets as names in folders. */
export interface FolderSockets {
  /** Listens at `name` in the folder. Null where there can be no socket: a file system without them, no Linux. */
  listen(folder: string, name: string): Promise<FolderSocket | null>;
  /**
   * Whether a process listens at `name`, under this kernel and through the same mount. Null when that can't be told: no
   * socket, or one that this process may not use.
   */
  isListening(folder: string, name: string): Promise<boolean | null>;
}

/** A name in a folder that takes connections, and closes them at once, until `close` or the end of the process. */
export interface FolderSocket {
  /** The name is gone afterwards. */
  close(): Promise<void>;
}

export const folderSockets: FolderSockets = {
  async listen(folder, name) {
    // Kept open: closing the server removes the path that it was given, which must not lead to another folder by then.
    const handle = await openFolder(folder);
    const short = handle === null ? null : shortPath(handle, name);
    const server = short === null ? null : await listen(short);
    if (server === null) {
      await handle?.close();
      return null;
    }
    return {
      async close() {
        await new Promise((resolve) => server.close(resolve));
        await handle?.close();
      },
    };
  },
  async isListening(folder, name) {
    const stat = await fs.lstat(path.join(folder, name)).catch((error: unknown) => codeOf(error));
    if (stat === "ENOENT") return false;
    if (typeof stat !== "object" || !stat.isSocket()) return null;
    const handle = await openFolder(folder);
    try {
      const short = handle === null ? null : shortPath(handle, name);
      return short === null ? null : await connect(short);
    } finally {
      await handle?.close();
    }
  },
};

/** Null where a socket can't be reached through its folder, or the folder can't be opened: whoever tries otherwise will say why. */
function openFolder(folder: string): Promise<fs.FileHandle | null> {
  return process.platform === "linux" ? fs.open(folder, "r").catch(() => null) : Promise.resolve(null);
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

/** A path for `name` in the open folder, or null when even that is too long for a socket. */
function shortPath({ fd }: fs.FileHandle, name: string): string | null {
  const short = `/proc/self/fd/${fd}/${name}`;
  return Buffer.byteLength(short) > PATH_BYTES_MAX ? null : short;
}
