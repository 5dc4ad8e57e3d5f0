import type { Kind, SamplePlace } from "./kinds.ts";

/** Rough memory of a series beside its text: an entry of a map, and what evaluation keeps of it. */
const SERIES_BYTES = 200;
const FIRST_CELLS = 256;

/**
 * Partial results of one range aggregation as they cross threads: for each cell (a series in an interval) its state, and
 * the samples that are kept beside it. Flat arrays, so that they are transferred rather than copied.
 */
export interface PackedCells {
  /** The series, each as the JSON of its labels, names sorted. */
  readonly texts: readonly string[];
  /** For each cell its series, as a place in `texts`, and its interval. */
  readonly series: Uint32Array<ArrayBuffer>;
  readonly interval: Uint32Array<ArrayBuffer>;
  /** `Kind.size` numbers a cell. */
  readonly states: Float64Array<ArrayBuffer>;
  readonly kept: PackedSamples | null;
}

/** Samples: the cell of each, its value, and for `timed` its place; those arrays are empty for `values`. */
export interface PackedSamples {
  readonly cell: Uint32Array<ArrayBuffer>;
  readonly value: Float64Array<ArrayBuffer>;
  readonly sec: Float64Array<ArrayBuffer>;
  readonly nsec: Uint32Array<ArrayBuffer>;
  readonly order: Float64Array<ArrayBuffer>;
  readonly row: Uint32Array<ArrayBuffer>;
}

/** The buffers of `packed`, for the transfer list of `postMessage`. */
export function cellBuffers({ series, interval, states, kept }: PackedCells): ArrayBuffer[] {
  const own = [series.buffer, interval.buffer, states.buffer];
  if (kept === null) return own;
  return [...own, ...Object.values(kept).map((array: PackedSamples[keyof PackedSamples]) => array.buffer)];
}

/**
 * Collects samples, or partial results of others, into cells. A series and an interval have one cell; only cells that hold
 * something take memory, so a query over a year with few samples is as small as one over an hour.
 */
export class CellTable {
  readonly kind: Kind;
  /** The series in the order in which they came. */
  texts: string[] = [];
  count = 0;
  series: Uint32Array<ArrayBuffer> = new Uint32Array(FIRST_CELLS);
  interval: Uint32Array<ArrayBuffer> = new Uint32Array(FIRST_CELLS);
  states: Float64Array<ArrayBuffer>;
  readonly kept: SampleList | null;
  private ids = new Map<string, number>();
  private textChars = 0;
  /** For each series the cell that was found last: samples that follow each other mostly share it. */
  private last: number[] = [];
  /** Open addressing: 1 + the cell, 0 for a free place. */
  private places = new Int32Array(FIRST_CELLS * 2);

  constructor(kind: Kind) {
    this.kind = kind;
    this.states = new Float64Array(FIRST_CELLS * kind.size);
    this.kept = kind.keeps === "nothing" ? null : new SampleList(kind.keeps === "timed");
  }

  /** Bytes that this holds in memory, about. */
  get bytes(): number {
    const cells = this.series.byteLength * 2 + this.states.byteLength + this.places.byteLength;
    return this.texts.length * SERIES_BYTES + this.textChars * 2 + cells + (this.kept?.bytes ?? 0);
  }

  /** The number of a series, given one at its first use. */
  seriesOf(text: string): number {
    const known = this.ids.get(text);
    if (known !== undefined) return known;
    const id = this.texts.length;
    this.ids.set(text, id);
    this.texts.push(text);
    this.textChars += text.length;
    this.last.push(-1);
    return id;
  }

  /** Takes one sample in. */
  add(series: number, interval: number, value: number, place: SamplePlace): void {
    const { kind } = this;
    const before = this.count;
    const cell = this.cell(series, interval);
    if (cell === before) kind.start(this.states, cell * kind.size, value, place);
    else kind.add(this.states, cell * kind.size, value, place);
    this.kept?.add(cell, value, place);
  }

  /** Adds to a count or a sum; only where the state is one number. */
  addSum(series: number, interval: number, value: number): void {
    const before = this.count;
    const cell = this.cell(series, interval);
    if (cell === before) this.states[cell] = value;
    else this.states[cell] += value;
  }

  /** Merges the cells [from, to) of `packed`; `ids` gives the number of each of its series here. */
  merge(packed: PackedCells, ids: Uint32Array, from: number, to: number, cells: Uint32Array): void {
    const { kind } = this;
    const { size } = kind;
    for (let i = from; i < to; i++) {
      const before = this.count;
      const cell = this.cell(ids[packed.series[i]], packed.interval[i]);
      cells[i] = cell;
      if (cell !== before) kind.merge(this.states, cell * size, packed.states, i * size);
      else for (let n = 0; n < size; n++) this.states[cell * size + n] = packed.states[i * size + n];
    }
  }

