import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import file from "../../sinks/file.ts";
import { FileSink, safeName } from "../../sinks/shared/file-sink.ts";
import { compileTemplate, templateProblem } from "../../sinks/shared/template.ts";
import { type FileOps, nodeFiles } from "../../src/core/files.ts";
import type { SinkRecord } from "../../src/core/sink.ts";
import { record, recordSinkContract, records, type SinkUnderTest } from "../contract/sinks.ts";
import { Random, SEED } from "../random.ts";

const NEVER = new AbortController().signal;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "weir-files-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const within = (...parts: string[]) => path.join(folder, ...parts);
const text = (...parts: string[]) => readFileSync(within(...parts), "utf8");

/** A file system that can be full, and where the power can fail: from then on nothing more is done. */
class ShakyFiles {
  isFull = false;
  /** Changes that are still done until the power fails. */
  left = Number.POSITIVE_INFINITY;
  readonly ops: FileOps = {
    ...nodeFiles,
    open: async (name, flags) =>
      flags === "r" ? nodeFiles.open(name, flags) : this.change(() => nodeFiles.open(name, flags)),
    writev: async (fd, buffers, position) => {
      if (this.left <= 1 && this.left > 0) {
        // The last thing that happens is half a write.
        this.left = 0;
        await nodeFiles.writev(fd, [buffers[0].subarray(0, buffers[0].length >>> 1)], position);
      }
      return this.change(() => nodeFiles.writev(fd, buffers, position));
    },
    truncate: (fd, length) => this.change(() => nodeFiles.truncate(fd, length)),
    rename: (from, to) => this.change(() => nodeFiles.rename(from, to)),
    mkdir: (name) => this.change(() => nodeFiles.mkdir(name)),
  };

  private async change<T>(work: () => Promise<T>): Promise<T> {
    if (this.isFull) throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
    if (this.left-- <= 0) throw Object.assign(new Error("EIO: the power has failed"), { code: "EIO" });
    return work();
  }
}

const options = (given: Record<string, unknown>) => file.options.parse(given);

function open(given: Record<string, unknown>, { now = Date.now, files }: { now?: () => number; files?: FileOps } = {}) {
  const deps = { folder: within("notes"), now };
  return new FileSink(options(given), files === undefined ? deps : { ...deps, files });
}

const openContract = async (): Promise<SinkUnderTest> => {
  // A folder of its own: the contract's hooks run beside those of this file.
  const own = mkdtempSync(path.join(tmpdir(), "weir-file-contract-"));
  const disk = new ShakyFiles();
  const given = options({ path: path.join(own, "out.log") });
  const deps = { folder: path.join(own, "notes"), now: Date.now, files: disk.ops };
  return {
    sink: new FileSink(given, deps),
    taken: async () => {
      const all = await readFile(path.join(own, "out.log"), "utf8").catch(() => "");
      return all
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as { line: string; line_base64?: string })
        .map(({ line, line_base64 }) =>
          line_base64 === undefined ? Buffer.from(line) : Buffer.from(line_base64, "base64"),
        );
    },
    away: async () => {
      disk.isFull = true;
    },
    back: async () => {
      disk.isFull = false;
    },
    close: () => rm(own, { recursive: true, force: true }),
  };
};
recordSinkContract("file", openContract, { alwaysAnswers: true });

