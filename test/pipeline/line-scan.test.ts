import { expect, test } from "vitest";
import { LEVEL_NAMES, LEVEL_WORDS } from "../../src/pipeline/level-names.ts";
import { type LineScan, RUN_MIN, scanLine } from "../../src/pipeline/line-scan.ts";
import { Random, SEED } from "../random.ts";

const EDGES_LEFT = " \t\n[({\"'=|";
const EDGES_RIGHT = `${EDGES_LEFT}]):},!`;

interface Seen extends LineScan {
  runs: string[];
}

function scanned(bytes: Buffer, start: number, end: number): Seen {
  const result: LineScan = { word: "", hasPair: false, datadog: -1 };
  const runs: string[] = [];
  scanLine(bytes, start, end, result, (a, b) => runs.push(`${a - start}-${b - start}`));
  return { ...result, datadog: result.datadog === -1 ? -1 : result.datadog - start, runs };
}

/** The same by the obvious way. */
function obvious(line: string): Seen {
  let word: LineScan["word"] = "";
  for (let at = 0; at < line.length && word === ""; at++) {
    if (at > 0 && !EDGES_LEFT.includes(line[at - 1])) continue;
    for (const [text, level] of LEVEL_WORDS) {
      const after = at + text.length;
      if (line.slice(at, after).toLowerCase() !== text) continue;
      if (after < line.length && !EDGES_RIGHT.includes(line[after])) continue;
      word = level;
      break;
    }
  }
  const names = [...new Set(LEVEL_NAMES.map((name) => name.toLowerCase()))];
  let hasPair = false;
  for (let at = 0; at < line.length; at++) {
    if (line[at] !== "=") continue;
    for (const name of names) {
      const first = at - name.length;
      if (first < 0 || line.slice(first, at).toLowerCase() !== name) continue;
      if (first === 0 || line.charCodeAt(first - 1) <= 0x20) hasPair = true;
    }
  }
  const runs = [...line.matchAll(/[0-9a-f]+/gi)].filter(([run]) => run.length >= RUN_MIN);
  return {
    word,
    hasPair,
    datadog: line.toLowerCase().indexOf("dd.trace_id"),
    runs: runs.map((run) => `${run.index}-${run.index + run[0].length}`),
  };
}

const PIECES = [
  ...LEVEL_WORDS.map(([text]) => text),
  ...LEVEL_WORDS.map(([text]) => text.toUpperCase()),
  ...LEVEL_NAMES.map((name) => `${name}=`),
  ..."dd.trace_id DD.TRACE_ID dd.trace dd. level lvl= text= rity=".split(" "),
  ...EDGES_RIGHT,
  ..."0 a f F 9 12 abc deadbeef 0123456789a 0123456789ab 0af7651916cd43dd8448eb211c80319c x . - _ \u0000 \u0080 \u00ff".split(
    " ",
  ),
];

test("a scan finds what the obvious way finds, wherever it stands and whatever stands around the line", () => {
  const { below, pick } = new Random(SEED);
  for (let round = 0; round < 20_000; round++) {
    let line = "";
    for (let left = below(9); left > 0; left--) line += pick(PIECES);
    const before = pick(["", " ", "level=", "0123456789abcdef", "err"]);
    const after = pick(["", " ", "0123456789ab", "=", "!"]);
    const bytes = Buffer.from(before + line + after, "latin1");
    const want = obvious(line);
    const got = scanned(bytes, before.length, before.length + line.length);
    expect(got, `seed ${SEED} round ${round}: ${JSON.stringify(line)}`).toEqual(want);
  }
});
