import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Labels } from "../../../src/core/labels.ts";
import { compileLogText, type Seen } from "../../../src/query/compile.ts";
import { Entry } from "../../../src/query/stages/entry.ts";
import { LiteralProbe } from "../../../src/query/stages/literal-probe.ts";
import { QueryError } from "../../../src/query/syntax/errors.ts";
import { SEED } from "../../random.ts";
import { makeRandomQuery, type RandomQuery } from "../syntax/random-query.ts";
import { runQuery } from "./run-query.ts";

describe("against plain, slow versions", () => {
  test("a literal is found in lines in any order as by looking at each line alone", () => {
    const random = makeRandomQuery(SEED);
    const entry = new Entry();
    for (let round = 0; round < 100; round++) {
      const alphabet = random.pick(["ab", "abcd", "a\u00e9x"]);
      const letters = () => random.pick([...alphabet]);
      const make = (max: number) => Array.from({ length: random.below(max) }, letters).join("");
      // Now and then more than the probe reads ahead in one go.
      const longest = round % 10 === 0 ? 9000 : 30;
      const lines = Array.from({ length: 40 }, () => Buffer.from(make(longest)));
      const needles = [make(4), make(8), make(3), "a"].filter((text) => text !== "").map((text) => Buffer.from(text));
      const probes = needles.map((needle) => new LiteralProbe(needle));
      const starts = lines.map((_, i) => lines.slice(0, i).reduce((sum, line) => sum + line.length + 1, 0));
      const block = Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")]));
      for (const order of ["up", "down", "any", "up"]) {
        entry.openBlock(block, {});
        for (let i = 0; i < lines.length; i++) {
          if (random.chance(0.2)) continue;
          const row = order === "up" ? i : order === "down" ? lines.length - 1 - i : random.below(lines.length);
          entry.openLine(starts[row], starts[row] + lines[row].length, row);
          const found = probes.map((probe) => probe.isIn(entry));
          const want = needles.map((needle) => lines[row].includes(needle));
          if (String(found) !== String(want))
            throw new Error(`round ${round}, ${order}, row ${row}: ${found}, not ${want}`);
        }
      }
    }
  });

  test.each(["up", "down"])("a literal across the edge of what was read ahead is found, %s", (order) => {
    const needle = Buffer.from("needle");
    const entry = new Entry();
    for (let shift = -8; shift <= 8; shift++) {
      for (const tail of ["", "x", "xxxxxxxxx"]) {
        // Short lines, and one whose literal begins about 16 KiB from the first (or, going down, the last) byte.
        const lines: string[] = [];
        for (let left = 16_384 + shift - 3; left > 0; left -= 11) lines.push("y".repeat(Math.min(10, left)));
        const odd = order === "up" ? `yyneedle${tail}` : `${tail}needleyy`;
        const all = order === "up" ? [...lines, odd, ...lines] : [...lines, odd, ...[...lines].reverse()];
        const block = Buffer.from(all.map((line) => `${line}\n`).join(""));
        entry.openBlock(block, {});
        const probe = new LiteralProbe(needle);
        let end = 0;
        const spans = all.map((line) => {
          const start = end;
          end += line.length + 1;
          return { line, start };
        });
        for (const { line, start } of order === "up" ? spans : [...spans].reverse()) {
          entry.openLine(start, start + line.length);
          if (probe.isIn(entry) !== line.includes("needle")) throw new Error(`shift ${shift}, tail ${tail}: ${line}`);
        }
      }
    }
  });

  test("json gives what JSON.parse and a walk give", () => {
    const clean = (key: string) => key.trim().replace(/[^A-Za-z0-9_]/gu, "_");
    const walk = (value: object, prefix: string, out: Map<string, string>) => {
      for (const [key, inner] of Object.entries(value)) {
        const part = clean(key);
        const joined = prefix === "" ? part : `${prefix}_${part}`;
        const name = /^\d/.test(joined) ? `_${joined}` : joined;
        if (typeof inner === "object" && inner !== null && !Array.isArray(inner)) walk(inner, name, out);
        else if (part !== "" && inner !== null && typeof inner !== "object" && !out.has(name)) {
          out.set(name, String(inner).replaceAll("\ufffd", " "));
        }
      }
    };
    const value: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4, withCrossShrink: true },
        fc.string({ unit: "grapheme" }),
        fc.integer(),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie("any"), { maxLength: 3 }),
        tie("object"),
      ),
      object: fc.dictionary(fc.string({ unit: "grapheme", maxLength: 6 }), tie("any"), {
        maxKeys: 6,
        noNullPrototype: true,
      }),
    })).object;
    void fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 5 }), fc.boolean(), (values, pretty) => {
        const lines = values.map((one) => JSON.stringify(one, null, pretty ? 2 : 0));
        const results = runQuery('{job="w"} | json', lines, { stream: {} });
        expect(results.length).toBe(lines.length);
        for (let i = 0; i < lines.length; i++) {
          const want = new Map<string, string>();
          walk(JSON.parse(lines[i]), "", want);
          // An object with an empty key passes its prefix on, which the slow version does not follow.
          if (/"\s*":\s*\{/.test(lines[i])) continue;
          expect(new Map(Object.entries(results[i].labels))).toEqual(want);
        }
      }),
      { numRuns: 300, seed: SEED },
    );
  });

  test("logfmt reads back what was written", () => {
    const key = fc.stringMatching(/^[a-z][a-z0-9_]{0,6}$/);
    const bare = fc.stringMatching(/^[a-z0-9.:/é-]{1,10}$/);
    const quoted = fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => !/[\p{Cc}\ufffd]/u.test(text));
    const pair = fc.oneof(
      fc.tuple(key, bare).map(([k, v]) => ({ k, v, text: `${k}=${v}` })),
      fc.tuple(key, quoted).map(([k, v]) => ({ k, v, text: `${k}=${JSON.stringify(v)}` })),
      fc
        .tuple(key, fc.constantFrom("=", "=1=2", '="', '"'))
        .map(([k, tail]) => ({ k: "", v: "", text: `${k}${tail} ` })),
    );
    void fc.assert(
      fc.property(fc.array(fc.array(pair, { maxLength: 8 }), { minLength: 1, maxLength: 4 }), (pairs) => {
        // An opening quote without an end would take in what follows.
        const safe = pairs.map((line) =>
          line.filter(({ text }) => !/^[a-z0-9_]+="? $/.test(text) || text.endsWith("= ")),
        );
        const lines = safe.map((line) => line.map(({ text }) => text).join(" "));
        const results = runQuery('{job="w"} | logfmt', lines, { stream: {} });
        for (let i = 0; i < lines.length; i++) {
          const want: Record<string, string> = {};
          for (const { k, v } of safe[i]) if (k !== "") want[k] ??= v;
          expect(results[i].labels, lines[i]).toEqual(want);
        }
      }),
      { numRuns: 500, seed: SEED },
    );
  });
});

