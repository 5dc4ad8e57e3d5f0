import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { EntryDraft } from "../../src/core/intake-entry.ts";
import { LastKeys } from "../../src/intake/last-keys.ts";
import { DIGEST_BYTES } from "../../src/intake/seen-keys.ts";
import { draft } from "../contract/intake.ts";
import { Random, SEED } from "../random.ts";
import { newFolder, openLog, recordingLogger } from "./support.ts";

const inLane = (lane: string, n: number): EntryDraft =>
  draft(`${lane} ${n}`, { dedupeKey: `${lane}\0${n}`, hasLane: true });
/** Other receivers' chunks, each with a key of its own. */
const chunk = (n: number) => draft(`chunk ${n}`, { dedupeKey: `tag\0chunk ${n}` });

/** Remembers one id only, and begins a new file with nearly every entry. */
const small = (dir: string, partitions = 1) => ({
  dir,
  partitions,
  options: { seen_ids_max: 1, file_bytes: 65_536, size_max_bytes: 1 << 20 },
});

describe("the last key of a lane", () => {
  test("is known however many other keys came after it, and after every restart", async () => {
    const dir = await newFolder();
    let log = await openLog(small(dir));
    expect(await log.append(0, inLane("a", 1))).toEqual({ offset: 0 });
    expect(await log.append(0, inLane("b", 1))).toEqual({ offset: 1 });
    for (let n = 0; n < 10; n++) await log.append(0, chunk(n));
    expect(await log.append(0, inLane("a", 1))).toEqual({ offset: null });
    expect(await log.append(0, inLane("b", 1))).toEqual({ offset: null });
    await log.close();
    log = await openLog(small(dir));
    expect(await log.append(0, inLane("a", 1))).toEqual({ offset: null });
    expect(await log.append(0, inLane("a", 2))).toEqual({ offset: 12 });
    for (let n = 10; n < 20; n++) await log.append(0, chunk(n));
    expect(await log.append(0, inLane("a", 2))).toEqual({ offset: null });
    // Only the last one may come again: one before it is not known for good.
    expect(await log.append(0, inLane("a", 1))).toEqual({ offset: 23 });
    await log.close();
  });

  test("outlives the files of the log", async () => {
    const dir = await newFolder();
    let log = await openLog(small(dir));
    await log.append(0, inLane("a", 7));
    const large = () => draft("x".repeat(50_000));
    for (let n = 0; n < 6; n++) await log.append(0, large());
    await log.commit(0, log.nextOffset(0));
    await log.close();
    expect((await readFile(path.join(dir, "seen-lanes"))).length).toBe(24 + 8 + 2 * DIGEST_BYTES);
    log = await openLog(small(dir));
    expect(log.bytesFrom(0, 0)).toBeLessThan(150_000);
    expect(await log.append(0, inLane("a", 7))).toEqual({ offset: null });
    await log.close();
  });

  test("is the newest where a lane's entries stand in several partitions", async () => {
    const dir = await newFolder();
    let log = await openLog(small(dir, 2));
    const at = (partition: number, n: number, receivedMs: number) =>
      log.append(partition, { ...inLane("a", n), receivedMs });
    await at(1, 1, 100);
    await at(0, 2, 200);
    await log.append(0, chunk(1));
    await log.close();
    log = await openLog(small(dir, 2));
    expect(await at(1, 2, 300)).toEqual({ offset: null });
    await log.close();
  });

  test("an append that failed leaves nothing behind", async () => {
    const dir = await newFolder();
    const log = await openLog(small(dir));
    const full = { ...inLane("a", 1), payload: Buffer.alloc(2 << 20) };
    await expect(log.append(0, full)).rejects.toMatchObject({ code: "intake_entry_too_large" });
    expect(await log.append(0, inLane("a", 1))).toEqual({ offset: 0 });
    await log.close();
  });

  test("a damaged file is said, and the log opens", async () => {
    const dir = await newFolder();
    await writeFile(path.join(dir, "seen-lanes"), "nothing");
    const { log: logger, lines } = recordingLogger();
    const log = await openLog(small(dir), { log: logger });
    expect(lines.some(({ msg }) => msg.includes("file of lanes is damaged"))).toBe(true);
    await log.close();
  });

  test("survives a dump and a load, and knows nothing else", () => {
    const random = new Random(SEED);
    const last = new Map<string, number>();
    const keys = new LastKeys();
    for (let i = 0; i < 500; i++) {
      const lane = `lane ${random.below(40)}`;
      last.set(lane, i);
      keys.add("fake", `${lane}\0${i}`);
    }
    const dump = keys.dump();
    const copy = new LastKeys();
    copy.load(
      Array.from({ length: dump.length / DIGEST_BYTES }, (_, i) =>
        dump.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES),
      ),
    );
    for (const [lane, i] of last) {
      expect(copy.has("fake", `${lane}\0${i}`), `seed ${SEED}`).toBe(true);
      expect(copy.has("fake", `${lane}\0${i - 1}`)).toBe(false);
      expect(copy.has("other", `${lane}\0${i}`)).toBe(false);
    }
  });
});
