import { quote } from "../syntax/strings.ts";
import { formatE, formatF, formatG } from "./format-float.ts";
import { formatTime } from "./layout.ts";
import { GoTime } from "./time.ts";
import { LabelMap, Named, sortedPairs, typeName, type Value } from "./values.ts";

/** Flags, width and precision of a verb. */
export interface Spec {
  plus: boolean;
  minus: boolean;
  sharp: boolean;
  space: boolean;
  zero: boolean;
  width: number | null;
  precision: number | null;
}

/** A value as `%v` prints it. */
export function textOf(value: Value): string {
  switch (typeof value) {
    case "string":
      return value;
    case "undefined":
      return "<nil>";
    case "number":
      return formatG(value, -1, false);
    case "boolean":
    case "bigint":
      return String(value);
  }
  if (value instanceof GoTime) return timeText(value);
  if (value instanceof Named) return value.text;
  if (value instanceof LabelMap || value instanceof Map) {
    return `map[${sortedPairs(value)
      .map(([key, inner]) => `${key}:${textOf(inner)}`)
      .join(" ")}]`;
  }
  return Array.isArray(value) ? `[${value.map(textOf).join(" ")}]` : "";
}

/** Time.String. */
export function timeText(time: GoTime): string {
  return formatTime(time, "2006-01-02 15:04:05.999999999 -0700 MST");
}

/** A value by a verb of `printf`; what the verb can't print gives a text that says so. */
export function formatValue(value: Value, verb: string, given: Spec): string {
  // With `v` a plus asks for the names of fields, and no value here has any.
  const spec = verb === "v" && given.plus ? { ...given, plus: false } : given;
  if (verb === "T") return pad(value === undefined ? "<nil>" : typeName(value), spec);
  if (value === undefined) return verb === "v" ? pad("<nil>", spec) : `%!${verb}(<nil>)`;
  switch (typeof value) {
    case "boolean":
      return verb === "t" || verb === "v" ? pad(String(value), spec) : bad(value, verb, spec);
    case "bigint":
      return formatInt(value, verb, spec);
    case "number":
      return formatFloat(value, verb, spec);
    case "string":
      return formatString(value, verb, spec);
  }
  if (value instanceof Named) {
    return "vsxXq".includes(verb) ? formatString(value.text, verb, spec) : formatInt(value.value, verb, spec);
  }
  if (value instanceof GoTime) {
    return "vsxXq".includes(verb) ? formatString(timeText(value), verb, spec) : bad(value, verb, spec);
  }
  const inner = (one: Value) => (one === undefined ? nilInside(verb, spec) : formatValue(one, verb, spec));
  if (value instanceof LabelMap || value instanceof Map) {
    const pairs = sortedPairs(value).map(([key, one]) => `${inner(key)}:${inner(one)}`);
    if (spec.sharp && verb === "v") return `${typeName(value)}{${pairs.join(", ")}}`;
    return `map[${pairs.join(" ")}]`;
  }
  if (!Array.isArray(value)) return "";
  if (spec.sharp && verb === "v") return `${typeName(value)}{${value.map(inner).join(", ")}}`;
  return `[${value.map(inner).join(" ")}]`;
}

/** No value in a list or a map, where no verb is wrong for it. */
function nilInside(verb: string, spec: Spec): string {
  return spec.sharp && verb === "v" ? "interface {}(nil)" : "<nil>";
}

/** What Go prints where the verb can't print the value; flags, width and precision still count for it. */
function bad(value: Value, verb: string, spec: Spec): string {
  // A time's text would need its fields, which Go prints one by one.
  const plain = typeof value === "bigint" ? "d" : typeof value === "number" ? "g" : "v";
  const text = value instanceof GoTime ? textOf(value) : formatValue(value, plain, { ...spec, sharp: false });
  return `%!${verb}(${typeName(value)}=${text})`;
}

function pad(text: string, { width, minus, zero }: Spec): string {
  if (width === null) return text;
  let length = 0;
  for (const _ of text) length++;
  if (length >= width) return text;
  const fill = (zero && !minus ? "0" : " ").repeat(width - length);
  return minus ? text + fill : fill + text;
}

