import { builtinModules } from "node:module";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { filesEndingIn, fromRoot, ROOT, read } from "./files.ts";

/*
 * The table "The rooms" of docs/architecture.md, as a test: for each room what it may import besides itself.
 * A type is an import like any other.
 */
const ALL_ROOMS = [
  "src/core",
  "src/codec",
  "src/objects",
  "src/kafka",
  "src/config",
  "src/forward",
  "src/intake",
  "src/pipeline",
  "src/push",
  "src/topics",
  "src/store",
  "src/query",
  "src/api",
  "src/roles",
  "src/cli",
  "parsers",
  "sinks",
] as const;

const MAY_IMPORT: Record<string, readonly string[]> = {
  "src/core": [],
  "src/codec": ["src/core"],
  "src/objects": ["src/core"],
  "src/kafka": ["src/core", "src/codec"],
  "src/config": ["src/core", "src/codec"],
  "src/forward": ["src/core", "src/codec"],
  "src/intake": ["src/core", "src/codec", "src/kafka"],
  "src/pipeline": ["src/core", "src/codec"],
  "src/push": ["src/core", "src/codec"],
  "src/topics": ["src/core", "src/codec", "src/kafka", "src/push"],
  "src/store": ["src/core", "src/codec", "src/objects"],
  "src/query": ["src/core", "src/codec", "src/store"],
  "src/api": ["src/core", "src/push", "src/query"],
  // A role is wired from everything, and knows nothing of the command line that starts it.
  "src/roles": ALL_ROOMS.filter((room) => room !== "src/cli"),
  parsers: ["src/core", "src/codec"],
  sinks: ["src/core", "src/codec", "src/kafka", "src/store"],
  // The commands join what the rooms offer; nobody but main.ts imports them.
  "src/cli": ALL_ROOMS,
  "src/main.ts": ALL_ROOMS,
};

/**
 * Where each vendor library may be imported, and why there. One place each, so that it can be exchanged. A path that
 * ends in `/` is a room or a folder in it.
 */
const VENDORS: Record<string, { readonly where: readonly string[]; readonly why: string }> = {
  zod: { where: ["src/", "parsers/", "sinks/"], why: "options are declared where they are used" },
  pino: { where: ["src/core/log.ts"], why: "the one logger" },
  "prom-client": { where: ["src/core/metrics.ts"], why: "the one registry of metrics" },
  "fast-json-stable-stringify": { where: ["src/core/labels.ts"], why: "the canonical form of labels" },
  yaml: { where: ["src/config/"], why: "the pipeline file" },
  fastify: { where: ["src/api/"], why: "the HTTP server" },
  "@fastify/compress": { where: ["src/api/"], why: "gzip answers" },
  "@fastify/formbody": { where: ["src/api/"], why: "the HTTP server" },
  ws: { where: ["src/api/", "src/cli/tail-client.ts"], why: "the two ends of a live tail" },
  commander: { where: ["src/main.ts", "src/cli/"], why: "the command line" },
  re2js: { where: ["src/codec/"], why: "regular expressions in linear time" },
  pbf: { where: ["src/codec/"], why: "protobuf bodies" },
  snappyjs: { where: ["src/codec/"], why: "snappy bodies" },
  lz4js: { where: ["src/codec/"], why: "lz4, which Node lacks" },
  kafkajs: { where: ["src/kafka/"], why: "the one client of Kafka" },
  fzstd: { where: ["src/codec/"], why: "zstd, which Node 20 lacks" },
  "@aws-sdk/client-s3": { where: ["src/objects/"], why: "the object store in S3, with its requests and errors" },
  "@opensearch-project/opensearch": {
    where: ["sinks/shared/elastic-client.ts"],
    why: "Elasticsearch and OpenSearch, loaded for a sink that wants it",
  },
  "@node-rs/crc32": { where: ["src/codec/"], why: "a faster CRC-32, where there is a build of it" },
  "zlib-sync": { where: ["src/codec/"], why: "another inflate, where it could be built" },
};

interface Import {
  readonly file: string;
  readonly line: number;
  readonly target: string;
}

