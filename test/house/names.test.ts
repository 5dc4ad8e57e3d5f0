import { describe, expect, test } from "vitest";
import { filesUnder, read } from "./files.ts";

/*
 * What must stand in no file: paths of one machine, notes of unfinished work, hosts of package registries (an
 * installation uses whichever registry it is configured for). Patterns are put together so that they don't find
 * themselves here.
 */
const FORBIDDEN: readonly { readonly name: string; readonly pattern: RegExp }[] = [
  {
    name: "a path of one machine",
    pattern: new RegExp(`(^|[\\s"'\`(=:])/(${["work", "home", "root", "Users", "tmp"].join("|")})/`),
  },
  { name: "a path outside the project", pattern: new RegExp(`\\.\\./${"shared"}\\b`) },
  {
    name: "a note of unfinished work",
    pattern: new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`),
  },
  {
    name: "a registry's host",
    pattern: new RegExp(["npmjs", "yarnpkg", "npmmirror"].map((host) => `${host}\\.(org|com)`).join("|")),
  },
];

/** Captured bytes and golden files are what they are. */
const AS_THEY_ARE = /^test\/(fixtures|golden)\//;
const BINARY = /\.(bin|gz|png|ico|zst|wb)$/;

const TEXTS = filesUnder(".").filter((path) => !AS_THEY_ARE.test(path) && !BINARY.test(path) && path !== "LICENSE");

describe("names", () => {
  test("the files are found", () => {
    expect(TEXTS).toContain("src/core/errors.ts");
    expect(TEXTS).toContain("package-lock.json");
    expect(TEXTS).toContain("README.md");
  });

  test.each(FORBIDDEN)("no file has $name", ({ pattern }) => {
    const found = TEXTS.flatMap((path) =>
      read(path)
        .split("\n")
        .flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim().slice(0, 120)}`] : [])),
    );
    expect(found).toEqual([]);
  });

  test.each([
    { pattern: 0, text: `cp x ${"/wo"}rk/main` },
    { pattern: 0, text: `"${"/ho"}me/me/x"` },
    { pattern: 1, text: `import "../../${"../sha"}red/x"` },
    { pattern: 2, text: `// ${"TO"}DO: later` },
    { pattern: 3, text: `https://registry.${"npm"}js.org/x` },
  ])("the pattern finds $text", ({ pattern, text }) => {
    expect(text).toMatch(FORBIDDEN[pattern]?.pattern ?? /^$/);
  });

  test("the lock file names no place to download from", () => {
    expect(read("package-lock.json")).not.toMatch(/"resolved"/);
  });
});
