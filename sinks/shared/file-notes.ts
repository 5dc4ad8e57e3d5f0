import path from "node:path";
import { z } from "zod";
import { codeOf, messageOf, WeirError } from "../../src/core/errors.ts";
import { type FileOps, readAll, writeAll } from "../../src/core/files.ts";

/*
 * What the sink `file` knows of its files: `<folder>/files.json`, one JSON object, replaced as a whole.
 *
 *   {"version":1,"through":{"0":[120,7]},"files":{"logs/web.log":{"bytes":4096,"since_ms":1700000000000}}}
 *
 * `through`: offset and place of the last record that is in the files, by partition of the intake log. `bytes`: how long a
 * file is when it has all records up to `through` and no others.
 */
const count = z.int().nonnegative();
const schema = z.object({
  version: z.literal(1),
  through: z.record(z.string().regex(/^\d{1,10}$/), z.tuple([count, count])),
  files: z.record(z.string(), z.object({ bytes: count, since_ms: z.number() })),
});
const NAME = "files.json";
const NOTE_BYTES_MAX = 16 << 20;

export interface FileNote {
  readonly bytes: number;
  /** When the file was begun, milliseconds since 1970. */
  readonly since_ms: number;
}

export interface FileNotes {
  readonly through: ReadonlyMap<string, readonly [offset: number, place: number]>;
  /** By path, least recently written first. */
  readonly files: ReadonlyMap<string, FileNote>;
}

/** Reads the notes; empty ones when there are none yet. Throws `sink_notes` for a file that can't be understood. */
export async function readNotes(files: FileOps, folder: string): Promise<FileNotes> {
  const file = path.join(folder, NAME);
  let fd: number;
  try {
    fd = await files.open(file, "r");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return { through: new Map(), files: new Map() };
    throw error;
  }
  try {
    const bytes = Buffer.alloc(Math.min(NOTE_BYTES_MAX, await files.size(fd)));
    const read = await readAll(files, fd, bytes, 0);
    const { through, files: known } = parse(bytes.toString("utf8", 0, read), file);
    return { through: new Map(Object.entries(through)), files: new Map(Object.entries(known)) };
  } finally {
    await files.close(fd);
  }
}

/** Resolves when the notes are on the disk. */
export async function writeNotes(files: FileOps, folder: string, notes: FileNotes): Promise<void> {
  await files.mkdir(folder);
  const file = path.join(folder, NAME);
  const text = JSON.stringify({
    version: 1,
    through: Object.fromEntries(notes.through),
    files: Object.fromEntries(notes.files),
  });
  const fd = await files.open(`${file}.new`, "w");
  try {
    await writeAll(files, fd, [Buffer.from(`${text}\n`)], 0);
    await files.datasync(fd);
  } finally {
    await files.close(fd);
  }
  await files.rename(`${file}.new`, file);
  await files.syncFolder(folder);
}

function parse(text: string, file: string): z.output<typeof schema> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const what = `notes of a file sink in ${file}: ${messageOf(error)}; remove the file, and some records may be written twice`;
    throw new WeirError("sink_notes", what, { retriable: true, cause: error });
  }
}