/** Every static and dynamic import and re-export, and every file named by `new URL("./…", import.meta.url)`. */
function importsOf(file: string, text: string): Import[] {
  // Comments go, but for their newlines, so that an import in an example does not count.
  const code = text
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ""))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
  const found: Import[] = [];
  const patterns = [
    /\b(?:import|export)\s[^;"'`]*?\bfrom\s*["']([^"']+)["']/g,
    /\bimport\s*["']([^"']+)["']/g,
    /\b(?:import|require|require\.resolve)\(\s*["']([^"']+)["']/g,
    /\bcreateRequire\([^()]*\)\(\s*["']([^"']+)["']/g,
    /\bnew URL\(\s*["'](\.[^"']*)["'],\s*import\.meta\.url/g,
  ];
  for (const pattern of patterns) {
    for (const match of code.matchAll(pattern)) {
      const line = code.slice(0, match.index + match[0].length).split("\n").length;
      found.push({ file, line, target: match[1] ?? "" });
    }
  }
  return found;
}

function roomOf(path: string): string {
  const parts = path.split("/");
  if (parts[0] === "src") return parts.length === 2 ? path : `src/${parts[1]}`;
  return parts[0] ?? "";
}

function packageOf(target: string): string {
  const parts = target.split("/");
  return target.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? "");
}

/** What is wrong with an import, or null. */
function complaint({ file, line, target }: Import): string | null {
  const at = `${file}:${line}: imports ${target}`;
  if (target.startsWith(".")) {
    const from = roomOf(file);
    const to = roomOf(fromRoot(join(ROOT, dirname(file), target)));
    const allowed = MAY_IMPORT[from];
    if (allowed === undefined) return `${at}: there is no room ${from} in the table`;
    if (from === to || allowed.includes(to)) return null;
    return `${at}: ${from} may import ${allowed.join(", ") || "nothing of ours"}, but not ${to}`;
  }
  if (target.startsWith("node:")) return null;
  if (builtinModules.includes(target)) return `${at}: write node:${target}`;
  const vendor = VENDORS[packageOf(target)];
  if (vendor === undefined) return `${at}: a library that is not in the table of this test`;
  if (vendor.where.some((place) => (place.endsWith("/") ? file.startsWith(place) : file === place))) return null;
  return `${at}: belongs in ${vendor.where.join(", ")} (${vendor.why})`;
}

const CODE = filesEndingIn(["src", "parsers", "sinks"], ".ts");

describe("imports", () => {
  test("keep to the rooms and to one place a library", () => {
    const imports = CODE.flatMap((file) => importsOf(file, read(file)));
    expect(imports.length).toBeGreaterThan(CODE.length / 2);
    expect(imports.map(complaint).filter((found) => found !== null)).toEqual([]);
  });

  test("every library of the table and of package.json is used", () => {
    const used = new Set(CODE.flatMap((file) => importsOf(file, read(file)).map(({ target }) => packageOf(target))));
    const { dependencies, optionalDependencies } = JSON.parse(read("package.json")) as Record<string, object>;
    const installed = Object.keys({ ...dependencies, ...optionalDependencies });
    expect(installed.filter((name) => !used.has(name))).toEqual([]);
    expect(Object.keys(VENDORS).sort()).toEqual(installed.sort());
  });

  test("the table of this test has the rooms of docs/architecture.md", () => {
    const table = /## 4\. The rooms\n([\s\S]*?)\n## /.exec(read("docs/architecture.md"))?.[1] ?? "";
    const documented = [...table.matchAll(/^\| `([^`]+?)\/?` /gm)].map((match) => match[1] ?? "");
    const ofCode = documented.filter((room) => /^(src|parsers|sinks)\b/.test(room));
    expect(ofCode.sort()).toEqual(Object.keys(MAY_IMPORT).sort());
  });
});

/** The test's own eyes: each of these must be seen, or a real one would pass unseen. */
describe("importsOf and complaint", () => {
  test.each([
    {
      name: "upward",
      file: "src/core/a.ts",
      code: 'import { x } from "../store/x.ts";',
      says: /may import nothing of ours/,
    },
    { name: "a type", file: "src/codec/a.ts", code: 'import type { X } from "../query/x.ts";', says: /not src\/query/ },
    {
      name: "over several lines",
      file: "src/api/a.ts",
      code: 'import {\n  x,\n  y,\n} from "../store/x.ts";',
      says: /^src\/api\/a\.ts:4: /,
    },
    {
      name: "a re-export",
      file: "src/intake/a.ts",
      code: 'export * from "../forward/x.ts";',
      says: /not src\/forward/,
    },
    {
      name: "dynamic",
      file: "src/store/a.ts",
      code: 'const m = await import("../query/x.ts");',
      says: /not src\/query/,
    },
    {
      name: "a worker's file",
      file: "src/query/a.ts",
      code: 'new Worker(new URL("../api/w.ts", import.meta.url));',
      says: /not src\/api/,
    },
    {
      name: "by createRequire",
      file: "src/store/a.ts",
      code: 'createRequire(import.meta.url)("zlib-sync")',
      says: /belongs in src\/codec/,
    },
    { name: "main", file: "src/cli/a.ts", code: 'import "../main.ts";', says: /not src\/main\.ts/ },
    {
      name: "a parser that knows the store",
      file: "parsers/a.ts",
      code: 'import x from "../src/store/x.ts";',
      says: /not src\/store/,
    },
    {
      name: "a library in a second place",
      file: "src/store/a.ts",
      code: 'import YAML from "yaml";',
      says: /belongs in src\/config/,
    },
    {
      name: "a library's inner file",
      file: "src/store/a.ts",
      code: 'import x from "ws/lib/x.js";',
      says: /belongs in src\/api/,
    },
    {
      name: "a scoped library",
      file: "src/query/a.ts",
      code: 'import x from "@fastify/formbody";',
      says: /belongs in src\/api/,
    },
    { name: "an unknown library", file: "src/query/a.ts", code: 'import _ from "lodash";', says: /not in the table/ },
    { name: "a builtin without node:", file: "src/query/a.ts", code: 'import fs from "fs";', says: /write node:fs/ },
  ])("sees $name", ({ file, code, says }) => {
    const complaints = importsOf(file, code).map(complaint);
    expect(complaints).toHaveLength(1);
    expect(complaints[0]).toMatch(says);
  });

  test.each([
    { name: "down", file: "src/query/a.ts", code: 'import { x } from "../store/x.ts";' },
    { name: "in the room", file: "src/query/a.ts", code: 'import { x } from "./x.ts";' },
    { name: "a builtin", file: "src/query/a.ts", code: 'import fs from "node:fs";' },
    {
      name: "in a comment",
      file: "src/core/a.ts",
      code: '/* import { x } from "../store/x.ts"; */\n// import "../api/x.ts";',
    },
  ])("accepts $name", ({ file, code }) => {
    expect(
      importsOf(file, code)
        .map(complaint)
        .filter((found) => found !== null),
    ).toEqual([]);
  });
});
