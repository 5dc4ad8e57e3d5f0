import { RE2JS, RE2JSException } from "re2js";
import { messageOf, WeirError } from "../core/errors.ts";
import { anchorOf, type LiteralAnchor } from "./re2-anchor.ts";
import { type LinesPattern, linesPattern } from "./re2-lines.ts";
import { type LiteralGroups, literalsOf } from "./re2-literals.ts";
import { parseTree } from "./re2-tree.ts";
import { trimEdges } from "./re2-trim.ts";
import { type Translation, translate, withinBudget } from "./re2-v8.ts";

/*
 * Regular expressions as users write them for Loki: RE2 syntax, linear time (architecture, D7).
 *
 * re2js gives syntax, errors and meaning. Where `translate` can show that V8's engine gives the same answers in bounded
 * time, V8 runs the pattern: Node 20, lines of 160 characters, 0.1 to 0.6 us a line against 0.8 to 18 us.
 *
 * Texts are JavaScript strings. A line's bytes are decoded as UTF-8 before they come here, each ill-formed sequence
 * (its longest well-begun part, as the WHATWG Encoding Standard has it) as one U+FFFD. Go looks at U+FFFD too, but one for
 * each byte, so `^a.b$` can differ on a line with a truncated character, and on nothing else.
 */

export interface RegexOptions {
  /** The pattern must match the whole text, as in stream selectors and label filters. Default: anywhere. */
  readonly anchored?: boolean;
  /** `.` matches a newline too, as in stream selectors. Default: it does not. */
  readonly dotAll?: boolean;
}

export interface RegexMatch {
  /** UTF-16 units before the match. */
  readonly index: number;
  /** Named groups; undefined for one that took no part. A name that stands twice has the first. */
  readonly groups: Readonly<Record<string, string | undefined>>;
}

/**
 * Longest pattern that is compiled, in UTF-16 units. To compile 8 KiB takes re2js some 20 to 100 ms, 128 KiB a second or more. A choice of
 * plain texts has no such bound where it needs no engine: Grafana makes long ones of a variable with many values.
 */
const PATTERN_MAX = 8192;
/** A shorter pattern goes the usual way even if it is a plain choice. */
const CHOICE_MIN = 1024;
/** Plain texts that an unanchored choice may have to be searched without an engine, as in re2-literals.ts. */
const CHOICE_SEARCH_MAX = 8;
/** Nothing but characters that stand for themselves, escaped punctuation, and `|`. */
const CHOICE = /^(?:[^\\.+*?()[\]{}^$]|\\[^0-9A-Za-z\u0080-\u{10ffff}])*$/u;

const CACHE_MAX = 256;
const cache = new Map<string, Regex>();

/**
 * Compiles an RE2 pattern. Throws WeirError `bad_regex`, its message as Go's regexp package words it:
 * "error parsing regexp: missing closing ): `(`".
 */
export function compileRegex(pattern: string, options: RegexOptions = {}): Regex {
  const key = `${options.anchored ? "a" : ""}${options.dotAll ? "s" : ""}:${pattern}`;
  const known = cache.get(key);
  if (known !== undefined) return known;
  const regex = new Regex(pattern, options);
  const oldest = cache.size >= CACHE_MAX ? cache.keys().next().value : undefined;
  if (oldest !== undefined) cache.delete(oldest);
  cache.set(key, regex);
  return regex;
}

export class Regex {
  readonly pattern: string;
  /** Literals that every match must contain (case-sensitive), longest first; for ruling texts out before a search. */
  readonly literals: readonly string[];
  /** The same as a conjunction of choices: of each group at least one literal is in every match. */
  readonly literalGroups: LiteralGroups;
  /** Set when the pattern says no more than "contains one of these" (or, anchored, "is one of these"). */
  readonly choice: readonly string[] | null;
  /** Names of the capturing groups in their order, "" for those without. */
  readonly groups: readonly string[];
  readonly groupNames: readonly string[];
  private readonly engine: () => RE2JS;
  private readonly anchored: boolean;
  /** All the texts of a long plain choice, which needs no engine; null for any other pattern. */
  private readonly texts: ReadonlySet<string> | null;
  private readonly translation: Translation | null;
  private readonly v8: RegExp | null;
  /** The same for `test` alone, whose pattern may be smaller. */
  private readonly testTranslation: Translation | null;
  private readonly v8Test: RegExp | null;
  /** Where a search for matches may begin; null where there is no such sign, or where `testAt` can't say. Not for anchored patterns. */
  readonly anchor: LiteralAnchor | null;
  private readonly v8At: RegExp | null;
  /** For searching many lines at once; null where that can't be, or gains nothing. Not for anchored patterns. */
  readonly lines: LinesPattern | null;

