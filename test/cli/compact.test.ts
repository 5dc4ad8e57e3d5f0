import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { register } from "../../src/cli/compact.ts";
import { run } from "./harness.ts";

describe("weir compact", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "weir-compact-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test.each([
    { name: "a path", urlOf: (place: string) => place },
    { name: "a file: address", urlOf: (place: string) => pathToFileURL(place).href },
  ])("says that there is no store, and makes none, where $name leads nowhere", async ({ urlOf }) => {
    const nowhere = path.join(folder, "nowhere");
    const { exitCode, stdout, stderr } = await run(register, ["compact", urlOf(nowhere), "--once"]);
    expect(stderr).toContain(`cannot open the store ${urlOf(nowhere)}: ENOENT`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(existsSync(nowhere)).toBe(false);
  });

  test("has nothing to do in a folder that is empty", async () => {
    const empty = path.join(folder, "empty");
    await mkdir(empty);
    const { exitCode, stdout } = await run(register, ["compact", empty, "--once"]);
    expect(stdout).toMatch(/^0 merges: 0 segments /);
    expect(exitCode).toBe(0);
  });
});
