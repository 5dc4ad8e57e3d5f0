import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FolderStore, openFolderStore } from "../../src/objects/folder.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { FaultyFiles, type FileCall } from "../contract/faulty-files.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "weir-folder-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function keys(store: ObjectStore): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list("")) found.push(key);
  return found;
}

const bytes = (text: string) => [Buffer.from(text)];

describe("folder store", () => {
  test("an object is a plain file under its key", async () => {
    const store = await openFolderStore(folder);
    await store.put("segments/0/1.gz", bytes("abc"));
    expect(await readFile(path.join(folder, "segments/0/1.gz"), "utf8")).toBe("abc");
    expect(await readdir(path.join(folder, "segments/0"))).toEqual(["1.gz"]);
    await store.close();
  });

  test("objects are there when the folder is opened again", async () => {
    const first = await openFolderStore(folder);
    await first.putIfAbsent("a/1", bytes("x"));
    await first.close();
    const second = await openFolderStore(folder);
    expect(await keys(second)).toEqual(["a/1"]);
    await expect(second.putIfAbsent("a/1", bytes("y"))).rejects.toMatchObject({ code: "object_exists" });
    await second.close();
  });

  test("an object below another one is refused as a key that can't be", async () => {
    const store = await openFolderStore(folder);
    await store.put("a", bytes("x"));
    await expect(store.put("a/b", bytes("y"))).rejects.toMatchObject({ code: "bad_key" });
    await expect(store.get("a/b")).rejects.toMatchObject({ code: "object_missing" });
    await store.put("c/d", bytes("y"));
    await expect(store.put("c", bytes("x"))).rejects.toMatchObject({ code: "bad_key" });
    await expect(store.putIfAbsent("c", bytes("x"))).rejects.toMatchObject({ code: "bad_key" });
    await expect(store.putIfAbsent("a/b", bytes("y"))).rejects.toMatchObject({ code: "bad_key" });
    expect(await keys(store)).toEqual(["a", "c/d"]);
    await store.close();
  });

  test("files of other programs and leftovers are not listed; old leftovers go at the next start", async () => {
    await mkdir(path.join(folder, "a"));
    const old = path.join(folder, "a", "~123-1-0");
    const fresh = path.join(folder, "a", "~123-2-0");
    for (const file of [old, fresh, path.join(folder, "a", "with space")]) await writeFile(file, "x");
    const longAgo = new Date(Date.now() - 2 * 3_600_000);
    await utimes(old, longAgo, longAgo);
    const store = await openFolderStore(folder);
    await store.put("a/1", bytes("x"));
    expect(await keys(store)).toEqual(["a/1"]);
    expect(existsSync(old)).toBe(false);
    expect(existsSync(fresh)).toBe(true);
    await store.close();
  });

  test("a folder that no key can name is not looked into at the start", async () => {
    await mkdir(path.join(folder, "lost+found"));
    const files = new FaultyFiles();
    files.plan = ({ op, path: file }) =>
      op === "readdir" && file.endsWith("lost+found") ? { code: "EACCES" } : undefined;
    const store = await openFolderStore(folder, files);
    await store.put("a/1", bytes("x"));
    expect(await keys(store)).toEqual(["a/1"]);
    await store.close();
  });

  test("a symbolic link that leads nowhere hides nothing else", async () => {
    const store = await openFolderStore(folder);
    await store.put("a/1", bytes("x"));
    await symlink(path.join(folder, "nowhere"), path.join(folder, "a", "2"));
    expect(await keys(store)).toEqual(["a/1"]);
    await store.close();
  });

  test("an object whose name could not be made durable is durable before a second try says that it is there", async () => {
    const files = new FaultyFiles();
    const store = await openFolderStore(folder, files);
    await store.putIfAbsent("a/0", bytes("x"));
    files.plan = ({ op }) => (op === "syncFolder" ? { code: "EMFILE" } : undefined);
    await expect(store.putIfAbsent("a/1", bytes("x"))).rejects.toMatchObject({ code: "store_unavailable" });
    await expect(store.putIfAbsent("a/1", bytes("x"))).rejects.toMatchObject({ code: "store_unavailable" });
    files.plan = () => undefined;
    const before = files.done.length;
    await expect(store.putIfAbsent("a/1", bytes("x"))).rejects.toMatchObject({ code: "object_exists" });
    expect(files.done.slice(before)).toContain("syncFolder");
    await store.close();
  });

  test("a folder that was removed meanwhile is made again", async () => {
    const store = await openFolderStore(folder);
    await store.put("a/b/1", bytes("x"));
    await rm(path.join(folder, "a"), { recursive: true });
    await store.put("a/b/2", bytes("y"));
    expect(await keys(store)).toEqual(["a/b/2"]);
    await store.close();
  });

  test("more objects than are kept open can be read at once", async () => {
    const store = await openFolderStore(folder);
    const names = Array.from({ length: 200 }, (_, i) => `o/${i}`);
    await Promise.all(names.map((key) => store.put(key, bytes(key.padEnd(20)))));
    for (let round = 0; round < 3; round++) {
      const got = await Promise.all(names.map((key) => store.getRange(key, 0, 20)));
      expect(got.map((b) => b.toString().trim())).toEqual(names);
    }
    await store.close();
  });

  test("ranges read while the object is replaced are of the old or of the new one", async () => {
    const store = await openFolderStore(folder);
    await store.put("k", bytes("a".repeat(1000)));
    for (let round = 0; round < 50; round++) {
      const letter = round % 2 === 0 ? "b" : "a";
      const reads = Array.from({ length: 8 }, () => store.getRange("k", 0, 1000));
      await store.put("k", bytes(letter.repeat(1000)));
      for (const read of await Promise.all(reads)) expect(new Set(read).size).toBe(1);
      expect((await store.getRange("k", 0, 1000)).toString()).toBe(letter.repeat(1000));
    }
    await store.close();
  });

  test("readRangeSync reads as getRange does, into a buffer that is reused", async () => {
    const store = await openFolderStore(folder);
    await store.put("k", bytes("0123456789"));
    const into = Buffer.alloc(8);
    const read = store.readRangeSync("k", 2, 5, into);
    expect(read.toString()).toBe("23456");
    expect(read.buffer).toBe(into.buffer);
    expect(store.readRangeSync("k", 0, 10, into).toString()).toBe("0123456789");
    expect(store.readRangeSync("k", 10, 0).length).toBe(0);
    expect(() => store.readRangeSync("k", 5, 6)).toThrow(expect.objectContaining({ code: "object_range" }));
    expect(() => store.readRangeSync("k", -1, 2)).toThrow(expect.objectContaining({ code: "object_range" }));
    expect(() => store.readRangeSync("none", 0, 1)).toThrow(expect.objectContaining({ code: "object_missing" }));
    await store.put("k", bytes("new"));
    expect(store.readRangeSync("k", 0, 3).toString()).toBe("new");
    await store.delete("k");
    expect(() => store.readRangeSync("k", 0, 1)).toThrow(expect.objectContaining({ code: "object_missing" }));
    await store.close();
  });
});

