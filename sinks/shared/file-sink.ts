import path from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { crc32 } from "../../src/codec/crc32.ts";
import { codeOf, messageOf, WeirError } from "../../src/core/errors.ts";
import { type FileOps, nodeFiles, writeAll } from "../../src/core/files.ts";
import { ALL_TAKEN, type RecordSink, type SinkRecord, type WriteResult } from "../../src/core/sink.ts";
import { encodeRecord, type Form } from "./encode.ts";
import { type FileNote, type FileNotes, readNotes, writeNotes } from "./file-notes.ts";
import { compileTemplate } from "./template.ts";

const compress = promisify(gzip);
/** A name from a label is cut there, and gets a checksum: file systems allow 255 bytes for a whole name. */
const PART_CHARS_MAX = 100;
/** Files whose length is noted. Those of the present request always are; for others the file's own length will do. */
const NOTED_MAX = 256;
/** Files that are written at a time. */
const AT_ONCE = 8;

export interface FileSinkOptions {
  readonly path: string;
  readonly form: Form;
  readonly gzip: boolean;
  readonly rotate_bytes: number;
  readonly rotate_age_ms: number;
}

export interface FileSinkDeps {
  /** Where the notes are kept. */
  readonly folder: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** The real file system unless a test injects faults. */
  readonly files?: FileOps;
}

/**
 * Appends to files. The order of each request makes it exact: files that are new are noted with their length, then all are
 * written and synced, then the new lengths are noted together with the last record. Whatever a crash leaves beyond the noted
 * lengths is cut off at the next start, and records up to the noted one are not written again.
 */
export class FileSink implements RecordSink {
  private readonly options: FileSinkOptions;
  private readonly folder: string;
  private readonly now: () => number;
  private readonly files: FileOps;
  private readonly pathOf: (record: SinkRecord) => string;
  private notes: FileNotes | null = null;
  /** Partitions of which nothing that is noted counts. */
  private readonly anew = new Set<string>();

  constructor(options: FileSinkOptions, { folder, now, files = nodeFiles }: FileSinkDeps) {
    this.options = options;
    this.folder = folder;
    this.now = now;
    this.files = files;
    const of = compileTemplate(options.path, safeName);
    this.pathOf = (record) => gzName(of(record), options.gzip);
  }

  async write(batch: readonly SinkRecord[], signal: AbortSignal): Promise<WriteResult> {
    signal.throwIfAborted();
    try {
      await this.append(batch);
      return ALL_TAKEN;
    } catch (error) {
      // What was written is not noted: it is cut off before the next try.
      this.notes = null;
      if (!(error instanceof WeirError) && codeOf(error) === "") throw error;
      throw new WeirError("sink_unavailable", `file: ${messageOf(error)}`, { retriable: true, cause: error });
    }
  }

  beginAnew(partition: number): void {
    this.anew.add(String(partition));
  }

  async close(): Promise<void> {}

  private async append(batch: readonly SinkRecord[]): Promise<void> {
    const anew = new Set(this.anew);
    const { files, through: noted } = this.notes ?? (await this.recover());
    this.notes = { files, through: new Map([...noted].filter(([partition]) => !anew.has(partition))) };
    const fresh = batch.filter((record) => !isIn(this.notes, record));
    if (fresh.length === 0) return;
    const groups = new Map<string, SinkRecord[]>();
    for (const record of fresh) {
      const file = this.pathOf(record);
      const group = groups.get(file);
      if (group === undefined) groups.set(file, [record]);
      else group.push(record);
    }
    const begun = await this.begin([...groups.keys()]);
    const lengths = new Map(begun.files);
    await eachSome([...groups], AT_ONCE, async ([file, records]) => {
      const { bytes, since_ms } = lengths.get(file) ?? { bytes: 0, since_ms: this.now() };
      const plain = Buffer.concat(records.map((record) => encodeRecord(record, this.options.form)));
      const out = this.options.gzip ? await compress(plain) : plain;
      await this.appendTo(file, out, bytes);
      lengths.set(file, { bytes: bytes + out.length, since_ms });
    });
    const through = new Map(begun.through);
    for (const { id } of fresh) {
      const [partition, offset, place] = placeOf(id);
      through.set(partition, [offset, place]);
    }
    const done = { through, files: lengths };
    await writeNotes(this.files, this.folder, done);
    this.notes = done;
    for (const partition of anew) this.anew.delete(partition);
  }

  /** Cuts off what was written and not noted. */
  private async recover(): Promise<FileNotes> {
    const notes = await readNotes(this.files, this.folder);
    const files = new Map<string, FileNote>();
    for (const [file, note] of notes.files) {
      const size = await this.cut(file, note.bytes);
      // Gone, or shorter than it was: somebody else has been there, and it begins where it ends now.
      if (size !== null) files.set(file, { ...note, bytes: size });
    }
    return { ...notes, files };
  }

