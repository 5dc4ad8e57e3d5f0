import { readFile, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { messageOf, WeirError } from "../core/errors.ts";
import { ForwardClient, type ForwardClientOptions } from "../forward/client.ts";
import { parseListenUrl } from "../forward/listen-url.ts";
import { type ChunkConnection, ChunkLink, deliverAll } from "./chunk-link.ts";
import { type CliIo, type Output, runCommand, usageError } from "./io.ts";
import { type LineChunk, LineChunker, type LineSource, openSource } from "./line-chunks.ts";
import { wholeNumber } from "./numbers.ts";
import { count, Progress, perSecond, size } from "./progress.ts";

const DEFAULT_TO = "127.0.0.1:24224";
/** Chunks on their way at one time: enough to hide the fsync behind each acknowledgement, and 4 MiB of memory. */
const IN_FLIGHT = 8;

interface SendOptions {
  tag: string;
  to?: string;
  sharedKey?: string;
  user?: string;
  password?: string;
  ca?: string;
  ack: boolean;
  rate?: string;
}

const DETAILS = `
Each line becomes a record {"log": "<line>"} with the present time. Lines are bytes: nothing is decoded, and a CR stays.
Files ending in .gz are inflated; - reads stdin, and sends what has come without waiting for more.
With acknowledgements (the default) the command ends when everything is safe on the server's disk. A lost connection is
made again, and what was not acknowledged is sent again; the server stores it once.

Examples:
  weir send access.log --tag web
  journalctl -f | weir send - --tag journal --to tls://logs.example:24224 --ca ca.pem`;

/** `weir send`: sends the lines of files with the forward protocol. */
export function register(program: Command, io: CliIo): void {
  program
    .command("send")
    .summary("send a file's lines to a running weir")
    .description("Sends the lines of files with the forward protocol, to Weir or anything else that speaks it.")
    .argument("<files...>", "files of lines; - for stdin")
    .requiredOption("--tag <tag>", "tag of the lines, by which pipelines choose")
    .option(
      "--to <address>",
      `HOST:PORT, or tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH (env: WEIR_TO) (default: "${DEFAULT_TO}")`,
    )
    .option("--shared-key <key>", "the server's shared key (env: WEIR_SHARED_KEY)")
    .option("--user <name>", "user, where the server asks for one")
    .option("--password <password>", "the user's password (env: WEIR_PASSWORD)")
    .option("--ca <file>", "CA certificates, PEM, that a tls:// server's certificate must come from")
    .option("--no-ack", "don't ask for acknowledgements: faster, but lines can be lost")
    .option("--rate <lines>", "most lines a second")
    .addHelpText("after", DETAILS)
    .action((files: string[], options: SendOptions) => runCommand(io, (out) => send(files, options, io, out)));
}

async function send(files: readonly string[], options: SendOptions, io: CliIo, out: Output): Promise<void> {
  const rate = options.rate === undefined ? null : wholeNumber("--rate", options.rate);
  if (rate === 0) throw usageError("--rate: got 0, want at least one line a second");
  const open = await opener(options, io);
  const startMs = performance.now();
  const progress = new Progress(io, () => performance.now());
  const sources = new SourceList(files, io);
  await sources.measure();
  // Ten chunks a second at least, so that a slow rate is even.
  const chunker = new LineChunker(Date.now, rate === null ? undefined : Math.max(1, Math.floor(rate / 10)));
  const link = new ChunkLink(open, { onNotice: (text) => io.stderr.write(`weir: ${text}\n`) });
  let lines = 0;
  let bytes = 0;
  try {
    await deliverAll(paced(sources.chunksOf(chunker), rate), link, IN_FLIGHT, (chunk) => {
      lines += chunk.lines;
      bytes += chunk.bytes;
      progress.update({ share: sources.share(), lines, bytes });
    });
  } catch (error) {
    progress.clear();
    if (lines > 0) io.stderr.write(`weir: ${count(lines)} lines were sent before this:\n`);
    throw error;
  } finally {
    progress.clear();
    await link.close();
  }
  const seconds = (performance.now() - startMs) / 1000;
  const how = options.ack ? "sent and acknowledged" : "sent without acknowledgement";
  const rates = `${count(perSecond(lines, seconds))} lines/s`;
  await out.write(`${count(lines)} lines, ${size(bytes)} ${how} in ${seconds.toFixed(2)} s (${rates})\n`);
}

/** The files, one after the other, and how much of them has been read. */
class SourceList {
  private readonly files: readonly string[];
  private readonly io: CliIo;
  private total: number | null = null;
  private done = 0;
  private current: LineSource | null = null;

  constructor(files: readonly string[], io: CliIo) {
    this.files = files;
    this.io = io;
  }

  /** Learns the sizes; what is no plain file has none, and then nobody knows how much there will be. */
  async measure(): Promise<void> {
    const sizes = await Promise.all(
      this.files.map(async (file) => {
        if (file === "-") return null;
        try {
          const found = await stat(file);
          return found.isFile() ? found.size : null;
        } catch (error) {
          // Said before anything is sent, so that a mistyped name among several leaves nothing half done.
          throw new WeirError("file_unreadable", `cannot read ${file}: ${messageOf(error)}`, { cause: error });
        }
      }),
    );
    this.total = sizes.reduce<number | null>((sum, bytes) => (sum === null || bytes === null ? null : sum + bytes), 0);
  }

  async *chunksOf(chunker: LineChunker): AsyncGenerator<LineChunk> {
    for (const file of this.files) {
      this.current =
        file === "-" ? { name: "stdin", stream: this.io.stdin, progress: null, live: true } : openSource(file);
      yield* chunker.chunksOf(this.current);
      this.done += this.current.progress?.() ?? 0;
      this.current = null;
    }
  }

  share(): number | null {
    if (this.total === null || this.total === 0) return null;
    return (this.done + (this.current?.progress?.() ?? 0)) / this.total;
  }
}

/** Gives chunks no faster than `rate` lines a second. */
async function* paced(chunks: AsyncGenerator<LineChunk>, rate: number | null): AsyncGenerator<LineChunk> {
  let dueMs = performance.now();
  for await (const chunk of chunks) {
    if (rate !== null) {
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      dueMs = Math.max(dueMs, performance.now()) + (chunk.lines / rate) * 1000;
    }
    yield chunk;
  }
}

/** How to connect, all of it checked before the first file is opened. */
async function opener(options: SendOptions, io: CliIo): Promise<() => Promise<ChunkConnection>> {
  const text = options.to ?? (io.env.WEIR_TO || DEFAULT_TO);
  const to = parseListenUrl(text.includes("://") ? text : `tcp://${text}`);
  if (typeof to === "string") throw usageError(`--to: ${to}`);
  const sharedKey = options.sharedKey ?? io.env.WEIR_SHARED_KEY;
  const password = options.password ?? io.env.WEIR_PASSWORD;
  if (options.user !== undefined && password === undefined)
    throw usageError("--user needs --password, or WEIR_PASSWORD");
  if (options.user !== undefined && sharedKey === undefined) {
    throw usageError('--user needs --shared-key; "" is the empty key');
  }
  const settings: ForwardClientOptions = {
    to,
    inFlightMax: IN_FLIGHT,
    ...(sharedKey === undefined ? {} : { sharedKey }),
    ...(options.user === undefined || password === undefined ? {} : { user: { name: options.user, password } }),
    ...(options.ca === undefined ? {} : { tls: { ca: await readCa(options.ca) } }),
  };
  return async () => {
    const client = await connect(settings);
    return {
      send: ({ entries, lines, id }) =>
        client.sendPacked(options.tag, entries, { chunk: options.ack ? id : null, size: lines }),
      close: () => client.close(),
    };
  };
}

async function connect(settings: ForwardClientOptions): Promise<ForwardClient> {
  try {
    return await ForwardClient.connect(settings);
  } catch (error) {
    if (!(error instanceof WeirError) || !error.retriable) throw error;
    throw new WeirError("server_unreachable", `${error.message}; is weir running there? (--to says where)`, {
      retriable: true,
      cause: error,
    });
  }
}

async function readCa(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new WeirError("file_unreadable", `--ca: cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
