import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { RepeatWindow } from "../../src/intake/repeat-window.ts";
import { Random } from "../forward/random.ts";

const id = (of: number) => createHash("sha256").update(String(of)).digest().subarray(0, 16);

/** The same, in the plainest way. */
function plain(bounds: { entries: number; max: number }) {
  let seen: { of: number; offset: number }[] = [];
  return (of: number, offset: number) => {
    const last = seen.find((one) => one.of === of);
    seen = seen.filter((one) => one.of !== of);
    seen.push({ of, offset });
    seen = seen.filter((one) => offset - one.offset <= bounds.entries).slice(-bounds.max);
    return last !== undefined && offset - last.offset <= bounds.entries;
  };
}

test("a window says what the plainest one says, over many things seen once, twice and again and again", () => {
  const random = new Random();
  console.log(`repeat window: WEIR_TEST_SEED=${random.seed}`);
  for (let round = 0; round < 6; round++) {
    const bounds = { entries: 20 + random.next(200), max: 5 + random.next(100) };
    const few = 1 + random.next(400);
    const window = new RepeatWindow(bounds);
    const want = plain(bounds);
    let offset = 0;
    for (let i = 0; i < 5000; i++) {
      offset += random.next(3);
      const of = random.next(few);
      expect(window.see(id(of), offset)).toBe(want(of, offset));
      expect(window.size).toBeLessThanOrEqual(bounds.max);
      if (i % 1000 !== 999) continue;
      const copy = new RepeatWindow(bounds);
      copy.load(window.dump());
      expect(copy.dump().equals(window.dump())).toBe(true);
    }
  }
});