  /** The notes with all of `wanted` in them, after files that are due were given other names. */
  private async begin(wanted: readonly string[]): Promise<FileNotes> {
    const notes = this.notes ?? { through: new Map(), files: new Map() };
    const files = new Map(notes.files);
    let changed = false;
    for (const file of wanted) {
      let note = files.get(file);
      files.delete(file); // So that it stands last.
      if (note !== undefined && this.isDue(note)) {
        await this.rotate(file);
        note = undefined;
      }
      changed ||= note === undefined;
      files.set(file, note ?? { bytes: await this.sizeOf(file), since_ms: this.now() });
    }
    for (const file of files.keys()) {
      if (files.size <= Math.max(NOTED_MAX, wanted.length)) break;
      files.delete(file);
    }
    const begun = { ...notes, files };
    if (changed) await writeNotes(this.files, this.folder, begun);
    return begun;
  }

  private isDue({ bytes, since_ms }: FileNote): boolean {
    const { rotate_bytes, rotate_age_ms } = this.options;
    if (bytes === 0) return false;
    return (rotate_bytes > 0 && bytes >= rotate_bytes) || (rotate_age_ms > 0 && this.now() - since_ms >= rotate_age_ms);
  }

  private async rotate(file: string): Promise<void> {
    const stamp = new Date(this.now()).toISOString().replace(/[-:.]/g, "");
    for (let n = 0; ; n++) {
      const to = stamped(file, n === 0 ? stamp : `${stamp}-${n}`);
      if (await this.exists(to)) continue;
      try {
        await this.files.rename(file, to);
        // Before the notes say that the old name's file begins at nought: after a power cut it would be cut off to that.
        await this.files.syncFolder(path.dirname(file));
      } catch (error) {
        if (codeOf(error) !== "ENOENT") throw error; // Taken away by somebody else.
      }
      return;
    }
  }

  private async appendTo(file: string, bytes: Buffer, position: number): Promise<void> {
    let isNew = false;
    let fd: number;
    try {
      fd = await this.files.open(file, "r+");
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
      fd = await this.create(file);
      isNew = true;
    }
    try {
      await writeAll(this.files, fd, [bytes], position);
      await this.files.datasync(fd);
    } finally {
      await this.files.close(fd);
    }
    if (isNew) await this.files.syncFolder(path.dirname(file));
  }

  /** Opens a new file, in a folder that is on the disk. */
  private async create(file: string): Promise<number> {
    try {
      return await this.files.open(file, "wx+");
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
    const folder = path.dirname(file);
    await this.files.mkdir(folder);
    // Any of those above may be new, and is there after a power cut only if its own folder was synced.
    for (let above = folder; above !== path.dirname(above); above = path.dirname(above)) {
      try {
        await this.files.syncFolder(path.dirname(above));
      } catch (error) {
        if (codeOf(error) !== "EACCES") throw error;
        break; // Not one that was made here.
      }
    }
    return this.files.open(file, "wx+");
  }

  /** Shortens a file to `bytes`; its size then, or null when it is not there. */
  private async cut(file: string, bytes: number): Promise<number | null> {
    let fd: number;
    try {
      fd = await this.files.open(file, "r+");
    } catch (error) {
      if (codeOf(error) === "ENOENT") return null;
      throw error;
    }
    try {
      const size = await this.files.size(fd);
      if (size <= bytes) return size;
      await this.files.truncate(fd, bytes);
      await this.files.datasync(fd);
      return bytes;
    } finally {
      await this.files.close(fd);
    }
  }

  private async sizeOf(file: string): Promise<number> {
    try {
      return (await this.files.stat(file)).size;
    } catch (error) {
      if (codeOf(error) === "ENOENT") return 0;
      throw error;
    }
  }

  private async exists(file: string): Promise<boolean> {
    try {
      await this.files.stat(file);
      return true;
    } catch (error) {
      if (codeOf(error) === "ENOENT") return false;
      throw error;
    }
  }
}

/** A value from a record as a part of a file's name. Different values give different names. */
export function safeName(value: string): string {
  const name = value
    .replace(/[^A-Za-z0-9._-]/gu, (char) =>
      [...Buffer.from(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
    )
    .replace(/^\./, "%2E");
  if (name.length <= PART_CHARS_MAX) return name;
  return `${name.slice(0, PART_CHARS_MAX)}%~${crc32(Buffer.from(value)).toString(16)}`;
}

/** A file's name as it is with or without compression. */
export function gzName(file: string, gzip: boolean): string {
  return !gzip || file.endsWith(".gz") ? file : `${file}.gz`;
}

/** `logs/web.log.gz` and a stamp: `logs/web-<stamp>.log.gz`. */
function stamped(file: string, stamp: string): string {
  const { dir, base } = path.parse(file);
  const zipped = base.endsWith(".gz") ? ".gz" : "";
  const { name, ext } = path.parse(base.slice(0, base.length - zipped.length));
  return path.join(dir, `${name}-${stamp}${ext}${zipped}`);
}

function placeOf(id: string): readonly [partition: string, offset: number, place: number] {
  const [partition = "", offset, place] = id.split("-");
  return [partition, Number(offset), Number(place)];
}

function isIn(notes: FileNotes | null, { id }: SinkRecord): boolean {
  const [partition, offset, place] = placeOf(id);
  const last = notes?.through.get(partition);
  return last !== undefined && (offset < last[0] || (offset === last[0] && place <= last[1]));
}

/** Runs `work` for each item, some at a time. Rejects when all that was begun has ended. */
async function eachSome<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += atOnce) {
    const outcomes = await Promise.allSettled(items.slice(at, at + atOnce).map(work));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }
}