function formatString(text: string, verb: string, spec: Spec): string {
  const { precision } = spec;
  switch (verb) {
    case "v":
      if (spec.sharp) return formatString(text, "q", { ...spec, sharp: false });
      return pad(precision === null ? text : [...text].slice(0, precision).join(""), spec);
    case "s":
      return pad(precision === null ? text : [...text].slice(0, precision).join(""), spec);
    case "q": {
      const cut = precision === null ? text : [...text].slice(0, precision).join("");
      if (spec.sharp && !/[`\x00-\x08\x0a-\x1f\x7f\ufeff]/.test(cut)) return pad(`\`${cut}\``, spec);
      return pad(spec.plus ? asciiOnly(quote(cut)) : quote(cut), spec);
    }
    case "x":
    case "X": {
      const bytes = Buffer.from(text);
      const cut = precision === null ? bytes : bytes.subarray(0, precision);
      const digits = verb === "x" ? cut.toString("hex") : cut.toString("hex").toUpperCase();
      const prefix = spec.sharp && cut.length > 0 ? `0${verb}` : "";
      if (!spec.space) return pad(prefix + digits, { ...spec, zero: spec.zero });
      return pad((digits.match(/../g) ?? []).map((pair) => prefix + pair).join(" "), spec);
    }
    default:
      return bad(text, verb, spec);
  }
}

/** A quoted text with escapes for what is not ASCII. */
function asciiOnly(quoted: string): string {
  return quoted.replace(/[^\0-\x7f]/gu, (char) => {
    const digits = (char.codePointAt(0) ?? 0).toString(16);
    return digits.length > 4 ? `\\U${digits.padStart(8, "0")}` : `\\u${digits.padStart(4, "0")}`;
  });
}

function formatInt(value: bigint, verb: string, spec: Spec): string {
  const negative = value < 0n;
  const abs = negative ? -value : value;
  let digits: string;
  let prefix = "";
  switch (verb) {
    case "v":
    case "d":
      digits = abs.toString();
      break;
    case "b":
      digits = abs.toString(2);
      if (spec.sharp) prefix = "0b";
      break;
    case "o":
    case "O":
      digits = abs.toString(8);
      if (verb === "O") prefix = "0o";
      else if (spec.sharp && !digits.startsWith("0")) prefix = "0";
      break;
    case "x":
    case "X":
      digits = abs.toString(16);
      if (verb === "X") digits = digits.toUpperCase();
      if (spec.sharp) prefix = `0${verb}`;
      break;
    case "c":
      return pad(charOf(value), { ...spec, zero: false });
    case "q":
      return pad(quoteChar(charOf(value)), spec);
    case "U": {
      const code = `U+${abs
        .toString(16)
        .toUpperCase()
        .padStart(Math.max(4, spec.precision ?? 4), "0")}`;
      return pad(spec.sharp && value <= 0x10ffffn ? `${code} '${charOf(value)}'` : code, { ...spec, zero: false });
    }
    default:
      return bad(value, verb, spec);
  }
  const sign = negative ? "-" : spec.plus ? "+" : spec.space ? " " : "";
  const { precision, width } = spec;
  if (precision !== null) {
    if (precision === 0 && value === 0n) return pad("", { ...spec, zero: false });
    digits = digits.padStart(precision, "0");
  } else if (spec.zero && !spec.minus && width !== null) {
    digits = digits.padStart(width - sign.length, "0");
  }
  return pad(sign + prefix + digits, { ...spec, zero: false });
}

function charOf(value: bigint): string {
  if (value < 0n || value > 0x10ffffn || (value >= 0xd800n && value < 0xe000n)) return "\ufffd";
  return String.fromCodePoint(Number(value));
}

function quoteChar(char: string): string {
  if (char === "'") return "'\\''";
  if (char === '"') return `'"'`;
  return `'${quote(char).slice(1, -1)}'`;
}

function formatFloat(value: number, verb: string, spec: Spec): string {
  let text: string;
  switch (verb) {
    case "v":
      text = formatG(value, spec.precision ?? -1, false);
      break;
    case "g":
    case "G":
      text = formatG(value, spec.precision ?? -1, spec.sharp);
      break;
    case "e":
    case "E":
      text = formatE(value, spec.precision ?? 6);
      break;
    case "f":
    case "F":
      text = formatF(value, spec.precision ?? 6);
      break;
    default:
      return bad(value, verb, spec);
  }
  if (verb === "G" || verb === "E") text = text.replace("e", "E");
  if (spec.plus && text[0] !== "-" && text[0] !== "+") text = `+${text}`;
  else if (spec.space && text[0] !== "-" && text[0] !== "+") text = ` ${text}`;
  else if (!spec.plus && text[0] === "+" && !Number.isFinite(value)) text = spec.plus ? text : "+Inf";
  const { width } = spec;
  if (spec.zero && !spec.minus && width !== null && Number.isFinite(value)) {
    const sign = /^[+\- ]/.exec(text)?.[0] ?? "";
    return sign + text.slice(sign.length).padStart(width - sign.length, "0");
  }
  return pad(text, { ...spec, zero: false });
}
