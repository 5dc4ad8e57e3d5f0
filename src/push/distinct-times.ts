/** Seconds since 1970 UTC (floor) and nanoseconds 0 to 999,999,999. */
export interface LineTime {
  readonly sec: number;
  readonly nsec: number;
}

/**
 * Gives the lines of one stream times that differ: one with the time of the line before it, but another text, gets the next
 * nanosecond. A repeated line keeps its time, so that it is still known as one. Source: Loki's `increment_duplicate_timestamp`.
 */
export class DistinctTimes {
  /** The line before: the time that it came with, what it got, and its text. */
  private given: LineTime | null = null;
  private last: LineTime = { sec: 0, nsec: 0 };
  private text: Buffer = Buffer.alloc(0);

  of(time: LineTime, line: Buffer): LineTime {
    let own = time;
    const { given, last } = this;
    if (given !== null && (isSame(time, given) || isSame(time, last)) && !line.equals(this.text)) own = next(last);
    // Behind a line that was moved, what came with the same time as that one still counts as equal.
    else this.given = time;
    this.last = own;
    this.text = line;
    return own;
  }
}

const isSame = (a: LineTime, b: LineTime): boolean => a.sec === b.sec && a.nsec === b.nsec;

const next = ({ sec, nsec }: LineTime): LineTime =>
  nsec === 999_999_999 ? { sec: sec + 1, nsec: 0 } : { sec, nsec: nsec + 1 };