const STREAMS: Labels[] = [{ job: "w" }, { job: "w", a: "S", level: "info" }, { job: "w", app: "x", a_extracted: "E" }];
const METADATA: [string, string][][] = [
  [],
  [["trace_id", "abc"]],
  [
    ["a", "M"],
    ["status", "200"],
  ],
];

function randomLine(random: RandomQuery): string {
  const name = () => random.pick(["a", "b", "app", "status", "level", "x", "n.a", "2x", "trace_id", "_entry"]);
  const value = () => random.pick(["1", "x", "a b", "10.0.0.1", "5s", "1KB", "é", ""]);
  const fields = Array.from({ length: random.below(6) }, () => [name(), value()] as const);
  switch (random.below(4)) {
    case 0:
      return fields.map(([k, v]) => (v.includes(" ") ? `${k}="${v}"` : `${k}=${v}`)).join(" ");
    case 1:
      return `{${fields.map(([k, v]) => `${JSON.stringify(k)}:${random.chance(0.2) ? `{"q":${JSON.stringify(v)}}` : JSON.stringify(v)}`).join(",")}}`;
    case 2:
      return JSON.stringify(Object.fromEntries(fields)).slice(0, random.below(60));
    default:
      return `a ${value()} b - ${value()} x`;
  }
}

