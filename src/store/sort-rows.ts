/**
 * The rows 0 to rows - 1 in order of time, equal times in order of row; a natural merge sort, because a block that
 * several agents fed consists of a few runs that are each in order.
 */
export function sortRows(sec: Float64Array, nsec: Uint32Array, rows: number): Uint32Array {
  let from = new Uint32Array(rows);
  const ends: number[] = [];
  for (let i = 0; i < rows; i++) {
    from[i] = i;
    if (i > 0 && isBefore(sec, nsec, i, i - 1)) ends.push(i);
  }
  ends.push(rows);
  let to = new Uint32Array(rows);
  while (ends.length > 1) {
    let start = 0;
    let kept = 0;
    for (let r = 0; r < ends.length; r += 2) {
      const middle = ends[r];
      const end = r + 1 < ends.length ? ends[r + 1] : middle;
      merge(sec, nsec, from, to, start, middle, end);
      ends[kept++] = end;
      start = end;
    }
    ends.length = kept;
    [from, to] = [to, from];
  }
  return from;
}

function isBefore(sec: Float64Array, nsec: Uint32Array, a: number, b: number): boolean {
  return sec[a] < sec[b] || (sec[a] === sec[b] && nsec[a] < nsec[b]);
}

/** Merges the runs from[start, middle) and from[middle, end) into `to`; of equal rows the left run's comes first. */
function merge(
  sec: Float64Array,
  nsec: Uint32Array,
  from: Uint32Array,
  to: Uint32Array,
  start: number,
  middle: number,
  end: number,
): void {
  let left = start;
  let right = middle;
  for (let at = start; at < end; at++) {
    const takeRight = left === middle || (right < end && isBefore(sec, nsec, from[right], from[left]));
    to[at] = takeRight ? from[right++] : from[left++];
  }
}
