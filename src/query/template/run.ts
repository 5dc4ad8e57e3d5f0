import type { Value } from "./values.ts";

/*
 * What bounds a template. A line has this much to spend: a node costs NODE_COST, and a function costs the characters that it
 * reads and makes. Common templates need some hundred; all of it takes about half a millisecond, and long lines have more.
 */
const BUDGET = 1 << 17;
const BUDGET_PER_BYTE = 32;
/** Templates that call templates. */
const DEPTH_MAX = 100;
const NODE_COST = 16;

/** Why a template failed on a line. Thrown inside and caught by `Template.run`; no Error, since stacks cost more than lines. */
export class TemplateFailure {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

/** A function's complaint; the caller adds where it stands. */
export class CallFailure {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

/** One run of a template over one line. */
export class Run {
  out = "";
  dot: Value = undefined;
  vars: (Value | typeof UNSET)[] = [];
  depth = 0;
  private left = 0;

  /** For a line of `bytes`, with room for `slots` variables. */
  begin(dot: Value, slots: number, bytes: number): void {
    this.out = "";
    this.dot = dot;
    this.vars = new Array(slots).fill(UNSET);
    this.depth = 0;
    this.left = BUDGET + bytes * BUDGET_PER_BYTE;
  }

  node(): void {
    this.left -= NODE_COST;
    if (this.left < 0) throw new CallFailure(TOO_MUCH);
  }

  /** Characters that a function is about to read or make. */
  spend(chars: number): void {
    this.left -= chars;
    if (this.left < 0) throw new CallFailure(TOO_MUCH);
  }

  write(text: string): void {
    this.left -= text.length;
    if (this.left < 0) throw new CallFailure(TOO_MUCH);
    this.out += text;
  }

  enter(): void {
    if (++this.depth > DEPTH_MAX) throw new CallFailure(`exceeded maximum template depth (${DEPTH_MAX})`);
  }
}

/** A variable that has not been declared on the way here. */
export const UNSET: unique symbol = Symbol("unset");

const TOO_MUCH = "the template does too much on one line";
