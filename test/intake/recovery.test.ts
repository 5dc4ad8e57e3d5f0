import { readdirSync, readFileSync, statSync } from "node:fs";
import { appendFile, copyFile, cp, mkdir, readdir, readFile, rm, truncate, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../../src/core/files.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { ENTRY_HEADER_BYTES, FILE_HEADER_BYTES, MARK_AT, MARK_IN_HEADER } from "../../src/intake/log-format.ts";
import { FaultyFiles } from "../contract/faulty-files.ts";
import { draft, drain, textOf } from "../contract/intake.ts";
import { Random, SEED } from "../random.ts";
import { newFolder, openLog, recordingLogger } from "./support.ts";

const NO_TAIL = { tail_bytes: 0 };
const logFiles = (dir: string) =>
  readdirSync(path.join(dir, "0"))
    .filter((name) => name.endsWith(".log"))
    .sort()
    .map((name) => path.join(dir, "0", name));

/** A folder with one file a group of texts. */
async function write(...groups: string[][]): Promise<string> {
  const dir = await newFolder();
  for (const group of groups) {
    // A log begins a new file each time that it is opened.
    const log = await openLog({ dir, options: NO_TAIL });
    for (const text of group) await log.append(0, draft(text, { dedupeKey: `key ${text}` }));
    await log.close();
  }
  return dir;
}

async function readBack(dir: string, from = 0): Promise<{ texts: string[]; offsets: number[]; next: number }> {
  const log = await openLog({ dir, options: NO_TAIL });
  const entries = await drain(log.read(0, from));
  const next = log.nextOffset(0);
  await log.close();
  return { texts: entries.map(textOf), offsets: entries.map(({ offset }) => offset), next };
}

/** Places of the entries in a file, and its end. */
function places(file: string): number[] {
  const bytes = readFileSync(file);
  const at = [FILE_HEADER_BYTES];
  while (at[at.length - 1] < bytes.length) at.push(at[at.length - 1] + bytes.readUInt32LE(at[at.length - 1] + 8));
  return at;
}

describe("recovery of a torn end", () => {
  test("cut at every byte, what was whole before the cut is there and the log goes on", async () => {
    const texts = ["first", "second entry", "", "fourth"];
    const dir = await write(["old"], texts);
    const [, file] = logFiles(dir);
    const whole = await readFile(file);
    const ends = places(file).slice(1);
    expect(ends).toHaveLength(texts.length);
    for (let cut = 0; cut < whole.length; cut++) {
      await writeFile(file, whole.subarray(0, cut));
      const kept = ends.filter((end) => end <= cut).length;
      const want = ["old", ...texts.slice(0, kept)];
      const log = await openLog({ dir, options: NO_TAIL });
      expect(log.nextOffset(0)).toBe(want.length);
      const repeat = await log.append(0, draft("x", { dedupeKey: "key first" }));
      expect(repeat.offset === null).toBe(kept > 0);
      const answer = await log.append(0, draft("new"));
      expect(answer.offset).toBe(want.length + (kept > 0 ? 0 : 1));
      const got = (await drain(log.read(0, 0))).map(textOf);
      expect(got, `cut ${cut}`).toEqual([...want, ...(kept > 0 ? [] : ["x"]), "new"]);
      await log.close();
      expect((await readBack(dir)).texts).toEqual(got);
      for (const later of logFiles(dir).slice(2)) await unlink(later);
      await writeFile(file, whole);
    }
  });

  test("zeros behind the last entry, as after a power cut, are dropped", async () => {
    const dir = await write(["a", "b"]);
    const [file] = logFiles(dir);
    const { length } = await readFile(file);
    await truncate(file, length + 100_000);
    expect(await readBack(dir)).toEqual({ texts: ["a", "b"], offsets: [0, 1], next: 2 });
    expect((await readFile(file)).length).toBe(length);
  });

  test("a file without entries is removed, and its name keeps offsets from going back", async () => {
    const dir = await write(["a"]);
    await mkdir(path.join(dir, "0"), { recursive: true });
    await writeFile(path.join(dir, "0", "00000000000000000050.log"), "");
    const log = await openLog({ dir });
    expect(logFiles(dir).map((file) => path.basename(file))).toEqual(["00000000000000000000.log"]);
    expect(await log.append(0, draft("b"))).toEqual({ offset: 50 });
    await log.close();
    expect((await readBack(dir)).offsets).toEqual([0, 50]);
  });

  test("a file of nothing but zeros, which a power cut leaves, holds nobody up", async () => {
    const dir = await write(["a"]);
    // Were each zero looked at as the start of an entry, this would take minutes.
    await writeFile(path.join(dir, "0", "00000000000000000050.log"), Buffer.alloc(8 << 20));
    const log = await openLog({ dir });
    expect(logFiles(dir).map((file) => path.basename(file))).toEqual(["00000000000000000000.log"]);
    expect(await log.append(0, draft("b"))).toEqual({ offset: 50 });
    await log.close();
  });

  const PAGE = 4096;
  const big = (name: string) => `${name} ${"x".repeat(PAGE)}`;

  test.each([
    { name: "newest", behind: [] },
    { name: "older", behind: [["later"]] },
  ])(
    "a page of zeros at the beginning of the $name file costs the entry that it held, and no other",
    async ({ behind }) => {
      const dir = await write([big("a"), "b", big("c"), "d"], ...behind);
      const [file] = logFiles(dir);
      const bytes = await readFile(file);
      await writeFile(file, bytes.fill(0, 0, PAGE));
      const metrics = new Metrics();
      const log = await openLog({ dir, options: NO_TAIL }, { metrics });
      expect(log.nextOffset(0)).toBe(4 + behind.length);
      const repeat = await log.append(0, draft("x", { dedupeKey: "key d" }));
      expect(repeat.offset).toBe(null);
      expect((await drain(log.read(0, 0))).map(textOf)).toEqual(["b", big("c"), "d", ...behind.flat()]);
      expect(await metrics.render()).toContain("weir_intake_lost_entries_total 1");
      await log.close();
      expect((await readBack(dir)).texts).toEqual(["b", big("c"), "d", ...behind.flat()]);
    },
  );

  test("what looks like an entry in a payload whose own header is lost doesn't pass for one", async () => {
    // An entry of another log, whole, with an offset that fits; and then one that begins with such.
    const other = await write(["old", "older", "forged"]);
    const [from] = logFiles(other);
    const forged = (await readFile(from)).subarray(places(from)[2]);
    const dir = await newFolder();
    const log = await openLog({ dir });
    const payload = Buffer.concat([Buffer.alloc(PAGE, 1), forged, Buffer.alloc(10, 1)]);
    await log.append(0, { ...draft("", { dedupeKey: "key" }), payload });
    await log.append(0, draft("true"));
    await log.close();
    const [file] = logFiles(dir);
    const bytes = await readFile(file);
    await writeFile(file, bytes.fill(0, 0, PAGE));
    expect((await readBack(dir)).texts).toEqual(["true"]);
  });

  test("a file whose only entry lost its beginning is told about", async () => {
    const dir = await write(["a"], [big("b")]);
    const file = logFiles(dir)[1];
    const bytes = await readFile(file);
    await writeFile(file, bytes.fill(0, 0, PAGE));
    const { log: logger, lines } = recordingLogger();
    const log = await openLog({ dir }, { log: logger });
    expect(lines.filter(({ msg }) => msg.includes("damaged from its beginning"))).toMatchObject([
      { level: 50, file, bytes: bytes.length },
    ]);
    expect(await log.append(0, draft("c"))).toEqual({ offset: 1 });
    await log.close();
  });

  test("on a disk that can't be written stops the start, and a full one doesn't", async () => {
    const dir = await write(["a", "b"]);
    const [file] = logFiles(dir);
    const { length } = await readFile(file);
    await truncate(file, length - 1);
    let code = "EIO";
    const files = new FaultyFiles(nodeFiles, ({ op }) => (op === "truncate" || op === "writev" ? { code } : undefined));
    await expect(openLog({ dir }, { files })).rejects.toMatchObject({ code: "intake_unavailable" });
    code = "ENOSPC";
    const log = await openLog({ dir, options: NO_TAIL }, { files });
    expect((await drain(log.read(0, 0))).map(textOf)).toEqual(["a"]);
    files.plan = () => undefined;
    expect(await log.append(0, draft("c"))).toEqual({ offset: 1 });
    await log.close();
    expect((await readBack(dir)).texts).toEqual(["a", "c"]);
  });

  /** What an open and close of the log do to its files, locks aside. */
  async function changesOf(dir: string): Promise<string[]> {
    const done: string[] = [];
    const files = new FaultyFiles(nodeFiles, ({ op, path: name }) => {
      const changes = ["writev", "datasync", "syncFolder", "truncate", "unlink", "rename"].includes(op);
      if (changes && !path.basename(name).startsWith("lock.")) done.push(`${op} ${path.relative(dir, name)}`);
      return undefined;
    });
    const log = await openLog({ dir }, { files });
    // Known again without a look at whether the entry is durable, so it has to be.
    expect(await log.append(0, draft("b", { dedupeKey: "key b" }))).toEqual({ offset: null });
    await log.close();
    return done;
  }
  const LAST = "0/00000000000000000001.log";
  const SETTLED = [`writev ${LAST}`, `datasync ${LAST}`, "syncFolder 0", "writev 0/safe"];

  test("after an end in order nothing is written", async () => {
    const dir = await write(["a"], ["b"]);
    const before = logFiles(dir).map((file) => ({ bytes: readFileSync(file), mtimeMs: statSync(file).mtimeMs }));
    expect(await changesOf(dir)).toEqual([]);
    expect(await changesOf(dir)).toEqual([]);
    expect(logFiles(dir).map((file) => ({ bytes: readFileSync(file), mtimeMs: statSync(file).mtimeMs }))).toEqual(
      before,
    );
  });

  test.each([
    { name: "is missing", damage: (note: string) => unlink(note) },
    { name: "is cut", damage: (note: string) => truncate(note, 35) },
    { name: "is too long", damage: (note: string) => appendFile(note, "x") },
    {
      name: "has another bit",
      damage: async (note: string) => {
        const bytes = await readFile(note);
        bytes[33] ^= 1;
        await writeFile(note, bytes);
      },
    },
    {
      name: "is of another file",
      damage: async (note: string) => copyFile(path.join(await noteOf(["a"]), "0/safe"), note),
    },
  ])(
    "what is recovered is written and synced again before it counts when the note of the end $name",
    async ({ damage }) => {
      const dir = await write(["a"], ["b"]);
      const before = logFiles(dir).map((file) => readFileSync(file));
      await damage(path.join(dir, "0", "safe"));
      expect(await changesOf(dir)).toEqual(SETTLED);
      expect(logFiles(dir).map((file) => readFileSync(file))).toEqual(before);
      // Once is enough.
      expect(await changesOf(dir)).toEqual([]);
    },
  );

  const noteOf = (texts: string[]) => write(["x"], texts);

  test("a torn end behind entries that are noted is cut, and they are written again", async () => {
    const dir = await write(["a"], ["b"]);
    await appendFile(path.join(dir, LAST), "torn");
    expect(await changesOf(dir)).toEqual([`truncate ${LAST}`, ...SETTLED]);
    expect(await readBack(dir)).toEqual({ texts: ["a", "b"], offsets: [0, 1], next: 2 });
  });

  test("a note that can't be read or written stops nothing", async () => {
    const dir = await newFolder();
    const files = new FaultyFiles(nodeFiles, ({ path: name }) =>
      path.basename(name) === "safe" ? { code: "EIO" } : undefined,
    );
    const first = await openLog({ dir }, { files });
    await first.append(0, draft("a", { dedupeKey: "key a" }));
    await first.close();
    expect(readdirSync(path.join(dir, "0"))).not.toContain("safe");
    await writeFile(path.join(dir, "0", "safe"), "");
    const second = await openLog({ dir }, { files });
    expect(await second.append(0, draft("a", { dedupeKey: "key a" }))).toEqual({ offset: null });
    await second.close();
  });
});

describe("damage in the middle", () => {
  const all = Array.from({ length: 12 }, (_, i) => `entry ${i} ${"x".repeat(i * 7)}`);

  test.each([
    { name: "the payload of an entry", at: ENTRY_HEADER_BYTES + 20 },
    { name: "the length of an entry", at: 8 },
    { name: "the mark of an entry", at: 5 },
    { name: "the offset of an entry", at: 28 },
    { name: "the checksum of an entry", at: 0 },
  ])("in $name loses that entry alone, loudly", async ({ at }) => {
    const dir = await write(all.slice(0, 6), all.slice(6));
    const [file] = logFiles(dir);
    const bytes = await readFile(file);
    const place = places(file)[2];
    bytes[place + at] ^= 0x10;
    await writeFile(file, bytes);
    const { log, lines } = recordingLogger();
    const metrics = new Metrics();
    const intake = await openLog({ dir, options: NO_TAIL }, { log, metrics });
    const got = await drain(intake.read(0, 0));
    expect(got.map(textOf)).toEqual(all.filter((_, i) => i !== 2));
    expect(got.map(({ offset }) => offset)).toEqual([0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    await intake.close();
    const told = lines.filter(({ msg }) => msg.includes("damaged"));
    expect(told).toEqual([expect.objectContaining({ file, at: place, first: 2, entries: 1 })]);
    expect(await metrics.render()).toContain("weir_intake_lost_entries_total 1");
  });

  test("in the last file loses that entry alone, since good ones follow", async () => {
    const dir = await write(all);
    const [file] = logFiles(dir);
    const bytes = await readFile(file);
    bytes[places(file)[4] + 10] ^= 1;
    await writeFile(file, bytes);
    expect((await readBack(dir)).texts).toEqual(all.filter((_, i) => i !== 4));
    expect((await readBack(dir)).next).toBe(12);
  });

  test("in the file's header loses nothing", async () => {
    const dir = await write(all.slice(0, 6), all.slice(6));
    for (const file of logFiles(dir)) {
      const whole = await readFile(file);
      for (let byte = 0; byte < FILE_HEADER_BYTES; byte += 3) {
        const bytes = Buffer.from(whole);
        bytes[byte] ^= 0xff;
        await writeFile(file, bytes);
        expect((await readBack(dir)).texts, `byte ${byte}`).toEqual(all);
      }
      await writeFile(file, whole);
    }
  });

  test.each([0, 1, 2])(
    "in the marks of the file's header and of its first %i entries loses those entries alone",
    async (count) => {
      const dir = await write(all.slice(0, 5), all.slice(5));
      const [file] = logFiles(dir);
      const at = places(file);
      const bytes = await readFile(file);
      bytes[MARK_IN_HEADER] ^= 1;
      for (const place of at.slice(0, count)) bytes[place + MARK_AT] ^= 1;
      await writeFile(file, bytes);
      expect((await readBack(dir)).texts).toEqual(all.slice(count));
    },
  );

  test("what a sender put into a payload is never taken for an entry", async () => {
    const inner = await write(["forged"]);
    const forged = await readFile(logFiles(inner)[0]);
    const dir = await newFolder();
    const log = await openLog({ dir, options: NO_TAIL });
    await log.append(0, draft("a"));
    await log.append(0, draft("", { payload: Buffer.concat([forged, forged.subarray(FILE_HEADER_BYTES)]) }));
    await log.append(0, draft("c"));
    await log.close();
    const [file] = logFiles(dir);
    const bytes = await readFile(file);
    bytes[places(file)[1] + 8] ^= 1;
    await writeFile(file, bytes);
    expect((await readBack(dir)).texts).toEqual(["a", "c"]);
  });

  test("random bit flips lose what they hit and nothing else, and never stop the log", async () => {
    const random = new Random(SEED);
    const dir = await write(all.slice(0, 5), all.slice(5, 8), all.slice(8));
    const copy = await newFolder();
    for (let round = 0; round < 150; round++) {
      const note = `seed ${SEED} round ${round}`;
      await rm(copy, { recursive: true });
      await cp(dir, copy, { recursive: true });
      const files = logFiles(copy);
      const hit = new Set<string>();
      const flips = 1 + random.below(3);
      for (let flip = 0; flip < flips; flip++) {
        const chosen = random.below(files.length);
        const file = files[chosen];
        const bytes = await readFile(file);
        const at = random.below(bytes.length);
        const original = places(logFiles(dir)[chosen]);
        const first = [0, 5, 8][chosen];
        const index = original.filter((place) => place <= at).length - 1;
        if (index >= 0) hit.add(all[first + index]);
        bytes[at] ^= 1 << random.below(8);
        await writeFile(file, bytes);
      }
      const { texts, offsets } = await readBack(copy);
      for (const [i, offset] of offsets.entries()) expect(texts[i], note).toBe(all[offset]);
      expect(new Set(texts).size, note).toBe(texts.length);
      for (const text of all) if (!hit.has(text)) expect(texts, note).toContain(text);
    }
  });

  test("a file that is gone loses its entries alone, and is told", async () => {
    const dir = await write(["a", "b"], ["c"], ["d"]);
    const { log, lines } = recordingLogger();
    const intake = await openLog({ dir, options: NO_TAIL }, { log });
    await unlink(logFiles(dir)[1]);
    expect((await drain(intake.read(0, 0))).map(textOf)).toEqual(["a", "b", "d"]);
    expect(lines.filter(({ msg }) => msg.includes("damaged"))).toEqual([
      expect.objectContaining({ first: 2, entries: 1 }),
    ]);
    await intake.close();
  });
});

describe("a disk that can't be read", () => {
  test("for a moment loses nothing", async () => {
    const texts = Array.from({ length: 40 }, (_, i) => `entry ${i}`);
    const dir = await write(texts.slice(0, 20), texts.slice(20));
    for (let round = 0; round < 30; round++) {
      const random = new Random(SEED + round);
      const files = new FaultyFiles();
      const log = await openLog({ dir, options: NO_TAIL }, { files });
      files.plan = ({ op }) => {
        if (op !== "read" && op !== "open" && op !== "size") return undefined;
        const luck = random.fraction();
        return luck < 0.3 ? { code: "EIO" } : luck < 0.6 ? { short: 1 + random.below(60) } : undefined;
      };
      const got = (await drain(log.read(0, 0))).map(textOf);
      files.plan = () => undefined;
      await log.close();
      expect(got, `seed ${SEED} round ${round}`).toEqual(texts);
    }
  });

  test("at one place for good loses the entries there, after many attempts", async () => {
    const texts = Array.from({ length: 30 }, (_, i) => `entry ${i} ${"x".repeat(1000)}`);
    const dir = await write(texts, ["last"]);
    const [file] = logFiles(dir);
    for (const [place, bad] of [...places(file).slice(0, -1).entries()].filter((_, i) => i % 7 === 3)) {
      const within = { code: "EIO" };
      const files = new FaultyFiles();
      const read = files.read.bind(files);
      // The sector that holds the entry's header can't be read.
      const sector = Math.floor((bad + 8) / 512) * 512;
      files.read = (fd, into, position) =>
        position < sector + 512 && position + into.length > sector
          ? Promise.reject(Object.assign(new Error("EIO"), within))
          : read(fd, into, position);
      const { log, lines } = recordingLogger();
      const intake = await openLog({ dir, options: NO_TAIL }, { files, log });
      const got = (await drain(intake.read(0, 0))).map(textOf);
      await intake.close();
      const lost = texts.filter((text) => !got.includes(text));
      // A page of 4 KiB holds at most five of these entries, and two more reach into it.
      expect(lost.length).toBeGreaterThan(0);
      expect(lost.length).toBeLessThan(8);
      expect(lost).toContain(texts[place]);
      expect(got[got.length - 1]).toBe("last");
      expect(lines.some(({ msg }) => msg.includes("damaged"))).toBe(true);
    }
  });

  test("stops the start with a sentence when the newest file is the one", async () => {
    const dir = await write(["a"]);
    const files = new FaultyFiles(nodeFiles, ({ op }) => (op === "read" ? { code: "EIO" } : undefined));
    await expect(openLog({ dir }, { files })).rejects.toMatchObject({
      code: "intake_unavailable",
      message: expect.stringContaining("0.log"),
    });
    // And gives the folder back.
    await (await openLog({ dir })).close();
  });
});

describe("offsets after a start", () => {
  test("never go below the end of the catalog's chain, though the folder was wiped", async () => {
    const dir = await write(["a", "b"]);
    await rm(dir, { recursive: true });
    const log = await openLog({ dir, minNextOffset: () => 2 });
    expect(await log.append(0, draft("c"))).toEqual({ offset: 2 });
    await log.close();
  });

  test("jump over a gap when the folder is behind the catalog, whose entries count as committed", async () => {
    const dir = await write(["a", "b"]);
    const log = await openLog({ dir, minNextOffset: () => 10 });
    expect(logFiles(dir)).toEqual([]);
    expect(await log.append(0, draft("c"))).toEqual({ offset: 10 });
    expect(await log.append(0, draft("a again", { dedupeKey: "key a" }))).toEqual({ offset: null });
    expect((await drain(log.read(0, 10))).map(textOf)).toEqual(["c"]);
    await log.close();
    expect(await readBack(dir, 10)).toEqual({ texts: ["c"], offsets: [10], next: 11 });
  });

  test("go on where they were when all files were removed and the catalog can't be asked", async () => {
    const dir = await write(["a", "b", "c"]);
    const first = await openLog({ dir });
    await first.commit(0, 3);
    expect(logFiles(dir)).toEqual([]);
    await first.close();
    const second = await openLog({ dir });
    expect(await second.append(0, draft("d"))).toEqual({ offset: 3 });
    await second.close();
  });

  test("a folder with more partitions than asked for keeps them", async () => {
    const dir = await newFolder();
    const first = await openLog({ dir, partitions: 3 });
    await first.append(2, draft("a"));
    await first.close();
    const second = await openLog({ dir });
    expect(second.partitions).toBe(3);
    expect((await drain(second.read(2, 0))).map(textOf)).toEqual(["a"]);
    await second.close();
  });
});

describe("files", () => {
  const options = { ...NO_TAIL, file_bytes: 64 * 1024, size_max_bytes: 1 << 20 };
  const body = "x".repeat(20_000);

  test("a new one is begun at the size, and those that are done with go, oldest first", async () => {
    const dir = await newFolder();
    const log = await openLog({ dir, options });
    for (let i = 0; i < 20; i++) await log.append(0, draft(`${i} ${body}`));
    expect(logFiles(dir).map((file) => Number(path.basename(file, ".log")))).toEqual([0, 4, 8, 12, 16]);
    const { bytes } = log.status();
    expect(bytes).toBe(logFiles(dir).reduce((sum, file) => sum + readFileSync(file).length, 0));
    await log.commit(0, 3);
    expect(logFiles(dir)).toHaveLength(5);
    await log.commit(0, 9);
    expect(logFiles(dir).map((file) => Number(path.basename(file, ".log")))).toEqual([8, 12, 16]);
    expect((await drain(log.read(0, 9))).map(({ offset }) => offset)).toEqual([
      9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
    ]);
    expect(log.status().bytes).toBe(logFiles(dir).reduce((sum, file) => sum + readFileSync(file).length, 0));
    await log.close();
  });

  test("a reader that is behind reads files, one that is close reads memory, and both see each entry once", async () => {
    const dir = await newFolder();
    const metrics = new Metrics();
    const log = await openLog(
      { dir, options: { ...options, size_max_bytes: 8 << 20, tail_bytes: 100_000 } },
      { metrics },
    );
    for (let i = 0; i < 30; i++) await log.append(0, draft(`${i} ${body}`));
    const reader = log.read(0, 0);
    const got = (await drain(reader)).map(({ offset }) => offset);
    for (let i = 30; i < 40; i++) {
      await log.append(0, draft(`${i} ${body}`));
      got.push(...(await drain(reader)).map(({ offset }) => offset));
    }
    expect(got).toEqual(Array.from({ length: 40 }, (_, i) => i));
    const text = await metrics.render();
    expect(text).toContain('weir_intake_reads_total{from="memory"} 14');
    expect(text).toContain('weir_intake_reads_total{from="disk"} 26');
    await log.close();
  });

  test("an entry larger than a file has one of its own", async () => {
    const dir = await newFolder();
    const log = await openLog({ dir, options });
    const large = "y".repeat(300_000);
    for (const text of ["a", large, "b"]) await log.append(0, draft(text));
    expect((await drain(log.read(0, 0))).map(textOf)).toEqual(["a", large, "b"]);
    await log.close();
    expect((await readBack(dir)).texts).toEqual(["a", large, "b"]);
  });

  test("an entry that can never fit is refused for good", async () => {
    const log = await openLog({ dir: await newFolder(), options });
    await expect(log.append(0, draft("z".repeat(1 << 20)))).rejects.toMatchObject({
      code: "intake_entry_too_large",
      retriable: false,
    });
    expect(log.status().ready).toBe(true);
    await log.close();
  });

  test("the size limit frees itself though all entries are in the file that is being written", async () => {
    const dir = await newFolder();
    const log = await openLog({ dir, options: { ...NO_TAIL, size_max_bytes: 1 << 20 } });
    await log.append(0, draft("y".repeat(200_000)));
    expect(logFiles(dir)).toHaveLength(1);
    const large = draft("z".repeat(900_000));
    await expect(log.append(0, large)).rejects.toMatchObject({ code: "intake_full" });
    await log.commit(0, 1);
    expect(log.status()).toMatchObject({ ready: true, bytes: 0 });
    expect(await log.append(0, large)).toEqual({ offset: 1 });
    await log.close();
  });
});

test("the size limit frees itself though no commit comes after it was met", async () => {
  const dir = await newFolder();
  const log = await openLog({ dir, options: { ...NO_TAIL, size_max_bytes: 1 << 20 } });
  await log.append(0, draft("y".repeat(200_000)));
  await log.commit(0, 1);
  const large = draft("z".repeat(900_000));
  await expect(log.append(0, large)).rejects.toMatchObject({ code: "intake_full" });
  await log.whenReady();
  expect(await log.append(0, large)).toEqual({ offset: 1 });
  await log.close();
});

describe("repeats after a start", () => {
  test("are known from the files that are there", async () => {
    const dir = await write(["a"], ["b"]);
    const log = await openLog({ dir });
    for (const key of ["key a", "key b"])
      expect(await log.append(0, draft("x", { dedupeKey: key }))).toEqual({ offset: null });
    await log.close();
  });

  test("are known when the files have been removed", async () => {
    const dir = await write(["a"], ["b"], ["c"]);
    const first = await openLog({ dir });
    await first.commit(0, 2);
    expect(logFiles(dir)).toHaveLength(1);
    await first.close();
    const second = await openLog({ dir, minNextOffset: () => 3 });
    expect(logFiles(dir)).toHaveLength(0);
    for (const key of ["key a", "key b", "key c"]) {
      expect(await second.append(0, draft("x", { dedupeKey: key }))).toEqual({ offset: null });
    }
    await second.close();
  });

  test("are forgotten, oldest first, beyond the number that is kept", async () => {
    const dir = await newFolder();
    const open = () => openLog({ dir, options: { seen_ids_max: 10 } });
    let log = await open();
    for (let i = 0; i < 15; i++) await log.append(0, draft("x", { dedupeKey: `k${i}` }));
    await log.close();
    log = await open();
    await log.commit(0, 15);
    await log.close();
    log = await open();
    const answers: (number | null)[] = [];
    for (let i = 14; i >= 0; i--) answers.push((await log.append(0, draft("x", { dedupeKey: `k${i}` }))).offset);
    expect(answers.slice(0, 10)).toEqual(Array.from({ length: 10 }, () => null));
    expect(answers.slice(10)).toEqual([15, 16, 17, 18, 19]);
    await log.close();
  });

  test("a damaged file of seen ids is told, and the log works", async () => {
    const dir = await write(["a"]);
    const first = await openLog({ dir, minNextOffset: () => 1 });
    await first.close();
    await writeFile(path.join(dir, "seen"), "rubbish");
    const { log, lines } = recordingLogger();
    const second = await openLog({ dir, minNextOffset: () => 1 }, { log });
    expect(lines.some(({ msg }) => msg.includes("seen ids is damaged"))).toBe(true);
    expect(await second.append(0, draft("x", { dedupeKey: "key a" }))).toEqual({ offset: 1 });
    await second.close();
    expect((await readdir(dir)).filter((name) => name.startsWith("lock"))).toEqual([]);
  });
});
