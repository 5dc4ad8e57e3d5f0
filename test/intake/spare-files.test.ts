import { cpSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { FaultyFiles, type FileCall } from "../contract/faulty-files.ts";
import { draft, drain, textOf } from "../contract/intake.ts";
import { newFolder, openLog, recordingLogger } from "./support.ts";

const FILE_BYTES = 65_536;
const options = { file_bytes: FILE_BYTES, tail_bytes: 0 };
const big = (name: string) => `${name} ${"x".repeat(40_000)}`;

type Log = Awaited<ReturnType<typeof openLog>>;

function names(dir: string): string[] {
  return readdirSync(path.join(dir, "0"))
    .filter((name) => name !== "safe")
    .sort();
}

async function appendAll(log: Log, texts: readonly string[]): Promise<void> {
  for (const text of texts) await log.append(0, draft(text));
}

/** A log that has one spare file, full of committed entries, and none besides; the next offset is 2. */
async function withSpare(files = new FaultyFiles()): Promise<{ dir: string; log: Log; files: FaultyFiles }> {
  const dir = await newFolder();
  const log = await openLog({ dir, options }, { files });
  await appendAll(log, [big("old 0"), big("old 1")]);
  await log.commit(0, 2);
  expect(names(dir)).toEqual(["spare.0"]);
  return { dir, log, files };
}

/** What a start finds in the folder as it is now, as after a crash. */
async function afterCrash(dir: string, from: number): Promise<string[]> {
  const copy = await newFolder();
  cpSync(path.join(dir, "0"), path.join(copy, "0"), { recursive: true });
  const { log: logger, lines } = recordingLogger();
  const log = await openLog({ dir: copy, options, minNextOffset: () => from }, { log: logger });
  const found = (await drain(log.read(0, from))).map(textOf);
  await log.close();
  expect(lines.filter(({ msg }) => msg.includes("damaged"))).toEqual([]);
  return found;
}

describe("log files that are written again", () => {
  test("hold the new entries and nothing of the old ones, whenever the process ends", async () => {
    const { dir, log } = await withSpare();
    const texts = ["a", "b", big("c")];
    for (const [i, text] of texts.entries()) {
      await log.append(0, draft(text));
      expect(names(dir)).toEqual(["00000000000000000002.log"]);
      expect(await afterCrash(dir, 2)).toEqual(texts.slice(0, i + 1));
    }
    expect((await drain(log.read(0, 2))).map(textOf)).toEqual(texts);
    await log.close();
  });

  test("are cut to what they hold when the next one begins", async () => {
    const { dir, log } = await withSpare();
    await appendAll(log, ["y".repeat(FILE_BYTES), "next"]);
    const [full] = names(dir);
    expect(statSync(path.join(dir, "0", full)).size).toBeLessThan(FILE_BYTES + 200);
    expect(await afterCrash(dir, 2)).toEqual(["y".repeat(FILE_BYTES), "next"]);
    await log.close();
  });

  test("are no more than fits, and go with the log", async () => {
    const dir = await newFolder();
    const log = await openLog({ dir, options: { ...options, size_max_bytes: 1 << 20 } });
    const next = 20;
    await appendAll(
      log,
      Array.from({ length: next }, (_, i) => big(`${i}`)),
    );
    await log.commit(0, next);
    const spares = names(dir);
    expect(spares.length).toBeGreaterThan(1);
    expect(spares.length * FILE_BYTES).toBeLessThanOrEqual((1 << 20) / 4);
    await log.close();
    expect(names(dir)).toEqual([]);
  });

  test("that a killed process left are removed at the start", async () => {
    const { dir, log } = await withSpare();
    const copy = await newFolder();
    cpSync(path.join(dir, "0"), path.join(copy, "0"), { recursive: true });
    await log.close();
    const again = await openLog({ dir: copy, options, minNextOffset: () => 2 });
    expect(names(copy)).toEqual([]);
    await again.close();
  });

  test("an old header under a new name is never seen: the new header is durable first", async () => {
    const { dir, log, files } = await withSpare();
    let before: Buffer | null = null;
    files.plan = ({ op }) => {
      if (op === "rename") before = readFileSync(path.join(dir, "0", "spare.0"));
      return undefined;
    };
    await log.append(0, draft("new"));
    const after = readFileSync(path.join(dir, "0", "00000000000000000002.log"));
    expect((before as Buffer | null)?.subarray(0, 32)).toEqual(after.subarray(0, 32));
    await log.close();
  });

  test.each<FileCall>(["open", "writev", "datasync", "rename", "syncFolder"])(
    "%s fails while one is taken: a new file serves",
    async (failing) => {
      const { dir, log, files } = await withSpare();
      let failed = 0;
      files.plan = ({ op }) => (op === failing && failed++ === 0 ? { code: "EIO" } : undefined);
      await log.append(0, draft("new"));
      expect(failed).toBeGreaterThan(0);
      expect(names(dir)).toEqual(["00000000000000000002.log"]);
      expect(await afterCrash(dir, 2)).toEqual(["new"]);
      await log.close();
    },
  );

  test("a disk that refuses gets its room back", async () => {
    const { dir, log, files } = await withSpare();
    await log.append(0, draft(big("a")));
    await log.append(0, draft(big("b")));
    await log.commit(0, 4);
    expect(names(dir)).toEqual(["spare.1"]);
    files.plan = ({ op, path: name }) => (op === "writev" && name !== "" ? { code: "ENOSPC" } : undefined);
    await expect(log.append(0, draft("c"))).rejects.toMatchObject({ code: "intake_unavailable" });
    expect(names(dir).filter((name) => name.startsWith("spare"))).toEqual([]);
    files.plan = () => undefined;
    await log.whenReady();
    await log.append(0, draft("c"));
    expect((await drain(log.read(0, 4))).map(textOf)).toEqual(["c"]);
    await log.close();
  });
});
