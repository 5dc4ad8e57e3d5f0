import { Random } from "../random.ts";

/** A seeded source of patterns that RE2 accepts and of texts that they have a chance to match. */
export interface RandomRegex {
  pattern(): string;
  text(): string;
  chance(p: number): boolean;
}

const ATOMS = ["a", "b", "c", "ab", "k", "S", "é", "😀", " ", "=", "1", "\\n", "\\.", "\\-"];
const CLASSES = [
  ".",
  "\\d",
  "\\w",
  "\\s",
  "\\D",
  "\\W",
  "\\S",
  "[ab]",
  "[^a]",
  "[a-c1-3]",
  "[^\\s=]",
  "[[:alpha:]]",
  "[é-ü]",
  "[^\\n]",
];
const QUANTIFIERS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{2,}"];
const ASSERTIONS = ["^", "$", "\\b", "\\B", "\\A", "\\z"];
const LETTERS = [
  "a",
  "b",
  "c",
  "A",
  "B",
  "k",
  "K",
  "s",
  "S",
  "\u212a",
  "\u017f",
  "é",
  "É",
  "😀",
  " ",
  "=",
  "1",
  "2",
  "\n",
  ".",
  "-",
  "\r",
];

export function makeRandom(seed: number): RandomRegex {
  const random = new Random(seed);
  const chance = (p: number) => random.chance(p);
  const below = (n: number) => random.below(n);
  const pick = <T>(list: readonly T[]): T => random.pick(list);
  let groups = 0;

  const atom = (depth: number): string => {
    const kind = random.fraction();
    if (kind < 0.45 || depth > 3) return pick(ATOMS);
    if (kind < 0.7) return pick(CLASSES);
    const inner = alternation(depth + 1);
    if (kind < 0.8) return `(${inner})`;
    if (kind < 0.88) return `(?P<g${groups++}>${inner})`;
    if (kind < 0.95) return `(?:${inner})`;
    return `(?${pick(["i", "s", "is", "i-s"])}:${inner})`;
  };
  const sequence = (depth: number): string => {
    let out = "";
    for (let n = below(4) + (depth === 0 ? 1 : 0); n > 0; n--) {
      if (chance(0.07)) out += pick(ASSERTIONS);
      const one = atom(depth);
      out += one + (chance(0.4) && [...one].length > 0 && !/^(?:ab)$/.test(one) ? pick(QUANTIFIERS) : "");
    }
    return out;
  };
  const alternation = (depth: number): string => {
    const branches = [sequence(depth)];
    while (chance(0.2)) branches.push(sequence(depth));
    return branches.join("|");
  };

  return {
    chance,
    pattern() {
      groups = 0;
      return (chance(0.1) ? "(?i)" : "") + alternation(0);
    },
    text() {
      let out = "";
      for (let n = below(chance(0.1) ? 60 : 12); n > 0; n--) out += pick(LETTERS);
      return out;
    },
  };
}
