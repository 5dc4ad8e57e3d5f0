import zlib from "node:zlib";

/** Output goes to memory of which one piece serves several texts. */
const OUTPUT_TEXTS = 4;
const OUTPUT_LEAST = 1024;

/** The types leave out of it what the documentation has. */
type GzipStream = zlib.Gzip & zlib.ZlibReset;

/** `error`: null where there is none. */
export type Gzipped = (error: unknown, gzip: Buffer) => void;

/**
 * Makes gzip members of texts in libuv's pool, one after the other, with one deflate state for all of them: a state is 268 KB
 * that have to be cleared, and zlib.gzip makes a stream with a new one for each text, which for blocks of 256 KiB costs about a
 * twentieth of compressing them. Each text is finished by its write, and then the state is set back.
 */
export class Gzipper {
  private readonly level: number;
  private readonly textBytes: number;
  private stream: GzipStream | null = null;
  private parts: Buffer[] = [];

  /** `textBytes`: of a usual text; others take a round trip more. */
  constructor(level: number, textBytes: number) {
    this.level = level;
    this.textBytes = textBytes;
  }

  /** To be called when the text before is done. `gzip` may lie in memory with others. After an error it can be used anew. */
  compress(text: Buffer, done: Gzipped): void {
    this.stream ??= this.open();
    const { stream } = this;
    this.parts = [];
    stream.write(text, (error) => {
      if (error !== null && error !== undefined) {
        this.fail(stream, error, done);
        return;
      }
      try {
        // What the stream has put back is given to "data" by this.
        while (stream.read() !== null);
        stream.reset();
      } catch (failure) {
        this.fail(stream, failure, done);
        return;
      }
      const { parts } = this;
      this.parts = [];
      done(null, parts.length === 1 ? parts[0] : Buffer.concat(parts));
    });
  }

  private open(): GzipStream {
    const chunkSize = Math.max(OUTPUT_LEAST, this.textBytes * OUTPUT_TEXTS);
    const stream = zlib.createGzip({ level: this.level, chunkSize, flush: zlib.constants.Z_FINISH }) as GzipStream;
    stream.on("data", (part: Buffer) => this.parts.push(part));
    // The write under way is told of it.
    stream.on("error", () => {});
    return stream;
  }

  private fail(stream: zlib.Gzip, error: unknown, done: Gzipped): void {
    stream.destroy();
    if (this.stream === stream) this.stream = null;
    done(error, NO_BYTES);
  }
}

const NO_BYTES = Buffer.alloc(0);