describe("file sink", () => {
  test("puts records into files by labels and day", async () => {
    const sink = open({ path: within("{app}", "{tenant}-{+yyyy-MM-dd}.log"), form: "line" });
    await sink.write([record(0, "a"), record(1, "b", { app: "../../etc" }), record(2, "c", {})], NEVER);
    await sink.close();
    expect(readdirSync(folder).sort()).toEqual(["%2E.%2F..%2Fetc", "none", "notes", "web"]);
    expect(text("web", "fake-2023-11-14.log")).toBe("a\n");
    expect(text("%2E.%2F..%2Fetc", "fake-2023-11-14.log")).toBe("b\n");
  });

  test("goes on where it was after a stop, and writes nothing twice that comes again", async () => {
    const given = { path: within("out.log"), form: "line" };
    await open(given).write(records(["a", "b"], 7), NEVER);
    // The position of the sink was not kept any more: the same again, and more.
    await open(given).write([...records(["a", "b"], 7), ...records(["c"], 8)], NEVER);
    expect(text("out.log")).toBe("a\nb\nc\n");
  });

  test("writes other records with ids that it had, once their log was replaced", async () => {
    const given = { path: within("out.log"), form: "line" };
    const of = (partition: number, line: string) => ({ ...record(0, line), id: `${partition}-7-0` });
    await open(given).write([of(0, "a"), of(1, "b")], NEVER);
    const sink = open(given);
    sink.beginAnew(0);
    await sink.write([of(1, "b")], NEVER); // A request of another partition keeps none of it.
    await sink.write([of(0, "new"), of(1, "b")], NEVER);
    await sink.write([of(0, "new")], NEVER);
    await open(given).write([of(0, "new")], NEVER);
    expect(text("out.log")).toBe("a\nb\nnew\n");
  });

  test("appends to a file that is there, and begins a new one where it was taken away", async () => {
    writeFileSync(within("out.log"), "old\n");
    const given = { path: within("out.log"), form: "line" };
    await open(given).write(records(["a"], 7), NEVER);
    expect(text("out.log")).toBe("old\na\n");
    await rm(within("out.log"));
    await open(given).write(records(["b"], 8), NEVER);
    expect(text("out.log")).toBe("b\n");
  });

  test("cuts off what a crash left, and no more than that", async () => {
    const given = { path: within("out.log"), form: "line" };
    await open(given).write(records(["a"], 7), NEVER);
    await writeFile(within("out.log"), "a\nhalf of a li");
    await open(given).write(records(["b"], 8), NEVER);
    expect(text("out.log")).toBe("a\nb\n");
  });

  test("compresses each request as a member that zcat reads, and names the file so", async () => {
    const sink = open({ path: within("out.log"), form: "line", gzip: true });
    await sink.write(records(["a", "b"], 7), NEVER);
    await sink.write(records(["c"], 8), NEVER);
    expect(gunzipSync(readFileSync(within("out.log.gz"))).toString()).toBe("a\nb\nc\n");
  });

  test("gives files a name of their own by size and by age", async () => {
    let ms = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
    const given = { path: within("web.log"), form: "line", gzip: true, rotate_bytes: 30, rotate_age_ms: 60_000 };
    const sink = open(given, { now: () => ms });
    for (let i = 0; i < 3; i++) await sink.write(records([`${i}`.repeat(3)], i), NEVER); // Some 24 bytes each.
    ms += 60_000;
    await sink.write(records(["late"], 9), NEVER);
    await sink.write(records(["last"], 10), NEVER);
    const contents = readdirSync(folder)
      .filter((name) => name !== "notes")
      .sort()
      .map((name) => [name, gunzipSync(readFileSync(within(name))).toString()]);
    expect(contents).toEqual([
      ["web-20260102T030405006Z.log.gz", "000\n111\n"],
      ["web-20260102T030505006Z.log.gz", "222\n"],
      ["web.log.gz", "late\nlast\n"],
    ]);
  });

  test("has each record once, wherever the power fails", async () => {
    const random = new Random(SEED);
    const given = { path: within("{app}.log"), form: "line", rotate_bytes: 300 };
    const batches = Array.from({ length: 30 }, (_, i) =>
      Array.from({ length: 1 + random.below(6) }, (_, n): SinkRecord => {
        return record(n, `line ${i} ${n} ${"x".repeat(random.below(30))}`, { app: `a${random.below(3)}` }, i);
      }),
    );
    let next = 0;
    let crashes = 0;
    while (next < batches.length) {
      const disk = new ShakyFiles();
      disk.left = random.below(40);
      const sink = open(given, { files: disk.ops });
      for (;;) {
        try {
          await sink.write(batches[next], NEVER);
        } catch {
          crashes++;
          break; // A new process, which begins with the batch that was not answered, or with the one before.
        }
        next++;
        if (next === batches.length) break;
      }
      if (next > 0 && next < batches.length && random.below(2) === 0) next--;
    }
    const found = readdirSync(folder)
      .filter((name) => name !== "notes")
      .flatMap((name) => text(name).split("\n").slice(0, -1));
    const wanted = batches.flat().map(({ line }) => line.toString());
    expect(found.sort(), `seed ${SEED}, ${crashes} crashes`).toEqual(wanted.sort());
    expect(crashes).toBeGreaterThan(3);
  });

  test("keeps a file that got another name, also where the power fails before the folder is on the disk", async () => {
    const given = { path: within("logs", "out.log"), form: "line", rotate_bytes: 3 };
    /** Names that were changed and that the folder would not have after a power cut. */
    const undo = new Map<string, string>();
    let hasPower = true;
    const files: FileOps = {
      ...nodeFiles,
      rename: async (from, to) => {
        await nodeFiles.rename(from, to);
        if (path.dirname(from) === within("logs")) undo.set(to, from);
      },
      syncFolder: async (name) => {
        await nodeFiles.syncFolder(name);
        for (const [to] of undo) if (path.dirname(to) === name) undo.delete(to);
      },
      open: async (name, flags) => {
        if (path.dirname(name) === within("logs") && undo.size > 0) hasPower = false;
        if (!hasPower) throw Object.assign(new Error("EIO: the power has failed"), { code: "EIO" });
        return nodeFiles.open(name, flags);
      },
    };
    const sink = open(given, { files });
    await sink.write(records(["first"], 1), NEVER);
    await sink.write(records(["second"], 2), NEVER).catch(() => {});
    for (const [to, from] of undo) await nodeFiles.rename(to, from);
    await open(given).write(records(["second"], 2), NEVER);
    const all = readdirSync(within("logs")).map((name) => text("logs", name));
    expect(all.sort()).toEqual(["first\n", "second\n"]);
  });

  test("has new folders on the disk before it says that it has what is in them", async () => {
    const synced: string[] = [];
    const files: FileOps = {
      ...nodeFiles,
      syncFolder: async (name) => {
        await nodeFiles.syncFolder(name);
        synced.push(name);
      },
    };
    await open({ path: within("a", "b", "out.log") }, { files }).write(records(["x"]), NEVER);
    expect(synced).toEqual(expect.arrayContaining([within("a", "b"), within("a"), within()]));
  });

  test("says that notes which can't be read are in the way", async () => {
    const given = { path: within("out.log"), form: "line" };
    await open(given).write(records(["a"], 7), NEVER);
    await writeFile(within("notes", "files.json"), "{");
    await expect(open(given).write(records(["b"], 8), NEVER)).rejects.toMatchObject({
      retriable: true,
      message: expect.stringContaining("files.json"),
    });
  });
});

