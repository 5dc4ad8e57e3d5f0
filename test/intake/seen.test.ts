import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../../src/core/files.ts";
import { decodeSeen, encodeSeen, readSeen, writeSeen } from "../../src/intake/seen-file.ts";
import { DIGEST_BYTES, digestOf, SeenKeys } from "../../src/intake/seen-keys.ts";
import { Random, SEED } from "../random.ts";
import { newFolder } from "./support.ts";

const digest = (n: number) => digestOf("fake", `key ${n}`);

describe("seen keys", () => {
  test("a digest depends on where tenant and key part", () => {
    expect(digestOf("ab", "c")).not.toEqual(digestOf("a", "bc"));
    expect(digestOf("a", "b").length).toBe(DIGEST_BYTES);
  });

  test.each([1, 2, 7, 1000, 1024, 1025, 3000])("keeps the last %i as a list would", (max) => {
    const random = new Random(SEED);
    const seen = new SeenKeys(max);
    const order: number[] = [];
    const known = new Set<number>();
    for (let step = 0; step < 4 * max + 500; step++) {
      const n = random.below(max * 3);
      const isNew = !known.has(n);
      expect(seen.has(digest(n)), `seed ${SEED} step ${step}`).toBe(!isNew);
      expect(seen.add(digest(n))).toBe(isNew);
      if (isNew) {
        order.push(n);
        known.add(n);
        if (order.length > max) known.delete(order.shift() as number);
      }
    }
    expect(seen.size).toBe(order.length);
    expect(seen.dump()).toEqual(Buffer.concat(order.map(digest)));
    for (let n = 0; n < max * 3; n++) expect(seen.has(digest(n))).toBe(known.has(n));
  });

  test("digests whose first words are alike are told apart", () => {
    const seen = new SeenKeys(100);
    const alike = (n: number) => Buffer.from([1, 2, 3, 4, ...Array.from({ length: 11 }, () => 0), n]);
    for (let n = 0; n < 150; n++) seen.add(alike(n));
    for (let n = 0; n < 150; n++) expect(seen.has(alike(n))).toBe(n >= 50);
  });
});

describe("seen file", () => {
  test("is as documented", () => {
    const bytes = Buffer.from(
      "574549525345454e0100000001000000000000 00a6f7eaa20700000000000000".replace(" ", ""),
      "hex",
    );
    expect(encodeSeen([7], Buffer.alloc(0))).toEqual(bytes);
    expect(decodeSeen(bytes)).toEqual({ next: [7], digests: [] });
  });

  test("is refused when cut or changed anywhere", () => {
    const bytes = encodeSeen([1, 2 ** 40], Buffer.concat([digest(1), digest(2)]));
    expect(decodeSeen(bytes)).toEqual({ next: [1, 2 ** 40], digests: [digest(1), digest(2)] });
    for (let cut = 0; cut < bytes.length; cut++) expect(decodeSeen(bytes.subarray(0, cut))).toBeNull();
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] ^= 1 << (bit & 7);
      expect(decodeSeen(changed)).toBeNull();
    }
  });

  test("is read back, replaced as a whole, and told to be damaged when it is", async () => {
    const folder = await newFolder();
    expect(await readSeen(nodeFiles, folder)).toEqual({ next: [], digests: [] });
    const seen = new SeenKeys(10);
    seen.add(digest(1));
    await writeSeen(nodeFiles, folder, [5], seen);
    seen.add(digest(2));
    await writeSeen(nodeFiles, folder, [6], seen);
    expect(await readSeen(nodeFiles, folder)).toEqual({ next: [6], digests: [digest(1), digest(2)] });
    const file = path.join(folder, "seen");
    await writeFile(file, (await readFile(file)).subarray(1));
    expect(await readSeen(nodeFiles, folder)).toBeNull();
  });
});
