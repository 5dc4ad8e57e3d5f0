import { describe, expect, test } from "vitest";
import { compileRegex } from "../../../src/codec/re2.ts";
import { LineSearch } from "../../../src/query/line-search.ts";
import { makeRandom } from "../../codec/re2-random.ts";
import { SEED } from "../../random.ts";
import { makeRandomQuery } from "../syntax/random-query.ts";
import { makeStore, textsOf } from "./harness.ts";

const PATTERNS = Number(process.env.WEIR_TEST_ROUNDS ?? 800);

/** Lines as they stand in a block. */
function blockOf(lines: readonly Buffer[]) {
  const text = Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")]));
  const lineStarts = new Uint32Array(lines.length + 1);
  lines.forEach((line, row) => {
    lineStarts[row + 1] = lineStarts[row] + line.length + 1;
  });
  return { text, lineStarts, hasNewlines: false };
}

function searchFor(pattern: string, wanted: boolean): LineSearch {
  const regex = compileRegex(pattern);
  if (regex.lines === null) throw new Error(`${pattern} is not searched in many lines at once`);
  return new LineSearch(regex, regex.lines, wanted);
}

function rowsOf(search: LineSearch, lines: readonly (string | Buffer)[], from = 0, to = lines.length): number[] {
  const out = new Uint32Array(to - from);
  const block = blockOf(lines.map((line) => (typeof line === "string" ? Buffer.from(line) : line)));
  return [...out.subarray(0, search.find(block, from, to, out))];
}

describe("rows found by searching many lines at once", () => {
  test("are those that re2js matches line by line", () => {
    const random = makeRandom(SEED);
    const { below, pick } = makeRandomQuery(SEED);
    const parts = ["[0-9]{3,}", "[^0-9]", "\\d+", "[a-c]{2}", "b", "\\b", "\\B", "$", ".", ".*", "é", "[^a]", "(a|bc)"];
    parts.push("(?i)k", "\\s", "x?", "[\\x00-\\x1f]", "\\n", "[\\n-]", "c{4}", "[ab]{2,9}c");
    const chars = [..."aaabbbccc--  0123456789K\t"];
    const wide = [..."é😀ſK\u0085"];
    let searched = 0;
    let kept = 0;
    for (let i = 0; i < PATTERNS; i++) {
      const pattern = random.chance(0.3) ? random.pattern() : pick(parts) + pick(parts) + pick(["", "", ...parts]);
      const regex = compileRegex(pattern);
      if (regex.lines === null) continue;
      searched++;
      const isAscii = random.chance(0.4);
      const lines = Array.from({ length: 4 + below(30) }, () => {
        const size = random.chance(0.02) ? 600 + below(1000) : below(16);
        const text = Array.from({ length: size }, () => pick(!isAscii && random.chance(0.05) ? wide : chars)).join("");
        const bytes = Buffer.from(text);
        // A byte that is no UTF-8, or a character that is cut.
        if (!isAscii && bytes.length > 0 && random.chance(0.1)) bytes[below(bytes.length)] = 0x80 + below(128);
        return bytes;
      });
      const from = below(5);
      const to = from + below(lines.length - from + 1);
      for (const wanted of [true, false]) {
        const want: number[] = [];
        for (let row = from; row < to; row++) if (regex.testRe2(lines[row].toString()) === wanted) want.push(row);
        if (wanted) kept += want.length;
        const found = rowsOf(searchFor(pattern, wanted), lines, from, to);
        if (String(found) !== String(want)) {
          const shown = lines.map((line) => line.toString("latin1"));
          expect({ pattern, wanted, shown, found }).toEqual({ pattern, wanted, shown, found: want });
        }
      }
    }
    expect(searched).toBeGreaterThan(PATTERNS / 4);
    expect(kept).toBeGreaterThan(PATTERNS / 2);
  });

  test.each<[pattern: string, lines: string[], rows: number[]]>([
    ["[0-9]$", ["a1", "1a", "", "1"], [0, 3]],
    ["a[^b]c", ["a", "c", "axc", "a\u00e9c"], [2, 3]],
    ["\\bk\\b", ["ék", "k", "kk", "-k-"], [0, 1, 3]],
    ["[a-z]+[0-9]{2}", ["ab1", "2", "b12"], [2]],
    ["[^a]{3}", ["aa", "b", "bb", "bbb"], [3]],
  ])("%s stays inside a line", (pattern, lines, rows) => {
    expect(rowsOf(searchFor(pattern, true), lines)).toEqual(rows);
    expect(rowsOf(searchFor(pattern, false), lines)).toEqual(lines.map((_, i) => i).filter((i) => !rows.includes(i)));
  });

  test("pieces end where lines end", () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `${"-".repeat(i % 97)}${i % 7 === 0 ? "12345" : "x"}`);
    lines[1500] = `${"y".repeat(200_000)}54321`;
    const want = lines.flatMap((line, row) => (/\d{5}/.test(line) ? [row] : []));
    expect(rowsOf(searchFor("[0-9]{5}", true), lines)).toEqual(want);
    expect(want).toContain(1500);
  });

  test("what begins at a line's start, or backtracks over more than a line should, is left to the search line by line", () => {
    for (const pattern of ["^a[0-9]", ".*[0-9].*[a-c].*[x-z]", "x*", ""]) {
      expect([pattern, compileRegex(pattern).lines]).toEqual([pattern, null]);
    }
  });

  test("it is given up where most lines have to be looked at by themselves, and not used where lines hold newlines", () => {
    const search = searchFor("[0-9]{3}", true);
    const view = { text: Buffer.alloc(0), lineStarts: new Uint32Array(1), hasNewlines: false };
    rowsOf(
      search,
      Array.from({ length: 3000 }, () => "é"),
    );
    expect(search.suits(view)).toBe(true);
    expect(search.suits({ ...view, hasNewlines: true })).toBe(false);
    rowsOf(
      search,
      Array.from({ length: 3000 }, () => "é"),
    );
    expect(search.suits(view)).toBe(false);
  });
});