describe("of whole pipelines", () => {
  /** Compiles random log queries until `count` of them could be. */
  const eachQuery = (count: number, visit: (query: string, random: RandomQuery) => void) => {
    const random = makeRandomQuery(SEED + 2);
    for (let done = 0; done < count; ) {
      const query = random.log();
      try {
        compileLogText(query);
      } catch (error) {
        if (error instanceof QueryError) continue;
        throw error;
      }
      visit(query, random);
      done++;
    }
  };

  test("nothing of one line, block or stream is left for the next", () => {
    let kept = 0;
    eachQuery(600, (query, random) => {
      const shared = compileLogText(query);
      for (let n = 0; n < 4; n++) {
        const lines = Array.from({ length: 4 }, () => randomLine(random));
        const options = { stream: random.pick(STREAMS), metadata: random.pick(METADATA), backward: random.chance(0.5) };
        const together = runQuery(shared, lines, options);
        const alone = lines.flatMap((line, row) => runQuery(query, [line], options).map((one) => ({ ...one, row })));
        expect(together, `${query}\n${lines.join("\n")}`).toEqual(alone);
        kept += alone.length;
      }
    });
    expect(kept).toBeGreaterThan(700);
  });

  test("the flat labels are the three classes together", () => {
    eachQuery(600, (query, random) => {
      const lines = Array.from({ length: 4 }, () => randomLine(random));
      const options = { stream: random.pick(STREAMS), metadata: random.pick(METADATA) };
      for (const { labels, classes } of runQuery(query, lines, options)) {
        const { stream, structuredMetadata, parsed } = classes;
        expect({ ...stream, ...structuredMetadata, ...parsed }, query).toEqual(labels);
        const size = [stream, structuredMetadata, parsed].reduce((sum, part) => sum + Object.keys(part).length, 0);
        expect(size, query).toBe(Object.keys(labels).length);
      }
    });
  });

  test("labels as JSON are what JSON.stringify makes of them in order of names", () => {
    let changed = 0;
    eachQuery(1500, (query, random) => {
      const { entry, process } = compileLogText(query);
      for (let n = 0; n < 6; n++) {
        const line = Buffer.from(randomLine(random));
        entry.openBlock(line, { job: "w", 'a"b': "\u0001\ud83d\ude00\ud83d" });
        entry.openLine(0, line.length);
        process();
        const labels = entry.labels();
        const names = Object.keys(labels).sort();
        if (!entry.isAsStream) changed++;
        const want = `{${names.map((name) => `${JSON.stringify(name)}:${JSON.stringify(labels[name])}`).join(",")}}`;
        expect(entry.labelsText(), `${query}\n${line}`).toBe(want);
      }
    });
    expect(changed).toBeGreaterThan(1000);
  });

  test("the literals of the prefilter are in every line that passes, and seeing them spares the filters", () => {
    let useful = 0;
    eachQuery(1500, (query, random) => {
      const compiled = compileLogText(query);
      const { prefilter, entry } = compiled;
      if (prefilter === null) return;
      for (let n = 0; n < 8; n++) {
        const line = Buffer.from(randomLine(random));
        const hasAll = prefilter.requiredLiterals.every((group) => group.some((literal) => line.includes(literal)));
        const run = (seen: Seen) => {
          entry.openBlock(line, { job: "w" });
          entry.openLine(0, line.length);
          return compiled.process(seen);
        };
        const passes = run("nothing");
        if (passes) expect(hasAll, `${query}\n${line}`).toBe(true);
        if (hasAll) {
          useful++;
          expect(run("literals"), `${query}\n${line}`).toBe(passes);
          if (prefilter.isExact) expect(prefilter.requiredLiterals).toHaveLength(1);
        }
      }
    });
    expect(useful).toBeGreaterThan(50);
  });

  test("a parser before `keep` finds less and the answer is the same", () => {
    const random = makeRandomQuery(SEED + 3);
    // A parser in between that finds nothing makes the one before it read everything.
    const nothing = '| regexp "(?P<never>\\\\x00)"';
    for (let i = 0; i < 400; i++) {
      const parser = random.pick(["| json", "| logfmt", "| logfmt --keep-empty"]);
      const filters = random.chance(0.5)
        ? `| ${random.pick(['status!="7"', "a_extracted!=``", 'x="x" or b="1"'])}`
        : "";
      const keep = `| keep ${random.pick(["a", 'a_extracted, b="1"', "status, x", "level, n_a"])}`;
      const lines = Array.from({ length: 5 }, () => randomLine(random));
      const options = { stream: random.pick(STREAMS), metadata: random.pick(METADATA) };
      expect(runQuery(`{job="w"} ${parser} ${filters} ${keep}`, lines, options)).toEqual(
        runQuery(`{job="w"} ${parser} ${filters} ${nothing} ${keep}`, lines, options),
      );
    }
  });
});

test("150,000 different keys do not fill the memory", () => {
  const compiled = compileLogText('{job="w"} | json | want="1"');
  const { entry } = compiled;
  let kept = 0;
  for (let block = 0; block < 150; block++) {
    const lines = Array.from({ length: 50 }, (_, i) =>
      Buffer.from(`{${Array.from({ length: 20 }, (_, k) => `"k${block}_${i}_${k}":1`).join(",")},"want":"${i % 2}"}`),
    );
    const text = Buffer.concat(lines);
    entry.openBlock(text, { job: "w" });
    let at = 0;
    for (const line of lines) {
      entry.openLine(at, at + line.length);
      at += line.length;
      if (!compiled.process()) continue;
      kept++;
      if (kept % 500 === 0) expect(entry.labels()).toMatchObject({ job: "w", want: "1" });
    }
  }
  expect(kept).toBe(150 * 25);
  expect(entry.nameCount).toBeLessThan(60_000);
});
