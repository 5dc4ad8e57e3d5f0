import zlib from "node:zlib";
import { expect, test, vi } from "vitest";
import { Gzipper } from "../../src/store/gzipper.ts";
import { Random, SEED } from "../random.ts";

function gzip(gzipper: Gzipper, text: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    gzipper.compress(text, (error, bytes) => (error === null ? resolve(Buffer.from(bytes)) : reject(error)));
  });
}

test("one text after the other becomes what zlib makes of each by itself, whatever their sizes", async () => {
  const random = new Random(SEED);
  for (const level of [1, 6, 9]) {
    const gzipper = new Gzipper(level, 4096);
    for (let round = 0; round < 60; round++) {
      // Text that shrinks to next to nothing, and such that takes more than all the room that there is for output.
      const size = random.pick([0, 1, 100, 4096, 40_000, 300_000]);
      const text = round % 3 === 0 ? random.bytes(size) : Buffer.alloc(size, "the same line again and again\n");
      const what = `seed ${SEED} level ${level} round ${round}`;
      const bytes = await gzip(gzipper, text);
      expect(bytes.equals(zlib.gzipSync(text, { level })), what).toBe(true);
      expect(zlib.gunzipSync(bytes).equals(text), what).toBe(true);
    }
  }
});

test("an error is told once, and the next text is made as if there had been none", async () => {
  const gzipper = new Gzipper(6, 4096);
  const text = Buffer.from("a line\n");
  await gzip(gzipper, text);
  const reset = vi.spyOn(zlib.Gzip.prototype as unknown as zlib.ZlibReset, "reset").mockImplementationOnce(() => {
    throw new Error("no memory");
  });
  await expect(gzip(gzipper, text)).rejects.toThrow("no memory");
  reset.mockRestore();
  expect(zlib.gunzipSync(await gzip(gzipper, text)).equals(text)).toBe(true);
});
