import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { inlineYaml, optionRows } from "../../src/config/describe-schema.ts";
import { documentSchema } from "../../src/config/document-schema.ts";
import { renderReference } from "../../src/config/reference.ts";
import { toValue } from "../../src/config/tree.ts";
import { YamlReader } from "../../src/config/yaml.ts";
import { registries } from "./registries.ts";

describe("optionRows", () => {
  test.each([
    {
      name: "whole numbers",
      schema: z.int().positive().default(3).describe("D."),
      row: ["whole number, at least 1", "`3`", "D."],
    },
    { name: "a range", schema: z.int().min(1).max(9), row: ["whole number, 1 to 9", "required", ""] },
    {
      name: "bytes",
      key: "size_bytes",
      schema: z.int().default(64 * 1024 * 1024),
      row: ["whole number of bytes", "`67108864` (64 MiB)", ""],
    },
    {
      name: "bytes in the middle of a name",
      key: "line_bytes_max",
      schema: z.int().default(1000),
      row: ["whole number of bytes", "`1000`", ""],
    },
    {
      name: "milliseconds",
      key: "idle_timeout_ms",
      schema: z.int().min(0).default(90_000),
      row: ["whole number of milliseconds, at least 0", "`90000` (90 s)", ""],
    },
    {
      name: "minutes",
      key: "age_ms",
      schema: z.int().default(120_000),
      row: ["whole number of milliseconds", "`120000` (2 min)", ""],
    },
    { name: "text", schema: z.string().optional(), row: ["text", "", ""] },
    { name: "a choice", schema: z.enum(["a", "b"]).default("a"), row: ["one of `a`, `b`", "`a`", ""] },
    {
      name: "a union",
      schema: z.union([z.literal("auto"), z.int().min(0)]).default("auto"),
      row: ["`auto` or whole number, at least 0", "`auto`", ""],
    },
    { name: "a list", schema: z.array(z.string()).default(["a b", "c"]), row: ["list of text", '`["a b", c]`', ""] },
    {
      name: "a map",
      schema: z.record(z.string(), z.boolean()).default({}),
      row: ["map of names to `true` or `false`", "`{}`", ""],
    },
    {
      name: "something with words of its own",
      schema: z.string().meta({ title: "a thing" }).transform(Number).describe("D."),
      row: ["a thing", "required", "D."],
    },
  ])("$name", ({ schema, row, key = "x" }) => {
    const [only, ...others] = optionRows(z.strictObject({ [key]: schema }));
    expect(others).toEqual([]);
    expect([only?.type, only?.standard, only?.description]).toEqual(row);
  });

  test("maps and lists of maps have their options below them", () => {
    const inner = z.strictObject({ a: z.int().default(1), b: z.string() });
    const rows = optionRows(
      z.strictObject({
        one: inner.optional(),
        some: z.array(inner).default([]),
        all: z.strictObject({ c: z.int().default(2) }).prefault({}),
      }),
    );
    expect(rows.map(({ name, standard }) => [name, standard])).toEqual([
      ["one", ""],
      ["one.a", "`1`"],
      ["one.b", "required"],
      ["some", "`[]`"],
      ["some[].a", "`1`"],
      ["some[].b", "required"],
      ["all", ""],
      ["all.c", "`2`"],
    ]);
  });
});

test.each([
  "a",
  "true",
  "1",
  "a b",
  "a: b",
  "x:",
  "",
  "#x",
  "[a]",
  'q"q',
  "-",
  "tcp://127.0.0.1:1",
  "1.5e3",
  [],
  {},
  ["a", "1", { "b c": null, d: [true, 1.5] }],
])("inlineYaml of %j is read back as it was", (value) => {
  const reader = new YamlReader("x.yaml", {});
  const tree = reader.read(`[${inlineYaml(value)}]`);
  expect(reader.problems).toEqual([]);
  expect(tree === undefined ? undefined : toValue(tree)).toEqual([value]);
});

describe("renderReference", () => {
  const page = renderReference(registries, [
    {
      flag: "http",
      value: "HOST:PORT",
      env: "WEIR_HTTP",
      path: "http.listen",
      description: "where queries are answered",
    },
  ]);

  test("names everything that is registered", () => {
    const headings = [...page.matchAll(/^##+ (.*)$/gm)].map((match) => match[1]);
    expect(headings).toEqual([
      "Receivers",
      "forward",
      "Pipelines",
      "Steps",
      "parse",
      "level",
      "labels",
      "drop",
      "Parsers",
      "json",
      "logfmt",
      "cri",
      "docker",
      "regex",
      "envoy",
      "istio",
      "Sinks",
      "store",
      "store settings",
      "intake settings",
      "query settings",
      "http settings",
      "Deployment",
    ]);
  });

  test.each([
    "| `listen` | list of text | `[tcp://127.0.0.1:24224]` | Addresses. |",
    "| `tls.cert` | text | required |  |",
    "| `threads` | `auto` or whole number, at least 0 | `auto` | Threads. |",
    "| `--http HOST:PORT` | `WEIR_HTTP` | `http.listen` | where queries are answered |",
    "Names of your choice, and behind each text or list of text.",
    "2024-05-01T09:00:00.5Z stderr F disk full\n→\n  time: 2024-05-01T09:00:00.5Z\n",
  ])("has %j", (text) => {
    expect(page).toContain(text);
  });

  test("every row of a table has the columns of its head", () => {
    let columns = 0;
    for (const line of page.split("\n")) {
      if (!line.startsWith("|")) columns = 0;
      else {
        const count = line
          .replaceAll("\\|", "")
          .replace(/`[^`]*`/g, "")
          .split("|").length;
        if (columns !== 0) expect({ line, count }).toEqual({ line, count: columns });
        columns = count;
      }
    }
  });
});

describe("documentSchema", () => {
  const ajv = new Ajv2020({ strict: true, allowUnionTypes: true });
  addFormats.default(ajv);
  const validate = ajv.compile(documentSchema(registries));

  test.each([
    { name: "little", document: { receivers: { f: { type: "forward" } }, pipelines: { a: {} } }, fits: true },
    {
      name: "an empty pipeline",
      document: { receivers: { f: { type: "forward" } }, pipelines: { a: null } },
      fits: true,
    },
    {
      name: "steps in every form",
      document: {
        receivers: { f: { type: "forward", listen: ["tcp:1"] } },
        pipelines: {
          a: {
            steps: ["level", { level: null }, { parse: { with: ["json", { cri: null }] } }, { labels: { a: ["b"] } }],
          },
        },
      },
      fits: true,
    },
    {
      name: "a reference where a number is wanted",
      document: { receivers: { f: { type: "forward", connections_max: `\${env:N}` } }, pipelines: {} },
      fits: true,
    },
    {
      name: "text where a number is wanted",
      document: { receivers: { f: { type: "forward", connections_max: "N" } }, pipelines: {} },
      fits: false,
    },
    { name: "an unknown key", document: { receivers: {}, pipelines: {}, htp: {} }, fits: false },
    { name: "a key for anchors", document: { receivers: {}, pipelines: {}, "x-a": 1 }, fits: true },
    { name: "an unknown step", document: { receivers: {}, pipelines: { a: { steps: ["levl"] } } }, fits: false },
    { name: "no receivers", document: { pipelines: {} }, fits: false },
  ])("$name", ({ document, fits }) => {
    expect(validate(document)).toBe(fits);
  });
});
