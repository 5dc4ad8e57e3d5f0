import path from "node:path";
import { z } from "zod";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { type FileOps, nodeFiles, readAll, writeAll } from "../core/files.ts";

/*
 * How far a sink has come: `<data>/sinks/<name>.json`, one JSON object, replaced as a whole after each request that the
 * destination has taken: {"version":1,"partitions":{"0":{"offset":120,"place":0}}}. `offset` is the intake entry that is next,
 * `place` counts its records that are delivered already. `until`, while a digest is being sent: it has the entries from there on
 * and below this one.
 */
const schema = z.object({
  version: z.literal(1),
  partitions: z.record(
    z.string().regex(/^\d{1,10}$/),
    z.object({
      offset: z.int().nonnegative(),
      place: z.int().nonnegative(),
      until: z.int().nonnegative().optional(),
    }),
  ),
});
const FILE_BYTES_MAX = 1 << 20;

export interface SinkPosition {
  readonly offset: number;
  readonly place: number;
  readonly until?: number | undefined;
}

/** Keeps the positions of one sink in a file. */
export class SinkPositions {
  private readonly file: string;
  private readonly files: FileOps;
  private readonly partitions: Map<number, SinkPosition>;
  private saving: Promise<void> = Promise.resolve();

  private constructor(file: string, files: FileOps, partitions: Map<number, SinkPosition>) {
    this.file = file;
    this.files = files;
    this.partitions = partitions;
  }

  /** Reads the file, if there is one. Throws `sink_position` for one that can't be read. */
  static async open(folder: string, sink: string, files: FileOps = nodeFiles): Promise<SinkPositions> {
    const file = path.join(folder, `${sink}.json`);
    const bad = (what: string, cause?: unknown) =>
      new WeirError("sink_position", `position of sink ${sink} in ${file}: ${what}; remove the file to begin anew`, {
        context: { sink, file },
        cause,
      });
    try {
      await files.mkdir(folder);
      const text = await readText(files, file);
      if (text === null) return new SinkPositions(file, files, new Map());
      const { partitions } = schema.parse(JSON.parse(text));
      const read = Object.entries(partitions).map(([partition, at]) => [Number(partition), at] as const);
      return new SinkPositions(file, files, new Map(read));
    } catch (error) {
      throw bad(messageOf(error), error);
    }
  }

  /** Where the sink goes on, or null when it has never been anywhere in this partition. */
  get(partition: number): SinkPosition | null {
    return this.partitions.get(partition) ?? null;
  }

  /** Resolves when the position is on the disk. Calls follow each other. */
  set(partition: number, position: SinkPosition): Promise<void> {
    this.partitions.set(partition, position);
    const saved = this.saving.then(() => this.save());
    this.saving = saved.catch(() => {}); // The caller hears of it; the next one tries again.
    return saved;
  }

  private async save(): Promise<void> {
    const { files, file } = this;
    const partitions = Object.fromEntries([...this.partitions].sort(([a], [b]) => a - b));
    const temporary = `${file}.new`;
    const fd = await files.open(temporary, "w");
    try {
      await writeAll(files, fd, [Buffer.from(`${JSON.stringify({ version: 1, partitions })}\n`)], 0);
      await files.datasync(fd);
    } finally {
      await files.close(fd);
    }
    await files.rename(temporary, file);
    await files.syncFolder(path.dirname(file));
  }
}

async function readText(files: FileOps, file: string): Promise<string | null> {
  let fd: number;
  try {
    fd = await files.open(file, "r");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(Math.min(FILE_BYTES_MAX, await files.size(fd)));
    return bytes.toString("utf8", 0, await readAll(files, fd, bytes, 0));
  } finally {
    await files.close(fd);
  }
}
