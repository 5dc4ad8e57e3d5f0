import { type Fields, NumberText } from "../src/core/component.ts";

/*
 * What the text access logs of Envoy and Istio share. Their middle, the request line, may hold spaces and quotes that
 * nobody escaped, but what follows it has a fixed number of parts. So these lines are read from both ends: nothing is
 * ever tried twice, and nothing can make it slow.
 */

/** Takes parts off the end of a text. Each call gives undefined when the part isn't there. */
export class FromEnd {
  /** What has not been taken is `text.slice(0, end)`. */
  end: number;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
    this.end = text.length;
  }

  /** A space and a word after it. */
  word(): string | undefined {
    return this.after(this.text.lastIndexOf(" ", this.end - 1));
  }

  /** A space and a text in quotes, with no quote in it. */
  quoted(): string | undefined {
    const close = this.end - 1;
    if (close < 2 || this.text.charAt(close) !== '"') return undefined;
    const open = this.text.lastIndexOf('"', close - 1);
    if (open < 1 || this.text.charAt(open - 1) !== " ") return undefined;
    this.end = open - 1;
    return this.text.slice(open + 1, close);
  }

  private after(space: number): string | undefined {
    if (space < 0 || space + 1 >= this.end) return undefined;
    const word = this.text.slice(space + 1, this.end);
    this.end = space;
    return word;
  }
}

/** The start of a line: `[time] "`. Gives the time and where the request line starts. */
export function readStart(line: string): { time: string; requestAt: number } | undefined {
  if (!line.startsWith("[")) return undefined;
  const close = line.indexOf("]");
  if (close < 2 || !line.startsWith('] "', close)) return undefined;
  return { time: line.slice(1, close), requestAt: close + 3 };
}

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly protocol: string;
}

/** `METHOD path PROTOCOL`: the method ends at the first space, the protocol starts after the last one. */
export function readRequest(line: string, start: number, end: number): Request | undefined {
  const first = line.indexOf(" ", start);
  const last = line.lastIndexOf(" ", end - 1);
  if (first <= start || last <= first || last >= end - 1) return undefined;
  return { method: line.slice(start, first), path: line.slice(first + 1, last), protocol: line.slice(last + 1, end) };
}

export function isDigits(text: string): boolean {
  return /^\d+$/.test(text);
}

export function isDigitsOrDash(text: string): boolean {
  return text === "-" || isDigits(text);
}

/** Adds a field unless its value is `-` or empty, which is how these logs write that there is none. */
export function addText(fields: Fields, name: string, value: string): void {
  if (value !== "-" && value !== "") fields[name] = value;
}

/** The same for a value that is a number where it is all digits. */
export function addNumber(fields: Fields, name: string, value: string): void {
  if (isDigits(value)) fields[name] = new NumberText(value);
  else addText(fields, name, value);
}
