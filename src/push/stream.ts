import type { Labels } from "../core/labels.ts";

/** Names and values in the order in which they came; a name may stand twice until `cleanMetadata`. */
export type Metadata = readonly (readonly [name: string, value: string])[];

/** A line of a decoded body. Bytes are views of the body wherever they can be. */
export interface PushedLine {
  /** Seconds since 1970 UTC (floor) and nanoseconds 0 to 999,999,999. */
  readonly sec: number;
  readonly nsec: number;
  readonly line: Buffer;
  readonly metadata: Metadata;
}

/** Some lines of a stream of a decoded body. There may be none, and the stream may come again. */
export interface PushedStream {
  /** As sent: names are valid, values not empty. */
  readonly labels: Labels;
  readonly lines: PushedLine[];
}

/** A body, or a part of it, that can't be taken. `status` is the answer's, `message` its text. */
export class PushError extends Error {
  readonly status: number;

  constructor(status: number, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
  }
}

/** Decoders are generators that give their caller a chance to let others have a turn, every so many lines. */
export type Sliced<T> = Generator<undefined, T>;
/**
 * The same, giving a body piece by piece: nobody has to keep all of its lines as objects, whose number is what garbage collection takes its
 * time by. A body may turn out to be broken at its very end; until then nothing of it may be stored.
 */
export type Pieces<T = PushedStream> = Generator<T | undefined, void>;
/** Lines between two chances: a tenth of a millisecond, and with much metadata one. */
export const LINES_A_SLICE = 64;
/** Bytes between two chances, where lines are long: some tenths of a millisecond. */
const BYTES_A_SLICE = 64 << 10;

/** Says when a decoder should give others a chance. */
export class Turns {
  private lines = 0;
  private at = 0;

  /** To be asked after each line: whether it is time, with the work having come to byte `at`. */
  isDue(at: number): boolean {
    if (++this.lines < LINES_A_SLICE && at - this.at < BYTES_A_SLICE) return false;
    this.lines = 0;
    this.at = at;
    return true;
  }
}