describe("queries with a regular expression that has no literal", () => {
  test.each([
    ["[0-9]{3}[^0-9]", /[0-9]{3}[^0-9]/],
    ["[A-Z][a-z]+ [0-9]$", /[A-Z][a-z]+ [0-9]$/],
    ["(?i)[xyz]{3}", /[xyz]{3}/i],
  ])("%s, from stored and from open blocks", async (pattern, regex) => {
    const store = await makeStore({ store: { block_bytes: 4096 } });
    const texts = Array.from({ length: 900 }, (_, i) => {
      if (i % 50 === 3) return `Many lines ${i}\nand 12${i % 10} in one`;
      return i % 3 === 0 ? `Line ${i % 12}` : i % 3 === 1 ? `é ${i} xYz` : `${i}.`;
    });
    texts.forEach((text, i) => {
      store.append({ labels: { app: i % 2 === 0 ? "a" : "b" }, ns: BigInt(i + 1) * 1_000_000_000n, text });
    });
    await store.flush();
    texts.slice(0, 100).forEach((text, i) => {
      store.append({ labels: { app: "open" }, ns: BigInt(i + 1001) * 1_000_000_000n, text });
    });
    const all = [...texts, ...texts.slice(0, 100)];
    const range = { startNs: 0n, endNs: 2_000_000_000_000n, limit: 5000 };
    for (const [op, wanted] of [
      ["|~", true],
      ["!~", false],
    ] as const) {
      const want = all.filter((text) => regex.test(text) === wanted);
      expect(want.length).toBeGreaterThan(20);
      for (const backward of [false, true]) {
        const query = `{app=~".+"} ${op} \`${pattern}\``;
        const found = textsOf(await store.engine.queryRange({ query, ...range, backward }));
        expect(found.sort()).toEqual([...want].sort());
      }
      const query = `sum(count_over_time({app=~".+"} ${op} \`${pattern}\` [2000s]))`;
      const times = { startNs: 2_000_000_000_000n, endNs: 2_000_000_000_000n, stepNs: 1_000_000_000n };
      const { series } = await store.engine.metric({ query, ...times });
      expect(series[0]?.values).toEqual([want.length]);
    }
    await store.close();
  });
});
