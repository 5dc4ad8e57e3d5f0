import type { Labels } from "../../core/labels.ts";
import type { Entry } from "../stages/entry.ts";
import { compileValue } from "../stages/label-filter.ts";
import { sortedJson } from "../stages/label-text.ts";
import type { Grouping } from "../syntax/ast.ts";
import type { CellTable } from "./cells.ts";

/** Sets of values that are remembered; ids in a grouping would fill the memory otherwise. */
const KEYS_MAX = 10_000;

/** Finds the series that an entry's sample belongs to. */
export class SeriesKeys {
  private readonly entry: Entry;
  private readonly table: CellTable;
  /** Of a grouping by names: those, and how to get the value of each. Null when series have all labels but `hidden`. */
  private readonly names: readonly string[] | null;
  private readonly values: readonly (() => string | undefined)[];
  private readonly hidden: ReadonlySet<string>;
  private readonly known = new Map<string, number>();
  // What the last line had: the next one mostly has the same.
  private readonly lastValues: (string | undefined)[] = [];
  private lastLabels: Labels | null = null;
  private lastId = -1;

  /** `unwrapped`: the label that became the value, which does not tell series apart unless it is grouped by. */
  constructor(entry: Entry, grouping: Grouping | null, unwrapped: string | null, table: CellTable) {
    this.entry = entry;
    this.table = table;
    this.names = grouping === null || grouping.without ? null : [...new Set(grouping.labels)].sort();
    this.values = (this.names ?? []).map((name) => compileValue(entry, name));
    this.hidden = new Set([...(grouping?.labels ?? []), ...(unwrapped === null ? [] : [unwrapped])]);
  }

  /** The number of the series in the table. `loadLabels` is called here. */
  series(): number {
    this.entry.loadLabels();
    return this.names === null ? this.byAllLabels() : this.byNames(this.names);
  }

  /** Numbers given before are no longer valid: the table was emptied. */
  forget(): void {
    this.known.clear();
    this.lastId = -1;
  }

  private byNames(names: readonly string[]): number {
    const { values, lastValues } = this;
    let isSame = this.lastId !== -1;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]();
      if (value === lastValues[i]) continue;
      lastValues[i] = value;
      isSame = false;
    }
    if (!isSame) {
      const key = lastValues.map((value) => (value === undefined ? "-" : `${value.length}=${value}`)).join("");
      this.lastId = this.idOf(key, () => labelsText(names, lastValues));
    }
    return this.lastId;
  }

  private byAllLabels(): number {
    const labels = this.entry.labels();
    if (labels !== this.lastLabels || this.lastId === -1) {
      this.lastLabels = labels;
      const shown = Object.entries(labels).filter(([name]) => !this.hidden.has(name));
      const text = sortedJson(Object.fromEntries(shown));
      this.lastId = this.idOf(text, () => text);
    }
    return this.lastId;
  }

  private idOf(key: string, text: () => string): number {
    let id = this.known.get(key);
    if (id === undefined) {
      id = this.table.seriesOf(text());
      if (this.known.size >= KEYS_MAX) this.known.clear();
      this.known.set(key, id);
    }
    return id;
  }
}

function labelsText(names: readonly string[], values: readonly (string | undefined)[]): string {
  return sortedJson(
    Object.fromEntries(
      names.flatMap((name, i) => {
        const value = values[i];
        return value === undefined ? [] : [[name, value]];
      }),
    ),
  );
}