describe("names from records", () => {
  test.each([
    { value: "web-1.2_x", name: "web-1.2_x" },
    { value: "..", name: "%2E." },
    { value: ".hidden", name: "%2Ehidden" },
    { value: "a/b\\c", name: "a%2Fb%5Cc" },
    { value: "ä %", name: "%C3%A4%20%25" },
    { value: "\u0000", name: "%00" },
  ])("$value becomes $name", ({ value, name }) => {
    expect(safeName(value)).toBe(name);
  });

  test("long ones are cut and stay different", () => {
    const a = safeName(`${"x".repeat(300)}a`);
    const b = safeName(`${"x".repeat(300)}b`);
    expect(a.length).toBeLessThan(120);
    expect(a).not.toBe(b);
  });

  test.each([
    { text: "{", problem: /stands alone/ },
    { text: "a}b", problem: /stands alone/ },
    { text: "{}", problem: /no label's name/ },
    { text: "{a b}", problem: /no label's name/ },
    { text: "{+Y}", problem: /none of yyyy/ },
  ])("the template $text is refused", ({ text: given, problem }) => {
    expect(templateProblem(given)).toMatch(problem);
    expect(file.options.safeParse({ path: given }).success).toBe(false);
  });

  test("a template follows labels, tenant and time from record to record", () => {
    const name = compileTemplate("{app}/{tenant}/{+yyyy.MM.dd HHmm}");
    const at = (sec: number, app: string, tenant: string) => name({ ...record(0, "", { app }), sec, tenant });
    expect([at(0, "a", "t"), at(59, "a", "t"), at(60, "a", "t"), at(60, "b", "t"), at(60, "b", "u")]).toEqual([
      "a/t/1970.01.01 0000",
      "a/t/1970.01.01 0000",
      "a/t/1970.01.01 0001",
      "b/t/1970.01.01 0001",
      "b/u/1970.01.01 0001",
    ]);
    expect(at(1e18, "a", "t")).toBe("a/t/9999.12.31 2359");
  });
});