  /** Everything collected since the last call, null for nothing. Leaves this empty. */
  take(): PackedCells | null {
    const { count, texts, series, interval, states, kept, kind } = this;
    if (count === 0) return null;
    this.texts = [];
    this.ids = new Map();
    this.last = [];
    this.textChars = 0;
    this.count = 0;
    this.places.fill(0);
    return {
      texts,
      series: series.slice(0, count),
      interval: interval.slice(0, count),
      states: states.slice(0, count * kind.size),
      kept: kept?.take() ?? null,
    };
  }

  /** The cell of a series and interval; a new one is the one with number `count` as it was before. */
  private cell(series: number, interval: number): number {
    const last = this.last[series];
    if (last !== -1 && this.interval[last] === interval) return last;
    const cell = this.find(series, interval);
    this.last[series] = cell;
    return cell;
  }

  private find(series: number, interval: number): number {
    const mask = this.places.length - 1;
    let at = hash(series, interval) & mask;
    for (let cell = this.places[at] - 1; cell >= 0; cell = this.places[at] - 1) {
      if (this.interval[cell] === interval && this.series[cell] === series) return cell;
      at = (at + 1) & mask;
    }
    if (this.count === this.series.length) this.grow();
    const cell = this.count++;
    this.series[cell] = series;
    this.interval[cell] = interval;
    this.place(cell);
    return cell;
  }

  private place(cell: number): void {
    const mask = this.places.length - 1;
    let at = hash(this.series[cell], this.interval[cell]) & mask;
    while (this.places[at] !== 0) at = (at + 1) & mask;
    this.places[at] = cell + 1;
  }

  private grow(): void {
    this.series = larger(this.series);
    this.interval = larger(this.interval);
    this.states = larger(this.states);
    this.places = new Int32Array(this.series.length * 2);
    for (let cell = 0; cell < this.count; cell++) this.place(cell);
  }
}

function hash(series: number, interval: number): number {
  let h = Math.imul(series + 1, 0x9e3779b1) ^ Math.imul(interval + 1, 0x85ebca6b);
  h ^= h >>> 15;
  return Math.imul(h, 0x2c1b3c6d) ^ (h >>> 13);
}

/** Samples one by one, each with its cell. */
export class SampleList {
  readonly isTimed: boolean;
  count = 0;
  cell: Uint32Array<ArrayBuffer> = new Uint32Array(FIRST_CELLS);
  value: Float64Array<ArrayBuffer> = new Float64Array(FIRST_CELLS);
  sec: Float64Array<ArrayBuffer>;
  nsec: Uint32Array<ArrayBuffer>;
  order: Float64Array<ArrayBuffer>;
  row: Uint32Array<ArrayBuffer>;

  constructor(timed: boolean) {
    this.isTimed = timed;
    const places = timed ? FIRST_CELLS : 0;
    this.sec = new Float64Array(places);
    this.nsec = new Uint32Array(places);
    this.order = new Float64Array(places);
    this.row = new Uint32Array(places);
  }

  get bytes(): number {
    return this.cell.length * (this.isTimed ? 36 : 12);
  }

  add(cell: number, value: number, place: SamplePlace): void {
    const at = this.count++;
    if (at === this.cell.length) this.grow();
    this.cell[at] = cell;
    this.value[at] = value;
    if (!this.isTimed) return;
    this.sec[at] = place.sec;
    this.nsec[at] = place.nsec;
    this.order[at] = place.order;
    this.row[at] = place.row;
  }

  /** Appends samples whose cell i is cells[i] here. */
  append(packed: PackedSamples, cells: Uint32Array): void {
    const { cell, value, sec, nsec, order, row } = packed;
    const from = this.count;
    while (this.cell.length < from + cell.length) this.grow();
    for (let i = 0; i < cell.length; i++) this.cell[from + i] = cells[cell[i]];
    this.value.set(value, from);
    if (this.isTimed) {
      this.sec.set(sec, from);
      this.nsec.set(nsec, from);
      this.order.set(order, from);
      this.row.set(row, from);
    }
    this.count += cell.length;
  }

  take(): PackedSamples {
    const { count, isTimed } = this;
    this.count = 0;
    const places = isTimed ? count : 0;
    return {
      cell: this.cell.slice(0, count),
      value: this.value.slice(0, count),
      sec: this.sec.slice(0, places),
      nsec: this.nsec.slice(0, places),
      order: this.order.slice(0, places),
      row: this.row.slice(0, places),
    };
  }

  private grow(): void {
    this.cell = larger(this.cell);
    this.value = larger(this.value);
    this.sec = larger(this.sec);
    this.nsec = larger(this.nsec);
    this.order = larger(this.order);
    this.row = larger(this.row);
  }
}

type Numbers = Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** A copy of twice the length. */
function larger<T extends Numbers>(array: T): T {
  const copy = array instanceof Uint32Array ? new Uint32Array(array.length * 2) : new Float64Array(array.length * 2);
  copy.set(array);
  return copy as T;
}
