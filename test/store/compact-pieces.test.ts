import { describe, expect, test } from "vitest";
import { type PieceOptions, planPieces, type StreamBlock } from "../../src/store/compact/pieces.ts";
import type { SegmentInput } from "../../src/store/compact/segment-input.ts";
import { Random, SEED } from "../random.ts";

const OPTIONS: PieceOptions = { fullTextBytes: 100, fullBytes: 1000, groupTextBytes: 300, groupRows: 1000 };

/** A block of text bytes from one second to another; `at` names it. Only what planning looks at is there. */
interface Draft {
  readonly from: number;
  readonly to: number;
  readonly text?: number;
  readonly length?: number;
  readonly rows?: number;
  readonly dropped?: boolean;
}

const NOBODY = {} as unknown as SegmentInput; // Planning never asks an input for anything.

function blocksOf(drafts: readonly Draft[]): StreamBlock[] {
  return drafts.map(({ from, to, text = 10, length = 20, rows = 1, dropped = false }, block) => ({
    input: NOBODY,
    block,
    rows,
    textBytes: text,
    length,
    minSec: from,
    minNsec: 0,
    maxSec: to,
    maxNsec: 0,
    drops: dropped ? new Uint8Array(rows) : null,
  }));
}

/** `=2` a copy of block 2, `0+1,3` the rows of 0 and 1 sorted together, then those of 3. */
const textOf = (drafts: readonly Draft[], options: Partial<PieceOptions> = {}) =>
  planPieces(blocksOf(drafts), { ...OPTIONS, ...options }).map((piece) =>
    piece.kind === "copy"
      ? `=${piece.block.block}`
      : piece.groups.map((group) => group.map(({ block }) => block).join("+")).join(","),
  );

describe("what becomes of a stream's blocks", () => {
  test.each<{ name: string; blocks: Draft[]; want: string[] }>([
    { name: "a block alone is copied", blocks: [{ from: 1, to: 2 }], want: ["=0"] },
    {
      name: "small ones that follow each other are merged",
      blocks: [
        { from: 1, to: 2 },
        { from: 3, to: 4 },
      ],
      want: ["0,1"],
    },
    {
      name: "a full one between them is copied",
      blocks: [
        { from: 1, to: 2 },
        { from: 3, to: 4 },
        { from: 5, to: 6, text: 100 },
        { from: 7, to: 8 },
      ],
      want: ["0,1", "=2", "=3"],
    },
    {
      name: "one with a full header is copied",
      blocks: [
        { from: 1, to: 2, length: 1000 },
        { from: 3, to: 4 },
      ],
      want: ["=0", "=1"],
    },
    {
      name: "one of which rows go is written anew, though it is full and alone",
      blocks: [{ from: 1, to: 2, text: 100, dropped: true }],
      want: ["0"],
    },
    {
      name: "overlapping ones are sorted together",
      blocks: [
        { from: 1, to: 5 },
        { from: 3, to: 9, text: 100 },
      ],
      want: ["0+1"],
    },
    {
      name: "ends may meet in order of arrival",
      blocks: [
        { from: 1, to: 5 },
        { from: 5, to: 9 },
      ],
      want: ["0,1"],
    },
    {
      name: "but not against it",
      blocks: [
        { from: 5, to: 9 },
        { from: 1, to: 5 },
      ],
      want: ["0+1"],
    },
    {
      name: "overlap by way of another",
      blocks: [
        { from: 1, to: 3 },
        { from: 5, to: 7 },
        { from: 2, to: 6 },
        { from: 8, to: 9 },
      ],
      want: ["0+1+2,3"],
    },
    {
      name: "times come before arrival",
      blocks: [
        { from: 8, to: 9 },
        { from: 1, to: 3 },
      ],
      want: ["1,0"],
    },
    {
      name: "too many that overlap stay in order of arrival, full ones as they are",
      blocks: [
        { from: 1, to: 9 },
        { from: 1, to: 9 },
        { from: 1, to: 9, text: 250 },
        { from: 1, to: 9, text: 60 },
        { from: 1, to: 9 },
        { from: 10, to: 11 },
      ],
      want: ["0+1", "=2", "3+4", "=5"],
    },
    {
      name: "and small ones among them in pieces that fit",
      blocks: Array.from({ length: 7 }, () => ({ from: 1, to: 9, text: 90 })),
      want: ["0+1+2", "3+4+5", "=6"],
    },
  ])("$name", ({ blocks, want }) => {
    expect(textOf(blocks)).toEqual(want);
  });

  test("rows count as well as text", () => {
    const blocks = Array.from({ length: 3 }, () => ({ from: 1, to: 9, rows: 600 }));
    expect(textOf(blocks)).toEqual(["=0", "=1", "=2"]);
  });

  test("keeps every block once, and the order of arrival wherever times meet", () => {
    const random = new Random(SEED);
    for (let round = 0; round < 3000; round++) {
      const drafts = Array.from({ length: 1 + random.below(8) }, (): Draft => {
        const from = random.below(12);
        return { from, to: from + random.below(4), text: random.pick([10, 60, 100, 200]), dropped: random.chance(0.1) };
      });
      const pieces = planPieces(blocksOf(drafts), OPTIONS);
      // Blocks of one group are sorted by row, so only what stands in different places counts.
      const places = pieces.flatMap((piece): StreamBlock[][] =>
        piece.kind === "copy" ? [[piece.block]] : piece.groups,
      );
      const seen = places.flat().map(({ block }) => block);
      expect([...seen].sort((a, b) => a - b)).toEqual(drafts.map((_, i) => i));
      places.forEach((earlier, i) => {
        for (const later of places.slice(i + 1).flat()) {
          for (const block of earlier) {
            const meet = block.minSec <= later.maxSec && later.minSec <= block.maxSec;
            if (meet) expect(block.block, JSON.stringify(drafts)).toBeLessThan(later.block);
          }
        }
      });
      // In a piece that goes into the same blocks, groups follow each other in time.
      for (const piece of pieces) {
        if (piece.kind === "copy") continue;
        piece.groups.slice(1).forEach((group, i) => {
          const end = Math.max(...piece.groups[i].map(({ maxSec }) => maxSec));
          for (const { minSec } of group) expect(minSec).toBeGreaterThanOrEqual(end);
        });
      }
    }
  });
});