describe("folder store on a failing disk", () => {
  const calls: FileCall[] = ["open", "writev", "datasync", "close", "link", "rename", "syncFolder", "mkdir"];
  const cases = calls.flatMap((op) =>
    ["ENOSPC", "EIO", "EROFS"].flatMap((code) =>
      (["put", "putIfAbsent"] as const)
        .filter((how) => !(how === "put" && op === "link") && !(how === "putIfAbsent" && op === "rename"))
        .map((how) => ({ op, code, how })),
    ),
  );
  test.each(cases)("$how with $code from $op is refused whole, and works afterwards", async ({ op, code, how }) => {
    const files = new FaultyFiles();
    const store = await openFolderStore(folder, files);
    files.plan = (call) => (call.op === op ? { code } : undefined);
    await expect(store[how]("a/1", bytes("whole"))).rejects.toMatchObject({
      code: "store_unavailable",
      retriable: true,
      message: expect.stringContaining("a/1"),
    });
    files.plan = () => undefined;
    const there = await keys(store);
    // Only the sync of the folder may fail with the object in place.
    if (op !== "syncFolder") expect(there).toEqual([]);
    if (there.length > 0) expect((await store.get("a/1")).toString()).toBe("whole");
    await store.put("a/1", bytes("again"));
    expect((await store.get("a/1")).toString()).toBe("again");
    expect(await readdir(path.join(folder, "a"))).toEqual(["1"]);
    await store.close();
  });

  test("short writes and short reads are continued", async () => {
    const files = new FaultyFiles(undefined, ({ op }) => (op === "writev" || op === "read" ? { short: 3 } : undefined));
    const store = await openFolderStore(folder, files);
    await store.put("k", [Buffer.from("hello "), Buffer.from("wide "), Buffer.from("world")]);
    expect((await store.get("k")).toString()).toBe("hello wide world");
    expect((await store.getRange("k", 4, 9)).toString()).toBe("o wide wo");
    await store.close();
  });

  test.each(["open", "read", "size"] as const)(
    "an error of %s while reading is not taken for a missing object",
    async (op) => {
      const files = new FaultyFiles();
      const store = await openFolderStore(folder, files);
      await store.put("k", bytes("abc"));
      files.plan = (call) => (call.op === op ? { code: "EIO" } : undefined);
      for (const read of [() => store.get("k"), () => store.getRange("k", 0, 1), () => store.getSuffix("k", 1)]) {
        await expect(read()).rejects.toMatchObject({ code: "store_unavailable", retriable: true });
      }
      files.plan = () => undefined;
      expect((await store.getRange("k", 0, 3)).toString()).toBe("abc");
      await store.close();
    },
  );

  test("errors of head, list and delete are told", async () => {
    const files = new FaultyFiles();
    const store = await openFolderStore(folder, files);
    await store.put("k", bytes("abc"));
    files.plan = () => ({ code: "EIO" });
    const unavailable = { code: "store_unavailable", retriable: true };
    await expect(store.head("k")).rejects.toMatchObject(unavailable);
    await expect(keys(store)).rejects.toMatchObject(unavailable);
    await expect(store.delete("k")).rejects.toMatchObject(unavailable);
    await store.close();
  });

  test("a folder that can't be made is refused at the start", async () => {
    await writeFile(path.join(folder, "file"), "");
    await expect(openFolderStore(path.join(folder, "file", "store"))).rejects.toMatchObject({
      code: "store_unavailable",
      message: expect.stringContaining("file"),
    });
  });
});