  constructor(pattern: string, { anchored = false, dotAll = false }: RegexOptions) {
    this.pattern = pattern;
    this.anchored = anchored;
    this.texts = plainChoice(pattern, anchored);
    if (this.texts === null && pattern.length > PATTERN_MAX) {
      throw new WeirError("bad_regex", `error parsing regexp: expression too large: \`${pattern.slice(0, 100)}\``);
    }
    let re2 = this.texts === null ? compileRe2(pattern, dotAll) : null;
    this.engine = () => {
      re2 ??= compileRe2(pattern, dotAll);
      return re2;
    };
    this.groups = re2 === null ? [] : groupList(re2);
    this.groupNames = this.groups.filter((name) => name !== "");
    const tree = this.texts === null ? parseTree(pattern, dotAll) : null;
    const { groups, choice } = tree === null ? { groups: [], choice: fewOf(this.texts) } : literalsOf(tree);
    this.literalGroups = groups;
    this.choice = choice;
    this.literals = groups.flatMap((group) => (group.length === 1 ? group : []));
    this.translation = tree === null ? null : translate(tree, anchored);
    this.v8 = this.translation === null ? null : build(this.translation.source);
    const edges = tree === null || anchored ? null : trimEdges(tree);
    const trimmed = edges === null ? null : translate(edges, false);
    this.testTranslation = trimmed ?? this.translation;
    this.v8Test = trimmed === null ? this.v8 : build(trimmed.source);
    const anchor = edges === null || trimmed === null || this.v8Test === null ? null : anchorOf(edges);
    this.anchor = anchor;
    this.v8At = trimmed === null || anchor === null || anchor.isWhole ? null : new RegExp(trimmed.source, "uy");
    this.lines = edges === null || this.v8Test === null ? null : linesPattern(edges);
  }

  /** Whether the pattern matches; linear in the text. */
  test(text: string): boolean {
    if (this.texts !== null) return this.anchored ? this.texts.has(text) : hasOneOf(text, this.texts);
    if (this.v8Test !== null && this.testTranslation !== null && withinBudget(text, this.testTranslation))
      return this.v8Test.test(text);
    return this.testRe2(text);
  }

  /** Whether a match, shortened at its edges, begins at a place of the text that the anchor points to. */
  testAt(text: string, at: number): boolean {
    if (this.v8At === null || this.testTranslation === null || !withinBudget(text, this.testTranslation)) {
      return this.test(text);
    }
    this.v8At.lastIndex = at;
    return this.v8At.test(text);
  }

  /** The same by re2js alone, which defines the meaning. */
  testRe2(text: string): boolean {
    const re2 = this.engine();
    return this.anchored ? re2.testExact(text) : re2.test(text);
  }

  /** The leftmost match with its named groups, or null. */
  exec(text: string): RegexMatch | null {
    const found = this.captures(text);
    if (found === null) return null;
    const groups: Record<string, string | undefined> = Object.create(null);
    for (let i = this.groups.length - 1; i >= 0; i--) {
      if (this.groups[i] !== "") groups[this.groups[i]!] = found.values[i];
    }
    return { index: found.index, groups };
  }

  /** The leftmost match: its place, and the text of each group in the order of `groups`. */
  captures(text: string): { index: number; values: (string | undefined)[] } | null {
    if (this.texts !== null && this.anchored) return this.texts.has(text) ? { index: 0, values: [] } : null;
    if (this.v8 !== null && this.translation?.capturesAgree && withinBudget(text, this.translation)) {
      const m = this.v8.exec(text);
      return m === null ? null : { index: m.index, values: m.slice(1) };
    }
    return this.capturesRe2(text);
  }

  /** The same by re2js alone. */
  capturesRe2(text: string): { index: number; values: (string | undefined)[] } | null {
    const matcher = this.engine().matcher(text);
    if (!(this.anchored ? matcher.matches() : matcher.find())) return null;
    return { index: matcher.start(), values: this.groups.map((_, i) => matcher.group(i + 1) ?? undefined) };
  }

