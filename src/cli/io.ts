import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";

/** What a command sees of the world, so that a test can hand in its own. */
export interface CliIo {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether stdout, and stderr, is a terminal: colours on one, the progress bar on the other. */
  readonly isTTY: { readonly stdout: boolean; readonly stderr: boolean };
  /** What the process ends with. Commands set it; they never call `process.exit`. */
  exitCode: number;
  /** Calls `listener` at Ctrl-C or SIGTERM, until the returned function is called. */
  onInterrupt(listener: () => void): () => void;
}

/** The real process. */
export function processIo(): CliIo {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    isTTY: { stdout: process.stdout.isTTY === true, stderr: process.stderr.isTTY === true },
    get exitCode() {
      return Number(process.exitCode ?? 0);
    },
    set exitCode(code: number) {
      process.exitCode = code;
    },
    onInterrupt(listener) {
      process.once("SIGINT", listener);
      process.once("SIGTERM", listener);
      return () => {
        process.off("SIGINT", listener);
        process.off("SIGTERM", listener);
      };
    },
  };
}

/** A mistake in how a command was called; the message says what to write instead. */
export function usageError(message: string): WeirError {
  return new WeirError("bad_usage", message);
}

/**
 * stdout with back-pressure, that ends quietly when its reader is gone (`weir query … | head`): `signal` is then
 * aborted, `write` does nothing more, and the command's work is over with exit code 0.
 */
export class Output {
  private readonly stream: Writable;
  private readonly gone = new AbortController();
  private failure: unknown = null;
  private readonly onError = (error: unknown): void => {
    if (codeOf(error) !== "EPIPE") this.failure = error;
    this.gone.abort();
  };

  constructor(stream: Writable) {
    this.stream = stream;
    stream.on("error", this.onError);
  }

  /** Aborted as soon as nobody reads any more. */
  get signal(): AbortSignal {
    return this.gone.signal;
  }

  /** Resolves when more may be written. Throws what a full disk or the like says, but not for a broken pipe. */
  async write(bytes: string | Uint8Array): Promise<void> {
    if (!this.gone.signal.aborted && !this.stream.write(bytes)) {
      // `once` rejects at an error of the stream; which one it was is decided by `onError`, below.
      await once(this.stream, "drain", { signal: this.gone.signal }).catch(() => undefined);
    }
    this.check();
  }

  /** Waits until everything is handed over; errors as `write`. */
  async end(): Promise<void> {
    if (!this.gone.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.stream.write("", () => resolve());
      });
    }
    this.check();
  }

  private check(): void {
    if (this.failure !== null) {
      throw new WeirError("output_failed", `cannot write the output: ${messageOf(this.failure)}`, {
        cause: this.failure,
      });
    }
  }
}

/**
 * Runs a command's work: an error becomes one clear line on stderr and exit code 1; a broken pipe becomes exit code 0.
 */
export async function runCommand(io: CliIo, work: (out: Output) => Promise<void>): Promise<void> {
  const out = new Output(io.stdout);
  try {
    await work(out);
    await out.end();
  } catch (error) {
    // The reader left while the command was in the middle of something: that something's own error says nothing.
    if (out.signal.aborted && codeOf(error) !== "output_failed") return;
    if (!(error instanceof WeirError)) throw error; // A bug: let the process say where.
    io.stderr.write(`weir: ${error.message}\n`);
    io.exitCode = 1;
  }
}
