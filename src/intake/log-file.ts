/** One file of a partition, as the process knows it. */
export interface LogFile {
  readonly path: string;
  readonly first: number;
  mark: number;
  /** Offset after the last entry that counts. */
  next: number;
  /** Bytes that count: up to the end of the last durable entry. 0 when the file couldn't be read yet. */
  end: number;
  /** Pairs of offset and position, one for about each MiB, so that a reader can begin near any offset. */
  readonly index: number[];
}

const INDEX_STEP_BYTES = 1 << 20;

/** Notes where `offset` is, unless the last note is near. */
export function noteEntry(file: LogFile, offset: number, position: number): void {
  const { index } = file;
  if (index.length === 0 || position - index[index.length - 1] >= INDEX_STEP_BYTES) index.push(offset, position);
}

/** The last noted position whose entry is not behind `offset`, or null when nothing is noted before it. */
export function positionNear(file: LogFile, offset: number): number | null {
  let low = 0;
  let high = file.index.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (file.index[middle * 2] <= offset) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? null : file.index[low * 2 - 1];
}