const built = path.resolve("dist/src/objects/folder.js");
const child = `
  const { FolderStore } = await import(process.argv[1]);
  const store = new FolderStore(process.argv[2]);
  const start = Number(process.argv[3]);
  for (let i = start; ; i++) {
    const bytes = Buffer.alloc(200_000 + (i % 7) * 50_000, i & 0xff);
    await (i % 2 === 0 ? store.put("k/" + i, [bytes, bytes]) : store.putIfAbsent("k/" + i, [bytes, bytes]));
    process.stdout.write(i + "\\n");
  }
`;

describe.skipIf(!existsSync(built))("folder store and kill -9 (needs npm run build)", () => {
  test("an object is there whole or not at all, and what was answered is there", async () => {
    const store = new FolderStore(folder);
    let start = 0;
    for (let round = 0; round < 10; round++) {
      const run = spawn(process.execPath, ["--input-type=module", "-e", child, built, folder, String(start)]);
      let out = "";
      run.stdout.setEncoding("utf8").on("data", (text: string) => {
        out += text;
      });
      const ended = once(run, "close");
      await once(run.stdout, "data");
      await new Promise((resolve) => setTimeout(resolve, 5 + round * 7));
      run.kill("SIGKILL");
      await ended;
      const answered = out.slice(0, out.lastIndexOf("\n")).split("\n").map(Number);
      const there = new Set<number>();
      for await (const { key, size } of store.list("k/")) {
        const i = Number(key.slice(2));
        there.add(i);
        const whole = 2 * (200_000 + (i % 7) * 50_000);
        expect(size).toBe(whole);
        const got = await store.get(key);
        expect(got.equals(Buffer.alloc(whole, i & 0xff))).toBe(true);
      }
      for (const i of answered) expect(there.has(i)).toBe(true);
      start = Math.max(...there) + 1;
    }
    await store.close();
  });
});
