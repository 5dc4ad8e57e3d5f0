import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { register } from "../../src/cli/compact.ts";
import { openFolderStore } from "../../src/objects/folder.ts";
import { TestStore, testLine } from "../store/support.ts";
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

  test("says what it has done before it says what failed", async () => {
    const store = await TestStore.open(await openFolderStore(path.join(folder, "damaged")));
    for (let i = 0; i < 3; i++) {
      store.append([testLine(`line ${i}`, { sec: 1_700_000_000 + i })]);
      await store.writer.flush(i + 1);
    }
    await store.catalog.fold();
    const pages = path.join(folder, "damaged", "pages");
    const [page] = await readdir(pages, { recursive: true }).then((names) => names.filter((it) => it.endsWith(".gz")));
    await writeFile(path.join(pages, page), "damaged");
    const { exitCode, stdout, stderr } = await run(register, ["compact", path.join(folder, "damaged"), "--once"]);
    expect(stdout).toMatch(/^0 merges: .* 0 objects deleted\n$/);
    expect(stderr).toContain(path.basename(page));
    expect(exitCode).toBe(1);
  });
});