  /**
   * All matches that don't overlap, from left to right: place, end, and the texts of the whole (0) and of each group. As in Go,
   * an empty match that begins where the one before ended is none.
   */
  matchAll(text: string): { index: number; end: number; values: (string | undefined)[] }[] {
    const out: { index: number; end: number; values: (string | undefined)[] }[] = [];
    if (this.v8 !== null && this.translation?.capturesAgree && withinBudget(text, this.translation)) {
      // V8 gets no pattern that matches the empty text, unless it is bound to the start.
      for (const m of text.matchAll(new RegExp(this.v8.source, "gu"))) {
        out.push({ index: m.index, end: m.index + m[0].length, values: [...m] });
      }
      return out;
    }
    const matcher = this.engine().matcher(text);
    let last = -1;
    while (matcher.find()) {
      const index = matcher.start();
      const end = matcher.end();
      if (index === end && index === last) continue;
      last = end;
      const values = this.groups.map((_, i) => matcher.group(i + 1) ?? undefined);
      out.push({ index, end, values: [text.slice(index, end), ...values] });
    }
    return out;
  }

  /** Whether V8 runs this pattern on short texts; for tests and explanations. */
  get isFast(): boolean {
    return this.v8Test !== null;
  }
}

/** Half a surrogate pair: a text that has no UTF-8. */
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

function compileRe2(pattern: string, dotAll: boolean): RE2JS {
  if (LONE_SURROGATE.test(pattern)) {
    const shown = Buffer.from(pattern, "utf8").toString("utf8");
    throw new WeirError("bad_regex", `error parsing regexp: invalid UTF-8: \`${shown}\``);
  }
  try {
    return RE2JS.compile(pattern, dotAll && pattern.includes(".") ? RE2JS.DOTALL : 0);
  } catch (error) {
    // The flag stands in front of the pattern in re2js's error texts, so errors come from the pattern alone.
    if (dotAll && pattern.includes(".")) return compileRe2(pattern, false);
    // A RangeError is the end of the stack: what RE2 calls nesting too deeply.
    if (!(error instanceof RE2JSException) && !(error instanceof RangeError)) throw error;
    throw new WeirError("bad_regex", goMessage(error, pattern), { cause: error });
  }
}

function goMessage(error: Error, pattern: string): string {
  if (error instanceof RangeError) return `error parsing regexp: expression nests too deeply: \`${pattern}\``;
  const text = messageOf(error);
  // Go quotes the offending part even where it is empty.
  if (text.endsWith("trailing backslash at end of expression")) return `${text}: \`\``;
  if (text.endsWith("invalid named capture: `(?P<`"))
    return "error parsing regexp: invalid or unsupported Perl syntax: `(?P`";
  return text.startsWith("error parsing regexp: ") ? text : `error parsing regexp: ${text}`;
}

/** Whether a pattern is a long choice of plain texts, which costs next to nothing to compile where it has to match all of a text. */
export function isPlainChoice(pattern: string): boolean {
  return pattern.length >= CHOICE_MIN && !LONE_SURROGATE.test(pattern) && CHOICE.test(pattern);
}

/** The texts of a long choice of plain ones that can be asked for without an engine; null for all else. */
function plainChoice(pattern: string, anchored: boolean): ReadonlySet<string> | null {
  if (!isPlainChoice(pattern)) return null;
  const texts = new Set<string>();
  let text = "";
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === "|") {
      texts.add(text);
      text = "";
    } else text += pattern[i] === "\\" ? pattern[++i] : pattern[i];
  }
  texts.add(text);
  return anchored || texts.size <= CHOICE_SEARCH_MAX ? texts : null;
}

function fewOf(texts: ReadonlySet<string> | null): readonly string[] | null {
  return texts === null || texts.size > CHOICE_SEARCH_MAX ? null : [...texts];
}

function hasOneOf(text: string, wanted: ReadonlySet<string>): boolean {
  for (const one of wanted) if (text.includes(one)) return true;
  return false;
}

function groupList(re2: RE2JS): string[] {
  const names = new Array<string>(re2.groupCount()).fill("");
  for (const [name, index] of Object.entries(re2.namedGroups())) names[index - 1] = name;
  return names;
}

function build(source: string): RegExp | null {
  try {
    return new RegExp(source, "u");
  } catch (error) {
    // Too large for V8's compiler; re2js has its own, higher limits.
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
