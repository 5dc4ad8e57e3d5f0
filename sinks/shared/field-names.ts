import path from "node:path";
import { z } from "zod";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { type FileOps, nodeFiles, readAll, writeAll } from "../../src/core/files.ts";

/*
 * The names of fields that a destination has been told of, as a tree. Each name there costs memory for good (a mapping), so there
 * may be only so many, and records that bring more keep those as text. After a restart the same names are known:
 * `<folder>/field-names.json`, one JSON object, replaced as a whole.
 *
 *   {"version":1,"names":[[482000,"fields"],[482000,"fields","user"]]}     hours since 1970 of the last record with it, path
 *
 * A name that no record had for long makes room when room is needed.
 */
const HOUR_MS = 3_600_000;
const FILE = "field-names.json";
const FILE_BYTES_MAX = 64 << 20;
const schema = z.object({
  version: z.literal(1),
  names: z.array(z.tuple([z.int().nonnegative()], z.string()).refine((row) => row.length > 1)),
});

/** What a name is to a destination, where that is settled from the start: its values are objects, text, or not wanted at all. */
export type Fixed = "object" | "text" | "refused";

/** A name in its place. */
export class FieldName {
  /** As it stands between quotes in JSON. */
  readonly name: string;
  readonly fixed: Fixed | null;
  readonly children = new Map<string, FieldName>();
  /** Hours since 1970. */
  seenHour: number;
  /** Marks of who writes documents: the last document and object with this name, and what it was there. */
  document = 0;
  object = 0;
  isObject = false;

  constructor(name: string, fixed: Fixed | null, seenHour: number) {
    this.name = name;
    this.fixed = fixed;
    this.seenHour = seenHour;
  }
}

export interface FieldNamesOptions {
  /** Names beside the fixed ones. */
  readonly max: number;
  /** Age at which a name may make room; 0: never. */
  readonly forgetMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export class FieldNames {
  readonly root: FieldName = new FieldName("", "object", 0);
  private readonly options: FieldNamesOptions;
  private count = 0;
  private marks = 0;
  private presentHour = 0;
  /** The hour in which names were last looked through for old ones, and in which they were last written down. */
  private weededHour = -1;
  private writtenHour = -1;
  private hasNew = false;

  constructor(options: FieldNamesOptions) {
    this.options = options;
    this.tick();
  }

  /** Names beside the fixed ones. */
  get size(): number {
    return this.count;
  }

  /** Hours since 1970, as of the last look at the clock. */
  get hour(): number {
    return this.presentHour;
  }

  /** Looks at the clock; to be called now and then, because looking for each name would cost too much. */
  tick(): void {
    this.presentHour = Math.floor(this.options.now() / HOUR_MS);
  }

  /** A number that no mark has had yet. */
  newMark(): number {
    return ++this.marks;
  }

  /** Puts a name in its place for good, and gives it. It counts with no limit. */
  fix(path: readonly string[], fixed: Fixed): FieldName {
    let at = this.root;
    for (const [i, name] of path.entries()) {
      let next = at.children.get(name);
      if (next === undefined) {
        next = new FieldName(name, i === path.length - 1 ? fixed : "object", 0);
        at.children.set(name, next);
      }
      at = next;
    }
    return at;
  }

  /** The name below `parent`, which is new where there is room; null when there is none. */
  child(parent: FieldName, name: string): FieldName | null {
    const known = parent.children.get(name);
    if (known !== undefined) {
      known.seenHour = this.presentHour;
      return known;
    }
    if (this.count >= this.options.max && !this.makeRoom()) return null;
    const added = new FieldName(name, null, this.presentHour);
    parent.children.set(name, added);
    this.count++;
    this.hasNew = true;
    return added;
  }

  /** Takes out names that no record has had for long; once an hour at most. Whether there is room then. */
  private makeRoom(): boolean {
    const { forgetMs, max } = this.options;
    if (forgetMs === 0 || this.weededHour === this.presentHour) return false;
    this.weededHour = this.presentHour;
    const oldest = this.presentHour - Math.ceil(forgetMs / HOUR_MS);
    const weed = (at: FieldName): void => {
      for (const child of at.children.values()) {
        weed(child);
        if (child.fixed !== null || child.seenHour >= oldest || child.children.size > 0) continue;
        at.children.delete(child.name);
        this.count--;
      }
    };
    weed(this.root);
    return this.count < max;
  }

  /** Reads what was written down. A file that can't be understood counts as none; gives what is wrong with it, or null. */
  async load(folder: string, files: FileOps = nodeFiles): Promise<string | null> {
    const file = path.join(folder, FILE);
    try {
      const fd = await files.open(file, "r");
      let text: string;
      try {
        const bytes = Buffer.alloc(Math.min(FILE_BYTES_MAX, await files.size(fd)));
        text = bytes.toString("utf8", 0, await readAll(files, fd, bytes, 0));
      } finally {
        await files.close(fd);
      }
      for (const [hour, ...names] of schema.parse(JSON.parse(text)).names) this.restore(names, hour);
      return null;
    } catch (error) {
      return codeOf(error) === "ENOENT" ? null : `${file}: ${messageOf(error)}; names of fields are learnt anew`;
    }
  }

  private restore(names: readonly string[], hour: number): void {
    let at = this.root;
    for (const name of names) {
      let next = at.children.get(name);
      if (next === undefined) {
        if (this.count >= this.options.max) return;
        next = new FieldName(name, null, hour);
        at.children.set(name, next);
        this.count++;
      }
      next.seenHour = Math.max(next.seenHour, Math.min(hour, this.presentHour));
      at = next;
    }
  }

  /** Writes the names down when there are new ones, or when an hour has passed. */
  async save(folder: string, files: FileOps = nodeFiles): Promise<void> {
    if (!this.hasNew && this.writtenHour === this.presentHour) return;
    const names: (string | number)[][] = [];
    const list = (at: FieldName, above: readonly string[]): void => {
      for (const child of at.children.values()) {
        const here = [...above, child.name];
        if (child.fixed === null) names.push([child.seenHour, ...here]);
        list(child, here);
      }
    };
    list(this.root, []);
    await files.mkdir(folder);
    const file = path.join(folder, FILE);
    const fd = await files.open(`${file}.new`, "w");
    try {
      await writeAll(files, fd, [Buffer.from(`${JSON.stringify({ version: 1, names })}\n`)], 0);
      await files.datasync(fd);
    } finally {
      await files.close(fd);
    }
    await files.rename(`${file}.new`, file);
    await files.syncFolder(folder);
    this.hasNew = false;
    this.writtenHour = this.presentHour;
  }
}
