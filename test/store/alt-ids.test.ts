import { describe, expect, test } from "vitest";
import { TRACE_ID } from "../../src/core/line.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { parseBlock } from "../../src/store/block-view.ts";
import { altTest } from "../../src/store/id-alt.ts";
import { OpenBlockView } from "../../src/store/open-view.ts";
import { Random, SEED } from "../random.ts";
import {
  NO_IDS,
  openBlock,
  rowsOf,
  sealBlock,
  streamOf,
  type TestLine,
  TestStore,
  testLine,
  throughBlocks,
} from "./support.ts";

const hex = (random: Random, bytes = 16) => random.bytes(bytes).toString("hex");
const low8Of = (id: string) => Buffer.from(id.slice(-16), "hex");

/** A line of the trace `own`, or of none, that names the traces `others` too. */
function lineOf(text: string, own: string | null, others: readonly string[], more: Partial<TestLine> = {}): TestLine {
  return testLine(text, {
    ids: own === null ? NO_IDS : [{ id: Buffer.from(own, "hex"), at: -1 }, null, null, null],
    extra: others.length === 0 ? [] : [["trace_id_alt", others.join(",")]],
    ...more,
  });
}

interface Drawn {
  readonly line: TestLine;
  readonly ids: readonly string[];
}

/** Lines with none to five trace ids; some ids occur in many lines, on either place. */
function drawLines(random: Random, count: number): Drawn[] {
  const common = Array.from({ length: 5 }, () => hex(random));
  return Array.from({ length: count }, (_, i) => {
    const ids = Array.from({ length: random.below(6) }, () => (random.chance(0.3) ? random.pick(common) : hex(random)));
    const own = ids.length > 0 && random.chance(0.9) ? ids[0] : null;
    const others = own === null ? ids : ids.slice(1);
    return { line: lineOf(`line ${i}`, own, others, { sec: 1_700_000_000 + random.below(50), nsec: i }), ids };
  });
}

const wantedIds = (drawn: readonly Drawn[]) => [...new Set(drawn.flatMap(({ ids }) => ids))];

function textsWith(drawn: readonly Drawn[], id: string): string[] {
  return drawn
    .filter(({ ids }) => ids.includes(id))
    .map(({ line }) => line.bytes.toString())
    .sort();
}

describe("further trace ids of a line", () => {
  test("are found as a look at each row finds them, in an open block and in one that was read", () => {
    const random = new Random(SEED);
    for (let round = 0; round < 10; round++) {
      const drawn = drawLines(random, 1 + random.below(120));
      const { block, taken } = openBlock(drawn.map(({ line }) => line));
      expect(taken).toBe(drawn.length);
      const stream = drawn[0].line;
      const views = [OpenBlockView.of(streamOf(stream), block), parseBlock(sealBlock(block, stream))];
      for (const view of views) {
        const rows = rowsOf(view);
        for (const id of wantedIds(drawn)) {
          const found = view.rowsWithId(TRACE_ID, low8Of(id));
          expect(found, `seed ${SEED}`).toEqual([...new Set(found)].sort((a, b) => a - b));
          expect(found.map((row) => rows[row].line).sort(), `seed ${SEED}`).toEqual(textsWith(drawn, id));
        }
        expect(view.rowsWithId(TRACE_ID, random.bytes(8))).toEqual([]);
      }
    }
  });

  test("are in the filters of pending blocks and of segments, also of those that another process wrote", async () => {
    const random = new Random(SEED);
    const drawn = drawLines(random, 400);
    const objects = new MemoryStore();
    const first = await TestStore.open(objects, { block_bytes: 1024 });
    first.append(drawn.map(({ line }) => line));
    await first.writer.flush(1);
    const second = await TestStore.open(objects);
    let skipped = 0;
    for (const id of wantedIds(drawn)) {
      const found: string[] = [];
      for (const segment of second.catalog.tail()) {
        const index = await second.reader.index(segment);
        for (const [i, info] of index.blocks.entries()) {
          if (!index.mayHoldId(i, TRACE_ID, low8Of(id))) {
            skipped++;
            continue;
          }
          const view = await second.reader.openBlock(segment, info);
          expect(view.ids.slots & 1).toBe(1);
          const rows = rowsOf(view);
          found.push(...view.rowsWithId(TRACE_ID, low8Of(id)).map((row) => rows[row].line));
        }
      }
      expect(found.sort(), `seed ${SEED}`).toEqual(textsWith(drawn, id));
    }
    expect(skipped).toBeGreaterThan(0);
  });

  test("say that a block has trace ids although no line has one of its own", () => {
    const other = "463ac35c9f6413ad48485a3953bb6124";
    const [view] = throughBlocks([lineOf("x", null, [other]), lineOf("y", null, [])]).views;
    expect(view.rowsWithId(TRACE_ID, low8Of(other))).toEqual([0]);
  });

  test("fit in the header however many there are", () => {
    const random = new Random(SEED);
    const lines = Array.from({ length: 5000 }, (_, i) =>
      lineOf(`${i}`, hex(random), [hex(random), hex(random), hex(random), hex(random)], { nsec: i }),
    );
    const { views, bytes } = throughBlocks(lines);
    expect(views.reduce((sum, { rows }) => sum + rows, 0)).toBe(lines.length);
    // The bound on a header's bytes holds the ids' share of the filter, so none has to overflow into a member in front.
    for (const block of bytes) expect(block.toString("latin1", 12, 14)).toBe("WB");
    const wanted = lines[4321].extra[0][1].split(",");
    for (const id of wanted) {
      expect(
        views.flatMap((view) => view.rowsWithId(TRACE_ID, low8Of(id)).map((row) => rowsOf(view)[row].line)),
      ).toEqual(["4321"]);
    }
  });

  test.each([
    { name: "the only one", value: "463ac35c9f6413ad48485a3953bb6124", has: true },
    {
      name: "the last of several",
      value: "0af7651916cd43dd8448eb211c80319c,463ac35c9f6413ad48485a3953bb6124",
      has: true,
    },
    { name: "in the middle of another", value: "ac35c9f6413ad48485a3953bb6124000", has: false },
    { name: "the end of a longer one", value: "00463ac35c9f6413ad48485a3953bb6124", has: false },
    { name: "16 digits alone", value: "48485a3953bb6124", has: false },
    { name: "nothing", value: "", has: false },
  ])("tells an id in a list: $name", ({ value, has }) => {
    expect(altTest(low8Of("463ac35c9f6413ad48485a3953bb6124"))(value)).toBe(has);
  });
});
