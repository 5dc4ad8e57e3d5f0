import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { RepeatWindow } from "../../src/intake/repeat-window.ts";
import { WindowRoom } from "../../src/intake/window-room.ts";
import { Random } from "../random.ts";

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
  for (let round = 0; round < 6; round++) {
    const bounds = { entries: 20 + random.below(200), max: 5 + random.below(100) };
    const few = 1 + random.below(400);
    const window = new RepeatWindow(bounds);
    const want = plain(bounds);
    let offset = 0;
    for (let i = 0; i < 5000; i++) {
      offset += random.below(3);
      const of = random.below(few);
      expect(window.see(id(of), offset)).toBe(want(of, offset));
      expect(window.size).toBeLessThanOrEqual(bounds.max);
      if (i % 1000 !== 999) continue;
      const copy = new RepeatWindow(bounds);
      copy.load(window.dump());
      expect(copy.dump().equals(window.dump())).toBe(true);
    }
  }
});

test("windows that share a room stay within it, and each knows what it saw lately, however the others are", () => {
  const random = new Random();
  for (let round = 0; round < 6; round++) {
    const count = 1 + random.below(8);
    const things = count * (8 + random.below(60));
    const bounds = { entries: 400, max: 5 + random.below(300) };
    let forgotten = 0;
    let fulls = 0;
    const counter = {
      inc: (by = 1) => {
        forgotten += by;
      },
    };
    const room = new WindowRoom(things * 200, counter, () => {
      fulls++;
    });
    const share = Math.floor(Math.floor((things / count) * 7) / 8) - 1;
    const windows = Array.from({ length: count }, () => ({
      window: new RepeatWindow(bounds, room),
      alone: plain(bounds),
      least: plain({ ...bounds, max: Math.min(bounds.max, share) }),
      offset: 0,
    }));
    const few = 1 + random.below(400);
    let known = 0;
    for (let i = 0; i < 3000; i++) {
      // Some are busier than others.
      const one = windows[Math.min(random.below(count), random.below(count))];
      one.offset += random.below(3);
      const of = random.below(few);
      const isRepeat = one.window.see(id(of), one.offset);
      // Never what was not there, and at least what stands in its share.
      const [most, least] = [one.alone(of, one.offset), one.least(of, one.offset)];
      expect(isRepeat, `seed ${random.seed}`).toBe(isRepeat ? most : least);
      if (isRepeat) known++;
      const sum = windows.reduce((all, { window }) => all + window.size, 0);
      expect(room.size).toBe(sum);
      expect(sum).toBeLessThanOrEqual(things);
    }
    expect(known).toBeGreaterThan(0);
    expect(fulls).toBe(forgotten === 0 ? 0 : 1);
    windows[0].window.clear();
    expect(windows[0].window.size).toBe(0);
    for (const { window } of windows) window.leaveRoom();
    expect(room.size).toBe(0);
    // What has left changes nothing any more.
    windows[0].window.see(id(1), 1e6);
    expect(room.size).toBe(0);
  }
});
