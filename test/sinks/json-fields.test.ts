import { describe, expect, test } from "vitest";
import { FieldNames } from "../../sinks/shared/field-names.ts";
import { JsonFields, type JsonFieldsOptions } from "../../sinks/shared/json-fields.ts";
import { Random, SEED } from "../random.ts";

const named = (max = 1000) => new FieldNames({ max, forgetMs: 0, now: () => 0 });

/** What becomes of one object: the document, and what was left out. */
function written(json: string, dots: JsonFieldsOptions["dots"] = "_", names = named()): [string, [string, string][]] {
  const fields = new JsonFields(names, { dots });
  fields.begin();
  const document = `{${fields.members(json, names.root, [])}}`;
  JSON.parse(document);
  return [document, fields.leftOut.map(([path, value]) => [path, value])];
}

describe("fields of a record's JSON", () => {
  test.each([
    "{}",
    '{"a":1}',
    '{"a":{},"b":[],"c":[[]],"d":[{}]}',
    '{"a":18446744073709551615,"b":1.50,"c":-0,"d":1e400}',
    '{"a":"\\"}{,:","b\\"}":"\\\\","c":[true,false,null]}',
    '{"a":{"b":{"c":[{"d":1},{"d":2,"e":null}]}}}',
    '{"a":[1,"x",null],"b":null}',
    '{"\\u0000é日":"😀"}',
    '{"__proto__":{"a":1},"constructor":2}',
  ])("are copied as they stand: %s", (json) => {
    expect(written(json)).toEqual([json, []]);
    expect(written(json, "levels")).toEqual([json, []]);
  });

  test.each([
    { name: "dots become _", json: '{"a.b":1,"c.":{"d..e":2}}', want: '{"a_b":1,"c_":{"d__e":2}}', left: [] },
    {
      name: "a name that then stands twice",
      json: '{"a.b":1,"a_b":{"x":2}}',
      want: '{"a_b":1}',
      left: [["a_b", '{"x":2}']],
    },
    {
      name: "a name without anything in it",
      json: '{"":1," ":2,"\\t":3,"a":4}',
      want: '{"a":4}',
      left: [
        ["", "1"],
        [" ", "2"],
        ["\\t", "3"],
      ],
    },
    { name: "a long name", json: `{"${"n".repeat(257)}":1,"a":2}`, want: '{"a":2}', left: [["n".repeat(257), "1"]] },
    {
      name: "an object where there was none",
      json: '{"a":[{"b":1},{"b":{"c":2}}]}',
      want: '{"a":[{"b":1},{}]}',
      left: [["a.b", '{"c":2}']],
    },
    {
      name: "none where there was an object",
      json: '{"a":[{"b":{"c":2}},{"b":1}]}',
      want: '{"a":[{"b":{"c":2}},{}]}',
      left: [["a.b", "1"]],
    },
    { name: "a list of both", json: '{"a":[1,{"b":1}],"z":1}', want: '{"z":1}', left: [["a", '[1,{"b":1}]']] },
    { name: "nothing fits everywhere", json: '{"a":[null,{"b":1},null]}', want: '{"a":[null,{"b":1},null]}', left: [] },
  ])("$name", ({ json, want, left }) => {
    expect(written(json)).toEqual([want, left]);
  });

  test.each([
    { name: "dots stay", json: '{"a.b":1,"a":{"c":2}}', want: '{"a.b":1,"a":{"c":2}}', left: [] },
    { name: "a text and an object of one name", json: '{"a":1,"a.b":2}', want: '{"a":1}', left: [["a.b", "2"]] },
    { name: "the same, the other way", json: '{"a.b":2,"a":1}', want: '{"a.b":2}', left: [["a", "1"]] },
    {
      name: "names with an empty level",
      json: '{".a":1,"a.":2,"a..b":3,"a. .b":4,"b":5}',
      want: '{"b":5}',
      left: [
        [".a", "1"],
        ["a.", "2"],
        ["a..b", "3"],
        ["a. .b", "4"],
      ],
    },
    {
      name: "too many levels",
      json: `{"${"a.".repeat(12)}b":1,"c":2}`,
      want: '{"c":2}',
      left: [[`${"a.".repeat(12)}b`, "1"]],
    },
  ])("with levels: $name", ({ json, want, left }) => {
    expect(written(json, "levels")).toEqual([want, left]);
  });

  test("what is nested too deep is left out where it begins to be", () => {
    const deep = (n: number) => `${'{"a":'.repeat(n)}1${"}".repeat(n)}`;
    expect(written(deep(12))[1]).toEqual([]);
    const [document, left] = written(deep(100));
    expect(left).toHaveLength(1);
    expect(document.length + left[0][1].length).toBeGreaterThan(500);
    const [, lists] = written(`{"x":1,"l":${"[".repeat(5000)}${"]".repeat(5000)}}`);
    expect(lists.map(([path]) => path)).toEqual(["l"]);
  });

  test("names beyond the limit are left out, in later documents too, and known ones are not", () => {
    const names = named(3);
    const fields = new JsonFields(names, { dots: "_" });
    const write = (json: string) => {
      fields.begin();
      return [fields.members(json, names.root, ["f"]), fields.leftOut.map(([path]) => path)];
    };
    expect(write('{"a":1,"b":{"c":2,"d":3},"e":4}')).toEqual(['"a":1,"b":{"c":2}', ["f.b.d", "f.e"]]);
    expect(write('{"e":4,"b":{"d":3,"c":2},"a":1}')).toEqual(['"b":{"c":2},"a":1', ["f.e", "f.b.d"]]);
    expect(names.size).toBe(3);
  });

  test("a fixed text takes only text, a fixed object only objects, and what is not wanted is left out", () => {
    const names = named();
    names.fix(["message"], "text");
    names.fix(["o"], "object");
    names.fix(["_id"], "refused");
    expect(written('{"_id":1,"message":{"a":1},"o":1}', "levels", names)[1].map(([path]) => path)).toEqual([
      "_id",
      "message",
      "o",
    ]);
    expect(written('{"message":"m","o":{"a":1}}', "levels", names)[1]).toEqual([]);
    expect(written('{"message":["m",1]}', "levels", names)[1]).toHaveLength(1);
    expect(written('{"_id.x":1,"o.x":1,"message.x":1}', "levels", names)).toEqual([
      '{"o.x":1}',
      [
        ["_id.x", "1"],
        ["message.x", "1"],
      ],
    ]);
  });

  test("a member may be taken by whoever asks, and that one may come back for more", () => {
    const names = named();
    const fields = new JsonFields(names, { dots: "_" });
    fields.begin();
    const place = names.fix(["k"], "object");
    const made = fields.members('{"a":1,"k":{"x.y":[1,2]},"gone":2,"z":3}', names.root, [], (name, value) => {
      if (name === "k") return `"K":{${fields.members(value, place, ["k"])}}`;
      return name === "gone" ? "" : null;
    });
    expect(made).toBe('"a":1,"K":{"x_y":[1,2]},"z":3');
  });

  test("a cut text is an error and never a loop", () => {
    const json = '{"a":[1,{"b":"x\\"y"},null],"c.d":{"e":true}}';
    for (let end = 0; end < json.length; end++) {
      const names = named();
      const fields = new JsonFields(names, { dots: "_" });
      fields.begin();
      expect(() => fields.members(json.slice(0, end), names.root, [])).toThrow(/record's JSON/);
      // And it works on.
      fields.begin();
      expect(fields.members('{"a":1}', names.root, [])).toBe('"a":1');
    }
  });

  test("random records: nothing is lost, nothing clashes, and the limit holds", () => {
    const random = new Random(SEED);
    const pick = <T>(list: readonly T[]): T => list[random.below(list.length)];
    const name = () => pick(["a", "b", "c", "a.b", "b.a", "", " ", "x.y.z", 'q"', "é"]);
    const value = (depth: number): unknown => {
      const kind = random.below(depth > 4 ? 5 : 8);
      if (kind === 0) return null;
      if (kind === 1) return random.below(100);
      if (kind === 2) return pick(["", "t", 'q"\\', "{}", "[,]"]);
      if (kind === 3) return random.below(2) === 0;
      if (kind === 4) return 1.5;
      if (kind === 5) return Array.from({ length: random.below(4) }, () => value(depth + 1));
      return Object.fromEntries(Array.from({ length: random.below(5) }, () => [name(), value(depth + 1)]));
    };
    for (const dots of ["_", "levels"] as const) {
      const names = named(12);
      const fields = new JsonFields(names, { dots });
      for (let i = 0; i < 2000; i++) {
        const given = Object.fromEntries(Array.from({ length: random.below(6) }, () => [name(), value(0)]));
        fields.begin();
        const json = JSON.stringify(given);
        const document = JSON.parse(`{${fields.members(json, names.root, [])}}`) as unknown;
        const leaves = count(document) + fields.leftOut.reduce((sum, [, text]) => sum + count(JSON.parse(text)), 0);
        expect(leaves, `seed ${SEED}: ${json}`).toBe(count(given));
        expect(clashes(document), `seed ${SEED}: ${json}`).toEqual([]);
      }
      expect(names.size).toBeLessThanOrEqual(12);
    }
  });
});

/** Values that are neither objects nor lists. */
function count(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce((sum: number, one) => sum + count(one), 0);
}

/** Paths that are an object in one place of the document and something else in another, or have a level without a name. */
function clashes(document: unknown): string[] {
  const kinds = new Map<string, Set<string>>();
  const add = (path: string, kind: string) => kinds.set(path, (kinds.get(path) ?? new Set()).add(kind));
  const walk = (value: unknown, path: string): void => {
    if (value === null) return;
    if (Array.isArray(value)) {
      for (const one of value) walk(one, path);
      return;
    }
    if (typeof value !== "object") {
      add(path, "value");
      return;
    }
    if (path !== "") add(path, "object");
    for (const [name, one] of Object.entries(value)) {
      const levels = name.split(".");
      if (levels.some((level) => level.trim() === "")) for (const kind of ["no", "name"]) add(`${path}.${name}`, kind);
      for (let i = 1; i < levels.length; i++) add([path, ...levels.slice(0, i)].join("."), "object");
      walk(one, `${path}.${name}`);
    }
  };
  walk(document, "");
  return [...kinds].flatMap(([path, { size }]) => (size > 1 ? [path] : []));
}
