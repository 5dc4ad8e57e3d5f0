import type { Labels } from "../../core/labels.ts";
import type { Slices } from "../../core/slices.ts";
import { sortedJson } from "../stages/label-text.ts";

/** Series that are worked on before others may have a turn: about a millisecond. */
export const SERIES_AT_ONCE = 256;

/** Series of one operator's result: equal label sets have one number. */
export class SeriesTable {
  readonly labels: Labels[] = [];
  private readonly ids = new Map<string, number>();

  idOf(labels: Labels): number {
    const key = sortedJson(labels);
    const known = this.ids.get(key);
    if (known !== undefined) return known;
    const id = this.labels.length;
    this.ids.set(key, id);
    this.labels.push(labels);
    return id;
  }
}

/** Something worked out once for each series of an operand, at its first use. */
export class PerSeries<T> {
  private readonly known: (T | undefined)[] = [];
  private readonly make: (id: number) => T;

  constructor(make: (id: number) => T) {
    this.make = make;
  }

  /** Works it out for the first `count` series, in slices. */
  async fill(count: number, slices: Slices): Promise<void> {
    for (let id = 0; id < count; id++) {
      this.of(id);
      if (id % SERIES_AT_ONCE === SERIES_AT_ONCE - 1) await slices.turn();
    }
  }

  of(id: number): T {
    const known = this.known[id];
    if (known !== undefined) return known;
    const made = this.make(id);
    this.known[id] = made;
    return made;
  }
}

/** The labels of these names. A label that is not there is not in the outcome either. */
export function keepLabels(labels: Labels, names: ReadonlySet<string>): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => names.has(name)));
}

export function dropLabels(labels: Labels, names: ReadonlySet<string>): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => !names.has(name)));
}

/** Below zero when `a` comes before `b`: by the first name, then the first value that differs, then by number of labels. */
export function compareLabels(a: Labels, b: Labels): number {
  const x = Object.keys(a).sort();
  const y = Object.keys(b).sort();
  for (let i = 0; i < x.length && i < y.length; i++) {
    if (x[i] !== y[i]) return x[i] < y[i] ? -1 : 1;
    if (a[x[i]] !== b[y[i]]) return a[x[i]] < b[y[i]] ? -1 : 1;
  }
  return x.length - y.length;
}
