import type { SegmentInput } from "./segment-input.ts";

/** A stream's part in one input. */
export interface StreamPart {
  readonly input: SegmentInput;
  /** The stream's place in the input's index. */
  readonly stream: number;
}

/**
 * The streams of all inputs, in order of their labels' bytes, each with its parts in order of arrival. Compares bytes
 * only: a million labels as strings would take as much memory as everything else.
 */
export class StreamOrder {
  private readonly inputs: readonly SegmentInput[];
  /** How many of its streams each input has given. */
  private readonly given: Uint32Array;
  /** A binary heap of places in `inputs`: the one whose next stream comes first, at equal streams the earlier input. */
  private readonly heap: number[] = [];

  constructor(inputs: readonly SegmentInput[]) {
    this.inputs = inputs;
    this.given = new Uint32Array(inputs.length);
    for (let i = 0; i < inputs.length; i++) if (inputs[i].index.order.length > 0) this.push(i);
  }

  /** The parts of the next stream, or null at the end. */
  next(): StreamPart[] | null {
    if (this.heap.length === 0) return null;
    const first = this.pop();
    const parts: StreamPart[] = [this.take(first)];
    // A part of a broken index may name a stream twice, and its second time it is simply the stream again.
    while (this.heap.length > 0 && this.compareTo(this.heap[0], parts[0]) === 0) parts.push(this.take(this.pop()));
    return parts;
  }

  private take(i: number): StreamPart {
    const input = this.inputs[i];
    const part = { input, stream: input.index.order[this.given[i]++] };
    if (this.given[i] < input.index.order.length) this.push(i);
    return part;
  }

  private compareTo(i: number, { input, stream }: StreamPart): number {
    const { index } = this.inputs[i];
    const mine = index.order[this.given[i]];
    return index.streamBytes.compare(
      input.index.streamBytes,
      input.index.streamStarts[stream],
      input.index.streamEnds[stream],
      index.streamStarts[mine],
      index.streamEnds[mine],
    );
  }

  private isBefore(a: number, b: number): boolean {
    const other = this.inputs[b];
    const order = this.compareTo(a, { input: other, stream: other.index.order[this.given[b]] });
    return order < 0 || (order === 0 && a < b);
  }

  private push(i: number): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(i);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!this.isBefore(i, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = i;
  }

  private pop(): number {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.isBefore(heap[child + 1], heap[child])) child++;
      if (!this.isBefore(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return top;
  }
}
