import { type JsonTree, putIn, takeOut } from "./json.ts";

interface Edit {
  readonly from: readonly string[];
  /** null: dropped. */
  readonly to: readonly string[] | null;
}

/**
 * What `rename` and `drop` steps did to the names of fields so far. A path that is written in a later step is turned
 * into the paths at which the value stood when it arrived, once, when the pipeline is compiled: records themselves are
 * not changed, but where one becomes JSON.
 */
export class FieldNames {
  private readonly edits: readonly Edit[];

  constructor(edits: readonly Edit[] = []) {
    this.edits = edits;
  }

  /** How many edits there are: fields that come now are met by those after them only. */
  get count(): number {
    return this.edits.length;
  }

  renamed(from: readonly string[], to: readonly string[]): FieldNames {
    return new FieldNames([...this.edits, { from, to }]);
  }

  dropped(path: readonly string[]): FieldNames {
    return new FieldNames([...this.edits, { from: path, to: null }]);
  }

  /**
   * Where to look for what a path means now, in fields that were there before edit number `since`: nowhere for a
   * dropped field, in two places for a name that another field got.
   */
  resolve(segments: readonly string[], since = 0): (readonly string[])[] {
    let found: (readonly string[])[] = [segments];
    for (const { from, to } of this.edits.slice(since).reverse()) {
      found = found.flatMap((place) => {
        if (to !== null && startsWith(place, to)) return [[...from, ...place.slice(to.length)], place];
        return startsWith(place, from) ? [] : [place];
      });
    }
    return found;
  }

  /** The name that a top-level field has now, or null when it is gone. */
  nameOf(key: string): string | null {
    let name: readonly string[] = [key];
    for (const { from, to } of this.edits) {
      if (!startsWith(name, from)) continue;
      if (to === null) return null;
      name = to;
    }
    return name.join(".");
  }

  /** Does to a record what the steps say, in their order. */
  apply(tree: JsonTree): void {
    for (const { from, to } of this.edits) {
      const value = takeOut(tree, from);
      if (value !== undefined && to !== null) putIn(tree, to, value);
    }
  }
}

function startsWith(segments: readonly string[], prefix: readonly string[]): boolean {
  return prefix.length <= segments.length && prefix.every((segment, i) => segments[i] === segment);
}
