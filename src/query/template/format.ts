import { formatValue, type Spec, textOf } from "./format-value.ts";
import { typeName, type Value } from "./values.ts";

/*
 * Go's package fmt, as far as templates can reach it: Sprint, Sprintln and Sprintf with flags, widths, precisions and
 * argument numbers, and the texts that it puts where verb and value don't fit.
 */

/** Go refuses widths and precisions beyond this. */
const WIDTH_MAX = 1_000_000;

/** `print`: spaces between operands when neither is a string. */
export function sprint(values: readonly Value[]): string {
  let out = "";
  for (let i = 0; i < values.length; i++) {
    if (i > 0 && typeof values[i] !== "string" && typeof values[i - 1] !== "string") out += " ";
    out += textOf(values[i]);
  }
  return out;
}

/** `println`: spaces between all, and a newline. */
export function sprintln(values: readonly Value[]): string {
  return `${values.map(textOf).join(" ")}\n`;
}

/** `printf`. `spend` is told how many characters are about to be made, and may throw. */
export function sprintf(format: string, values: readonly Value[], spend: (chars: number) => void): string {
  return new Printer(format, values, spend).run();
}

class Printer {
  private readonly format: string;
  private readonly values: readonly Value[];
  private readonly spend: (chars: number) => void;
  private at = 0;
  private arg = 0;
  private reordered = false;
  private goodNumber = true;

  constructor(format: string, values: readonly Value[], spend: (chars: number) => void) {
    this.format = format;
    this.values = values;
    this.spend = spend;
  }

  run(): string {
    const { format } = this;
    let out = "";
    let everReordered = false;
    while (this.at < format.length) {
      const percent = format.indexOf("%", this.at);
      if (percent === -1) {
        out += format.slice(this.at);
        break;
      }
      out += format.slice(this.at, percent);
      this.at = percent + 1;
      this.goodNumber = true;
      this.reordered = false;
      out += this.directive();
      everReordered ||= this.reordered;
    }
    if (!everReordered && this.arg < this.values.length) {
      const extra = this.values
        .slice(this.arg)
        .map((value) => (value === undefined ? "<nil>" : `${typeName(value)}=${textOf(value)}`));
      out += `%!(EXTRA ${extra.join(", ")})`;
    }
    return out;
  }

  private directive(): string {
    const spec: Spec = {
      plus: false,
      minus: false,
      sharp: false,
      space: false,
      zero: false,
      width: null,
      precision: null,
    };
    let problems = "";
    for (; this.at < this.format.length; this.at++) {
      const c = this.format[this.at];
      if (c === "#") spec.sharp = true;
      else if (c === "0") spec.zero = true;
      else if (c === "+") spec.plus = true;
      else if (c === "-") spec.minus = true;
      else if (c === " ") spec.space = true;
      else break;
    }
    let afterIndex = this.argNumber();
    if (this.format[this.at] === "*") {
      this.at++;
      const width = this.starNumber();
      if (width === null) problems += "%!(BADWIDTH)";
      else {
        spec.width = Math.abs(width);
        if (width < 0) {
          spec.minus = true;
          spec.zero = false;
        }
      }
      afterIndex = false;
    } else {
      spec.width = this.digits();
      if (afterIndex && spec.width !== null) this.goodNumber = false;
    }
    if (this.format[this.at] === ".") {
      this.at++;
      if (afterIndex) this.goodNumber = false;
      afterIndex = this.argNumber();
      if (this.format[this.at] === "*") {
        this.at++;
        const precision = this.starNumber();
        if (precision === null) problems += "%!(BADPREC)";
        else if (precision >= 0) spec.precision = precision;
        afterIndex = false;
      } else spec.precision = this.digits() ?? 0;
    }
    if (!afterIndex) this.argNumber();
    if (this.at >= this.format.length) return `${problems}%!(NOVERB)`;
    const verb = String.fromCodePoint(this.format.codePointAt(this.at) ?? 0);
    this.at += verb.length;
    if (verb === "%") return `${problems}%`;
    if (!this.goodNumber) return `${problems}%!${verb}(BADINDEX)`;
    if (this.arg >= this.values.length) return `${problems}%!${verb}(MISSING)`;
    this.spend((spec.width ?? 0) + (spec.precision ?? 0));
    return problems + formatValue(this.values[this.arg++], verb, spec);
  }

  /** `[n]` before a width, a precision or a verb. */
  private argNumber(): boolean {
    if (this.format[this.at] !== "[") return false;
    this.reordered = true;
    const end = this.format.indexOf("]", this.at);
    if (end === -1) {
      this.goodNumber = false;
      this.at++;
      return false;
    }
    const text = this.format.slice(this.at + 1, end);
    this.at = end + 1;
    const index = /^\d+$/.test(text) ? Number(text) - 1 : -1;
    if (index < 0 || index >= this.values.length) {
      this.goodNumber = false;
      return true;
    }
    this.arg = index;
    return true;
  }

  private digits(): number | null {
    const from = this.at;
    while (this.format[this.at] >= "0" && this.format[this.at] <= "9") this.at++;
    const n = this.at === from ? null : Number(this.format.slice(from, this.at));
    return n !== null && n > WIDTH_MAX ? null : n;
  }

  private starNumber(): number | null {
    if (this.arg >= this.values.length) return null;
    const value = this.values[this.arg++];
    if (typeof value !== "bigint" || value > BigInt(WIDTH_MAX) || value < -BigInt(WIDTH_MAX)) return null;
    return Number(value);
  }
}
