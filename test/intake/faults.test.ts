import { readdirSync } from "node:fs";
import { cp } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../../src/core/files.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { openDiskIntake } from "../../src/intake/disk.ts";
import type { Timers } from "../../src/intake/timers.ts";
import { FaultyFiles, type FileCall } from "../contract/faulty-files.ts";
import { draft, drain, textOf } from "../contract/intake.ts";
import { fastTimers, newFolder, openLog, recordingLogger } from "./support.ts";

const unavailable = { code: "intake_unavailable", retriable: true };
const isLog = (name: string) => name.endsWith(".log");

describe("a disk that refuses", () => {
  const cases = (["open", "writev", "datasync", "syncFolder"] as FileCall[]).flatMap((op) =>
    [
      { code: "ENOSPC", says: "the disk is full (ENOSPC)" },
      { code: "EIO", says: "the disk has an I/O error (EIO)" },
      { code: "EROFS", says: "the disk is read-only (EROFS)" },
      { code: "EDQUOT", says: "the disk quota is used up (EDQUOT)" },
    ].map((error) => ({ op, ...error })),
  );

  test.each(cases)(
    "$code from $op: no answer is given, /ready says why, and it comes back by itself",
    async ({ op, code, says }) => {
      const dir = await newFolder();
      const files = new FaultyFiles();
      const { log: logger, lines } = recordingLogger();
      const log = await openLog({ dir }, { files, log: logger });
      // In the first round the file is new, in the second it has entries.
      for (const round of [0, 1]) {
        // A file that is open already is not opened again.
        if (round === 1 && (op === "open" || op === "syncFolder")) break;
        files.plan = (call) => (call.op === op && !call.path.includes("lock") ? { code } : undefined);
        await expect(log.append(0, draft("refused", { dedupeKey: "k" }))).rejects.toMatchObject({
          ...unavailable,
          message: expect.stringContaining(says),
        });
        expect(log.status()).toMatchObject({ ready: false, reason: expect.stringContaining(says) });
        await expect(log.append(0, draft("refused at once"))).rejects.toMatchObject(unavailable);
        expect(log.nextOffset(0)).toBe(round);
        let ready = false;
        const waiting = log.whenReady().then(() => {
          ready = true;
        });
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(ready).toBe(false);
        files.plan = () => undefined;
        await waiting;
        expect(log.status()).toMatchObject({ ready: true, reason: "" });
        expect(await log.append(0, draft(`stored ${round}`, { dedupeKey: `k${round}` }))).toEqual({ offset: round });
      }
      expect(await log.append(0, draft("stored", { dedupeKey: "k" }))).toEqual({ offset: log.nextOffset(0) - 1 });
      const texts = (await drain(log.read(0, 0))).map(textOf);
      expect(texts.every((text) => text.startsWith("stored"))).toBe(true);
      await log.close();
      expect(lines.some(({ msg }) => msg.includes(says))).toBe(true);
      const again = await openLog({ dir });
      expect((await drain(again.read(0, 0))).map(textOf)).toEqual(texts);
      await again.close();
    },
  );

  test("all that wait are refused, and those that come with the same key are tried themselves", async () => {
    const files = new FaultyFiles();
    const log = await openLog({ dir: await newFolder() }, { files });
    let writes = 0;
    files.plan = ({ op }) => (op === "datasync" && writes++ === 0 ? { code: "EIO" } : undefined);
    const answers = await Promise.allSettled([
      log.append(0, draft("a", { dedupeKey: "k" })),
      log.append(0, draft("a", { dedupeKey: "k" })),
      log.append(0, draft("b")),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    await log.whenReady();
    expect(await log.append(0, draft("a", { dedupeKey: "k" }))).toEqual({ offset: 0 });
    expect(await log.append(0, draft("a", { dedupeKey: "k" }))).toEqual({ offset: null });
    await log.close();
  });

  test("a write that was cut short leaves nothing that is read later, though it can't be cut back", async () => {
    const dir = await newFolder();
    const files = new FaultyFiles();
    let log = await openLog({ dir }, { files });
    await log.append(0, draft("a"));
    let calls = 0;
    // All of the entry is written, then the sync fails and so does everything that would clean up.
    files.plan = ({ op, path: name }) =>
      op === "truncate" || op === "unlink" || (op === "datasync" && isLog(name) && calls++ === 0)
        ? { code: "EIO" }
        : undefined;
    await expect(log.append(0, draft("never acknowledged"))).rejects.toMatchObject(unavailable);
    files.plan = () => undefined;
    await log.whenReady();
    expect(await log.append(0, draft("b"))).toEqual({ offset: 1 });
    expect((await drain(log.read(0, 0))).map(textOf)).toEqual(["a", "b"]);
    await log.close();
    log = await openLog({ dir });
    expect((await drain(log.read(0, 0))).map(textOf)).toEqual(["a", "b"]);
    await log.close();
  });

  test("a disk with room for a header but not for what is wanted counts as full", async () => {
    const files = new FaultyFiles();
    const inner = files.writev.bind(files);
    let room = 100_000;
    files.writev = async (fd, buffers, position) => {
      const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
      if (position + bytes > room) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
      return inner(fd, buffers, position);
    };
    const log = await openLog({ dir: await newFolder() }, { files });
    const large = draft("x".repeat(200_000));
    await expect(log.append(0, large)).rejects.toMatchObject(unavailable);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(log.status().ready).toBe(false);
    room = 1 << 20;
    await log.whenReady();
    await log.append(0, large);
    await log.close();
  });

  test("pauses between attempts grow from a quarter of a second to ten, and a write that works ends that", async () => {
    const files = new FaultyFiles();
    const delays: number[] = [];
    const timers: Timers = {
      set: (act, delayMs) => {
        if (delayMs > 5) delays.push(delayMs);
        return fastTimers.set(act, delayMs);
      },
      clear: fastTimers.clear,
    };
    const { log: logger } = recordingLogger();
    const log = await openDiskIntake(
      { dir: await newFolder() },
      { log: logger, metrics: new Metrics(), files, timers },
    );
    const fail = async (attempts: number) => {
      files.plan = ({ op }) => (op === "datasync" ? { code: "EIO" } : undefined);
      await expect(log.append(0, draft("x"))).rejects.toMatchObject(unavailable);
      while (delays.length < attempts) await new Promise((resolve) => setTimeout(resolve, 1));
      files.plan = () => undefined;
      await log.whenReady();
    };
    await fail(8);
    expect(delays.slice(0, 8)).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    await log.append(0, draft("x"));
    delays.length = 0;
    await fail(1);
    expect(delays[0]).toBe(250);
    await log.close();
  });

  test("close ends the attempts and refuses what comes", async () => {
    const files = new FaultyFiles();
    const dir = await newFolder();
    const log = await openLog({ dir }, { files });
    files.plan = ({ op }) => (op === "datasync" ? { code: "EIO" } : undefined);
    await expect(log.append(0, draft("x"))).rejects.toMatchObject(unavailable);
    const ready = log.whenReady();
    await log.close();
    await ready;
    expect(readdirSync(path.join(dir, "0"))).toEqual([]);
    expect(readdirSync(dir).filter((name) => name.startsWith("lock"))).toEqual([]);
  });

  test("one partition's trouble is not another's, but the log is not ready", async () => {
    const files = new FaultyFiles();
    const log = await openLog({ dir: await newFolder(), partitions: 2 }, { files });
    files.plan = ({ op, path: name }) => (op === "writev" && name.includes("/1/") ? { code: "EIO" } : undefined);
    await expect(log.append(1, draft("x"))).rejects.toMatchObject(unavailable);
    expect(await log.append(0, draft("x"))).toEqual({ offset: 0 });
    expect(log.status().ready).toBe(false);
    files.plan = () => undefined;
    await log.whenReady();
    expect(await log.append(1, draft("x"))).toEqual({ offset: 0 });
    await log.close();
  });
});

describe("removal on a disk that refuses", () => {
  const options = { file_bytes: 65_536, tail_bytes: 0 };
  const logFiles = (dir: string) => readdirSync(path.join(dir, "0")).filter((name) => name.endsWith(".log"));
  const fill = async (log: Awaited<ReturnType<typeof openLog>>) => {
    for (let i = 0; i < 10; i++) await log.append(0, draft(`${i} ${"x".repeat(40_000)}`, { dedupeKey: `k${i}` }));
  };

  /** Whether the folder as it is now, which a crash would leave, still knows chunks k0 to before `count`. */
  const expectRepeats = async (dir: string, count: number) => {
    const left = await newFolder();
    await cp(dir, left, { recursive: true, filter: (name) => !path.basename(name).startsWith("lock.") });
    const log = await openLog({ dir: left, options });
    const offsets: (number | null)[] = [];
    for (let i = 0; i < count; i++) offsets.push((await log.append(0, draft("x", { dedupeKey: `k${i}` }))).offset);
    expect(offsets).toEqual(offsets.map(() => null));
    await log.close();
  };

  test.each(["EIO", "EROFS"])("%s while the seen ids are saved: the files stay until that works", async (code) => {
    const dir = await newFolder();
    const files = new FaultyFiles();
    const log = await openLog({ dir, options }, { files });
    await fill(log);
    const before = logFiles(dir);
    files.plan = ({ op, path: name }) => (name.includes("seen") && op !== "close" ? { code } : undefined);
    await log.commit(0, 10);
    expect(logFiles(dir)).toEqual(before);
    files.plan = () => undefined;
    await log.commit(0, 10);
    expect(logFiles(dir)).toEqual([]);
    await log.close();
  });

  test("a full disk: one file makes room for the ids of all", async () => {
    const dir = await newFolder();
    const files = new FaultyFiles();
    let log = await openLog({ dir, options }, { files });
    await fill(log);
    const before = logFiles(dir).length;
    files.plan = ({ op, path: name }) =>
      op === "writev" && name.includes("seen") && logFiles(dir).length === before ? { code: "ENOSPC" } : undefined;
    await log.commit(0, 10);
    expect(logFiles(dir)).toEqual([]);
    await log.close();
    log = await openLog({ dir, options });
    for (let i = 0; i < 10; i++)
      expect(await log.append(0, draft("x", { dedupeKey: `k${i}` }))).toEqual({ offset: null });
    await log.close();
  });

  test("ids that found no room at all are saved by the next commit, though nothing is to be removed then", async () => {
    const dir = await newFolder();
    const files = new FaultyFiles();
    const log = await openLog({ dir, options }, { files });
    await fill(log);
    const all = logFiles(dir).length;
    files.plan = ({ op, path: name }) =>
      op === "writev" && name.includes("seen") ? { code: logFiles(dir).length === all ? "ENOSPC" : "EIO" } : undefined;
    await log.commit(0, 2);
    expect(logFiles(dir).length).toBe(all - 1);
    files.plan = () => undefined;
    await log.commit(0, 2);
    await expectRepeats(dir, 10);
    await log.close();
  });

  test("a file that is filled and committed while ids are saved stays until its own are", async () => {
    const dir = await newFolder();
    const files = new FaultyFiles();
    const log = await openLog({ dir, options }, { files });
    await fill(log);
    const rename = files.rename.bind(files);
    let more: Promise<void> | null = null;
    files.rename = async (from, to) => {
      if (more === null && from.endsWith("seen.tmp")) {
        for (let i = 10; i < 20; i++) await log.append(0, draft(`${i} ${"x".repeat(40_000)}`, { dedupeKey: `k${i}` }));
        more = log.commit(0, 20);
        // What is saved next finds a disk that refuses, and then the power goes.
        files.plan = ({ op, path: name }) => (op === "writev" && name.includes("seen") ? { code: "EIO" } : undefined);
      }
      return rename(from, to);
    };
    await log.commit(0, 10);
    await more;
    await expectRepeats(dir, 20);
    await log.close();
  });

  test("a file that can't be removed stays, with those behind it", async () => {
    const dir = await newFolder();
    const files = new FaultyFiles();
    const log = await openLog({ dir, options }, { files });
    await fill(log);
    const [, second] = logFiles(dir);
    files.plan = ({ op, path: name }) =>
      (op === "unlink" || op === "rename") && name.endsWith(second) ? { code: "EIO" } : undefined;
    await log.commit(0, 10);
    expect(logFiles(dir)[0]).toBe(second);
    expect(logFiles(dir).length).toBeGreaterThan(1);
    files.plan = () => undefined;
    await log.commit(0, 10);
    expect(logFiles(dir)).toEqual([]);
    await log.close();
  });
});

describe("a disk with little room", () => {
  test("keeps some for the store: appends wait, and go on by themselves", async () => {
    const files = new FaultyFiles();
    files.free = 300 << 20;
    const log = await openLog({ dir: await newFolder(), options: { disk_free_min_bytes: 128 << 20 } }, { files });
    expect(await log.append(0, draft("a"))).toEqual({ offset: 0 });
    files.free = 100 << 20;
    await expect(async () => {
      for (let i = 0; i < 10; i++) await log.append(0, draft("x".repeat(1 << 20)));
    }).rejects.toMatchObject({
      code: "intake_full",
      retriable: true,
      message: expect.stringMatching(/104857600 bytes free/),
    });
    expect(log.status()).toMatchObject({ ready: false, reason: expect.stringContaining("make room") });
    const next = log.nextOffset(0);
    files.free = 200 << 20;
    await log.whenReady();
    expect(await log.append(0, draft("b"))).toEqual({ offset: next });
    await log.close();
  });

  test("is refused no more than a quarter of it, and nothing with 0", async () => {
    const files = new FaultyFiles();
    files.free = 260 << 20;
    const log = await openLog({ dir: await newFolder(), options: { disk_free_min_bytes: 1 << 30 } }, { files });
    expect(log.status().ready).toBe(true);
    await log.close();
    files.free = 0;
    const other = await openLog({ dir: await newFolder(), options: { disk_free_min_bytes: 0 } }, { files });
    expect(await other.append(0, draft("a"))).toEqual({ offset: 0 });
    await other.close();
  });
});

describe("group commit", () => {
  test("entries that come together share a write, and payloads aren't copied for it", async () => {
    const written: Uint8Array[][] = [];
    const files = new FaultyFiles();
    const inner = files.writev.bind(files);
    files.writev = (fd, buffers, position) => {
      written.push([...buffers]);
      return inner(fd, buffers, position);
    };
    const log = await openLog({ dir: await newFolder() }, { files });
    const payloads = Array.from({ length: 50 }, (_, i) => Buffer.alloc(1000, i));
    await Promise.all(payloads.map((payload) => log.append(0, draft("", { payload }))));
    expect(written).toHaveLength(1);
    for (const payload of payloads) expect(written[0]).toContain(payload);
    expect(files.done.filter((op) => op === "datasync")).toHaveLength(1);
    await log.close();
  });

  test("a write takes no more than its bytes, and what came during one goes out in the next", async () => {
    const files = new FaultyFiles();
    const log = await openLog({ dir: await newFolder(), options: { group_commit_bytes: 10_000 } }, { files });
    await Promise.all(Array.from({ length: 20 }, () => log.append(0, draft("x".repeat(2900)))));
    expect(files.done.filter((op) => op === "datasync")).toHaveLength(7);
    await log.close();
  });

  test("an entry is readable only when it is durable", async () => {
    const files = new FaultyFiles();
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const datasync = files.datasync.bind(files);
    const log = await openLog({ dir: await newFolder() }, { files });
    files.datasync = async (fd) => {
      await held;
      await datasync(fd);
    };
    const reader = log.read(0, 0);
    const append = log.append(0, draft("a"));
    while (!files.done.includes("writev")) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await reader.poll()).toBeNull();
    expect(log.nextOffset(0)).toBe(0);
    release();
    await append;
    expect(await reader.poll()).not.toBeNull();
    await log.close();
  });

  test("short writes are continued", async () => {
    const files = new FaultyFiles(nodeFiles, ({ op }) => (op === "writev" ? { short: 37 } : undefined));
    const dir = await newFolder();
    const log = await openLog({ dir, options: { tail_bytes: 0 } }, { files });
    const texts = Array.from({ length: 20 }, (_, i) => `${i} ${"x".repeat(i * 11)}`);
    await Promise.all(texts.map((text) => log.append(0, draft(text))));
    expect((await drain(log.read(0, 0))).map(textOf)).toEqual(texts);
    await log.close();
  });
});

test("two logs can't be open on one folder", async () => {
  const dir = await newFolder();
  const log = await openLog({ dir });
  await expect(openLog({ dir })).rejects.toMatchObject({ code: "folder_locked" });
  await log.append(0, draft("a"));
  await log.close();
  await (await openLog({ dir })).close();
});

test("a folder that can't be made is refused with a sentence", async () => {
  const files = new FaultyFiles(nodeFiles, ({ op }) => (op === "mkdir" ? { code: "EACCES" } : undefined));
  await expect(openLog({ dir: "/nowhere/intake" }, { files })).rejects.toMatchObject({
    code: "folder_unusable",
    message: expect.stringContaining("/nowhere/intake"),
  });
});
