import { WeirError } from "./errors.ts";

/** Longest pattern in characters: the time for one tag is bounded by pattern times tag. */
const PATTERN_LENGTH_MAX = 1024;

/*
 * A pattern becomes a small automaton (Thompson's construction) whose states are walked side by side, so no pattern
 * can make it backtrack. `next` leads on; SPLIT leads on to `next` and to `alt` without reading anything.
 */
const CHAR = 0; // reads the one UTF-16 unit `unit`
const ANY_BUT_DOT = 1;
const ANY = 2;
const SPLIT = 3;
const MATCH = 4;

interface State {
  readonly op: number;
  readonly unit: number;
  readonly next: number;
  alt: number;
}

const DOT = 0x2e;

/**
 * A test for tags. `*` stands for any run of characters within one dot-separated part, `**` for any run at all, `?`
 * for one character that is no dot, `{a,b}` for one of the patterns in it, and `\` takes the next character as it is.
 * The whole tag has to fit.
 *
 * Errors: `bad_glob` for an unclosed `{`, a `}` without one, a `\` at the end, or more than 1,024 characters.
 */
export function compileGlob(pattern: string): (tag: string) => boolean {
  if (pattern === "**") return () => true;
  if (!/[*?{}\\]/.test(pattern)) return (tag) => tag === pattern;
  const states = new GlobCompiler(pattern).compile();
  return (tag) => matches(states, tag);
}

/** Reads a pattern from its end to its start, so that each state is made when the one after it is known. */
class GlobCompiler {
  private readonly pattern: string;
  private readonly states: State[] = [];
  private at = 0;

  constructor(pattern: string) {
    if (pattern.length > PATTERN_LENGTH_MAX) {
      throw badGlob(`got ${pattern.length} characters, want at most ${PATTERN_LENGTH_MAX}`);
    }
    this.pattern = pattern;
  }

  /** The states; the first to enter is the last of the list. */
  compile(): readonly State[] {
    const sequence = this.sequence(0);
    const match = this.add(MATCH, 0, -1);
    const start = this.link(sequence, match);
    this.split(start, start);
    return this.states;
  }

  private sequence(depth: number): Part[] {
    const parts: Part[] = [];
    while (this.at < this.pattern.length) {
      const c = this.pattern.charAt(this.at);
      if (depth > 0 && (c === "," || c === "}")) return parts;
      this.at++;
      if (c === "*") {
        const both = this.pattern.charAt(this.at) === "*";
        if (both) this.at++;
        parts.push({ kind: "run", op: both ? ANY : ANY_BUT_DOT });
      } else if (c === "?") parts.push({ kind: "one", op: ANY_BUT_DOT, unit: 0 });
      else if (c === "{") parts.push({ kind: "either", choices: this.choices(depth + 1) });
      else if (c === "}")
        throw badGlob(`got "}" without "{" at character ${this.at} of ${JSON.stringify(this.pattern)}`);
      else parts.push({ kind: "one", op: CHAR, unit: (c === "\\" ? this.escaped() : c).charCodeAt(0) });
    }
    return parts;
  }

  private choices(depth: number): Part[][] {
    const open = this.at;
    const choices: Part[][] = [];
    for (;;) {
      choices.push(this.sequence(depth));
      const c = this.pattern.charAt(this.at++);
      if (c === "}") return choices;
      if (c === "") throw badGlob(`got "{" without "}" at character ${open} of ${JSON.stringify(this.pattern)}`);
    }
  }

  private escaped(): string {
    const c = this.pattern.charAt(this.at++);
    if (c === "") throw badGlob(`got "\\" at the end of ${JSON.stringify(this.pattern)}, want a character after it`);
    return c;
  }

  /** Makes the states of `parts` that lead on to the state `next`, and gives the first of them. */
  private link(parts: readonly Part[], next: number): number {
    let to = next;
    for (const part of parts.toReversed()) {
      if (part.kind === "one") to = this.add(part.op, part.unit, to);
      else if (part.kind === "run") {
        const loop = this.split(to, to);
        this.states[loop]!.alt = this.add(part.op, 0, loop);
        to = loop;
      } else {
        const after = to;
        const starts = part.choices.map((choice) => this.link(choice, after));
        to = starts.reduce((alt, start) => this.split(start, alt));
      }
    }
    return to;
  }

  private add(op: number, unit: number, next: number): number {
    return this.states.push({ op, unit, next, alt: -1 }) - 1;
  }

  private split(next: number, alt: number): number {
    return this.states.push({ op: SPLIT, unit: 0, next, alt }) - 1;
  }
}

type Part =
  | { kind: "one"; op: number; unit: number }
  | { kind: "run"; op: number }
  | { kind: "either"; choices: Part[][] };

function matches(states: readonly State[], tag: string): boolean {
  // `seen[s]` is the position up to which state s has been entered, plus one: it keeps a state from entering twice.
  const seen = new Int32Array(states.length);
  let current: number[] = [];
  enter(states, states.length - 1, current, seen, 1);
  for (let i = 0; i < tag.length && current.length > 0; i++) {
    const unit = tag.charCodeAt(i);
    const following: number[] = [];
    for (const at of current) {
      const state = states[at]!;
      const fits =
        state.op === CHAR ? state.unit === unit : state.op === ANY || (state.op === ANY_BUT_DOT && unit !== DOT);
      if (fits) enter(states, state.next, following, seen, i + 2);
    }
    current = following;
  }
  return current.some((at) => states[at]?.op === MATCH);
}

function enter(states: readonly State[], at: number, into: number[], seen: Int32Array, mark: number): void {
  const todo = [at];
  for (let s = todo.pop(); s !== undefined; s = todo.pop()) {
    if (seen[s] === mark) continue;
    seen[s] = mark;
    const state = states[s]!;
    if (state.op === SPLIT) todo.push(state.next, state.alt);
    else into.push(s);
  }
}

function badGlob(what: string): WeirError {
  return new WeirError("bad_glob", `tag pattern: ${what}`);
}
