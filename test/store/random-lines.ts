import { ID_BYTES, ID_SLOTS, type SharedMetadata } from "../../src/core/line.ts";
import type { Random } from "../random.ts";
import { idTextOf, NO_SHARED, type TestLine, testLine } from "./support.ts";

const NASTY = [
  Buffer.alloc(0),
  Buffer.from("\n"),
  Buffer.from("\n\n\n"),
  Buffer.from("a\nb"),
  Buffer.from("\r"),
  Buffer.from("windows\r\n"),
  Buffer.from("nul\0nul"),
  Buffer.from("fffefdc3", "hex"),
  Buffer.from("1f8b0804", "hex"),
  Buffer.from("žluťoučký kůň 🐎"),
];
const WORDS = ["GET", "/api", "timeout", "error", "ok", "user=7", "{", "}", '"a":1', "retry"];
const NAMES = ["pod", "path", "user agent", "detected_level", "trace_id", "__proto__", "", "žluť"];
const VALUES = ["", "a", "web-1", "web-2", "GET /", "x".repeat(300), "žluť\n\0"];
const LEVELS = ["", "", "info", "warn", "error", "debug", "trace", "unknown"];

/** How the lines of one stream are; each stream of a test draws another. */
export interface Habit {
  readonly newlines: boolean;
  readonly order: "in order" | "runs" | "random" | "equal";
  readonly unitNs: number;
  readonly ids: "none" | "in line" | "raw" | "mixed";
  readonly shared: readonly SharedMetadata[];
  readonly extras: number;
  readonly sec: number;
}

export function drawHabit(random: Random): Habit {
  return {
    newlines: random.chance(0.3),
    order: random.pick(["in order", "runs", "random", "equal"]),
    unitNs: random.pick([1, 1_000, 1_000_000, 1_000_000_000]),
    ids: random.pick(["none", "in line", "raw", "mixed"]),
    shared: Array.from({ length: random.below(12) }, (_, i) => ({
      pairs: [
        ["pod", `web-${i}`],
        ["node", `node-${i % 3}`],
      ],
    })),
    extras: random.below(4),
    sec: random.pick([
      1_700_000_000, 0, -5_000_000_000, 253_402_300_799, 9_000_000_000_000_000, -9_000_000_000_000_000,
    ]),
  };
}

function drawTime(random: Random, habit: Habit, i: number): { sec: number; nsec: number } {
  const nsec = Math.floor(random.below(1_000_000_000) / habit.unitNs) * habit.unitNs;
  if (habit.order === "equal") return { sec: habit.sec, nsec: 0 };
  if (habit.order === "in order") return { sec: habit.sec + i, nsec };
  if (habit.order === "runs") return { sec: habit.sec + (i % 40), nsec };
  return {
    sec: habit.sec + random.pick([random.below(5), random.below(100_000), random.below(700_000_000_000)]),
    nsec,
  };
}

export function drawLine(
  random: Random,
  habit: Habit,
  labels: TestLine["labels"],
  tenant: string,
  i: number,
): TestLine {
  let bytes: Buffer = random.chance(0.1)
    ? random.pick(NASTY)
    : Buffer.from(Array.from({ length: random.below(12) }, () => random.pick(WORDS)).join(" "));
  if (random.chance(0.02)) bytes = random.bytes(random.below(3000));
  if (!habit.newlines) bytes = Buffer.from(bytes.filter((byte) => byte !== 0x0a));
  const ids: TestLine["ids"][number][] = [];
  for (let slot = 0; slot < ID_SLOTS; slot++) {
    const has = habit.ids !== "none" && (habit.ids !== "mixed" || random.chance(0.6)) && slot !== 2;
    if (!has) {
      ids.push(null);
      continue;
    }
    const id = random.chance(0.2) ? Buffer.alloc(ID_BYTES[slot], random.below(4)) : random.bytes(ID_BYTES[slot]);
    const inLine = habit.ids === "in line" || (habit.ids === "mixed" && random.chance(0.5));
    ids.push({ id, at: inLine ? bytes.length + 4 : -1 });
    if (inLine) bytes = Buffer.concat([bytes, Buffer.from(` id=${idTextOf(slot, id)}`)]);
  }
  if (random.chance(0.3)) bytes = Buffer.concat([bytes, Buffer.from(" tail".repeat(random.below(3)))]);
  const extra = Array.from({ length: random.below(habit.extras + 1) }, (): [string, string] => [
    random.pick(NAMES),
    random.chance(0.3) ? random.u32().toString(36) : random.pick(VALUES),
  ]);
  return testLine(bytes, {
    tenant,
    labels,
    ...drawTime(random, habit, i),
    shared: habit.shared.length === 0 ? NO_SHARED : random.pick(habit.shared),
    level: random.pick(LEVELS),
    ids,
    extra,
  });
}
