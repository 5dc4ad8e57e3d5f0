import { execFileSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { ROOT, read } from "./files.ts";

const texts = z.record(z.string(), z.string());
const manifest = z
  .object({
    license: z.string(),
    type: z.string(),
    engines: z.object({ node: z.string() }),
    bin: texts,
    scripts: texts,
    allowScripts: z.record(z.string(), z.boolean()),
    dependencies: texts,
    optionalDependencies: texts,
    devDependencies: texts,
  })
  .parse(JSON.parse(read("package.json")));

const lock = z
  .object({
    packages: z.record(
      z.string(),
      z.object({
        hasInstallScript: z.boolean().optional(),
        version: z.string().optional(),
        optionalDependencies: texts.optional(),
      }),
    ),
  })
  .parse(JSON.parse(read("package-lock.json")));

describe("package.json", () => {
  test("is a module for Node 20 and later, under the licence that LICENSE holds", () => {
    expect(manifest.type).toBe("module");
    expect(manifest.engines.node).toBe(">=20");
    expect(manifest.license).toBe("Apache-2.0");
    expect(read("LICENSE")).toMatch(/Apache License\s+Version 2\.0, January 2004/);
    expect(read("LICENSE")).toContain("APPENDIX: How to apply the Apache License to your work.");
  });

  test.each(["start", "test", "check", "bench", "build"])("has the script %s", (script) => {
    expect(manifest.scripts[script]).toBeTruthy();
  });

  test("`npm start` runs a pipeline that is there", () => {
    const pipeline = /run (\S+\.yaml)$/.exec(manifest.scripts.start ?? "")?.[1] ?? "";
    expect(existsSync(join(ROOT, pipeline))).toBe(true);
  });

  test("the command is an executable file that begins with a shebang", () => {
    const path = manifest.bin.weir ?? "";
    expect(read(path)).toMatch(/^#!\/usr\/bin\/env (-S )?node\b/);
    expect(statSync(join(ROOT, path)).mode & 0o111).toBe(0o111);
  });

  test("every package with an install script is decided on, so that an installation asks nothing", () => {
    const withScript = Object.entries(lock.packages)
      .filter(([, { hasInstallScript }]) => hasInstallScript === true)
      .map(([path]) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length));
    expect(withScript).toContain("zlib-sync");
    expect(withScript.filter((name) => manifest.allowScripts[name] === undefined)).toEqual([]);
  });

  test("the lock file has an entry for every optional package, for any platform, or `npm ci` refuses it", () => {
    const entries = Object.entries(lock.packages);
    const wanted = entries.flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).map((name) => ({ path, name })),
    );
    expect(wanted.length).toBeGreaterThan(10);
    // As Node looks it up: in the package's own folder, or in one above it.
    const missing = wanted.filter(({ path, name }) => {
      const folders = path
        .split("/node_modules/")
        .map((_, i, all) => all.slice(0, all.length - i).join("/node_modules/"));
      return ![...folders.map((folder) => `${folder}/node_modules/${name}`), `node_modules/${name}`].some(
        (place) => lock.packages[place] !== undefined,
      );
    });
    expect(missing).toEqual([]);
  });

  test("a package of it has what the program and its pages want, and nothing of the tests", { timeout: 60_000 }, () => {
    const packed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
      cwd: ROOT,
      encoding: "utf8",
    });
    const [{ files }] = z.array(z.object({ files: z.array(z.object({ path: z.string() })) })).parse(JSON.parse(packed));
    const paths = files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining([
        ...["bin/weir.js", "dist/src/main.js", "pipelines/quickstart.yaml", "docs/pipeline.schema.json"],
        ...["docs/operations.md", "README.md", "CHANGELOG.md", "LICENSE"],
      ]),
    );
    expect(
      paths.filter(
        (path) => !/^(?:bin|dist\/(?:src|parsers|sinks)|docs|pipelines)\/|^[A-Z]+(?:\.md)?$|^package\.json$/.test(path),
      ),
    ).toEqual([]);
    expect(paths.filter((path) => path.endsWith(".map"))).toEqual([]);
  });

  test("what needs a compiler is optional", () => {
    const required = Object.keys(manifest.dependencies);
    expect(required.filter((name) => lock.packages[`node_modules/${name}`]?.hasInstallScript === true)).toEqual([]);
  });
});
