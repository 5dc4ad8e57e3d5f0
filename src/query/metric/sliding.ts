import type { CellTable } from "./cells.ts";
import type { Kind } from "./kinds.ts";

/**
 * The window of one series as it slides over the intervals: cells come in at its end and leave at its begin, in the order
 * of their intervals.
 */
export interface SlidingWindow {
  /** Cells inside. */
  readonly size: number;
  push(cell: number): void;
  /** The oldest cell leaves. */
  pop(): void;
}

/**
 * For states that can be merged: a queue of two stacks. The front stack holds, for each cell, its state merged with those of all
 * cells behind it; the back one a single state for all of its cells. So every cell is merged twice in all, however much
 * windows overlap, and nothing is ever subtracted, which would lose digits.
 */
export class MergedWindow implements SlidingWindow {
  private readonly table: CellTable;
  private readonly kind: Kind;
  private front: Float64Array = new Float64Array(0);
  private frontSize = 0;
  private readonly back: number[] = [];
  private readonly backState: Float64Array;
  private readonly whole: Float64Array;

  constructor(table: CellTable) {
    this.table = table;
    this.kind = table.kind;
    this.backState = new Float64Array(table.kind.size);
    this.whole = new Float64Array(table.kind.size);
  }

  get size(): number {
    return this.frontSize + this.back.length;
  }

  push(cell: number): void {
    const { kind, table, backState } = this;
    const at = cell * kind.size;
    if (this.back.length === 0) backState.set(table.states.subarray(at, at + kind.size));
    else kind.merge(backState, 0, table.states, at);
    this.back.push(cell);
  }

  pop(): void {
    if (this.frontSize === 0) this.turnOver();
    this.frontSize--;
  }

  /** The state of the whole window, valid until the next call; it is not empty. */
  state(): Float64Array {
    const { kind, front, frontSize, whole } = this;
    if (frontSize === 0) return this.backState;
    whole.set(front.subarray((frontSize - 1) * kind.size, frontSize * kind.size));
    if (this.back.length > 0) kind.merge(whole, 0, this.backState, 0);
    return whole;
  }

  private turnOver(): void {
    const { kind, table, back } = this;
    const { size } = kind;
    if (this.front.length < back.length * size) this.front = new Float64Array(back.length * size * 2);
    for (let i = 0; i < back.length; i++) {
      const cell = back[back.length - 1 - i];
      const at = i * size;
      this.front.set(table.states.subarray(cell * size, (cell + 1) * size), at);
      if (i > 0) kind.merge(this.front, at, this.front, at - size);
    }
    this.frontSize = back.length;
    back.length = 0;
  }
}

/** For samples that are kept: the cells in order. */
export class CellQueue implements SlidingWindow {
  private cells: number[] = [];
  private first = 0;

  get size(): number {
    return this.cells.length - this.first;
  }

  push(cell: number): void {
    this.cells.push(cell);
  }

  pop(): void {
    this.first++;
    if (this.first > 1024 && this.first * 2 > this.cells.length) {
      this.cells = this.cells.slice(this.first);
      this.first = 0;
    }
  }

  *[Symbol.iterator](): Generator<number> {
    for (let i = this.first; i < this.cells.length; i++) yield this.cells[i];
  }
}
