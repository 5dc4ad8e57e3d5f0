import type { Entry } from "./entry.ts";

/**
 * Tells when a parser need not read a line any further: each of the wanted labels either has been found, and of equal keys the
 * first counts, or can't come from a parser at all, since the stream or the metadata has the name.
 */
export class AllFound {
  private readonly entry: Entry;
  private readonly wanted: readonly { readonly id: number; readonly mayBeTaken: boolean }[];

  constructor(entry: Entry, wanted: ReadonlySet<string>) {
    this.entry = entry;
    this.wanted = [...wanted].map((name) => ({
      id: entry.reserve(name),
      // A name ending so can be the place of another label's value, whoever has it now.
      mayBeTaken: !name.endsWith("_extracted"),
    }));
  }

  /** `loadLabels` has been called. Errors are never found, so who wants them has every line read to its end. */
  isDone(): boolean {
    const { entry } = this;
    for (const { id, mayBeTaken } of this.wanted) {
      if (entry.isParsed(id)) continue;
      if (!mayBeTaken || !(entry.isStreamName(id) || entry.isMetadata(id))) return false;
    }
    return true;
  }
}
