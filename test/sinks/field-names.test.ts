import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FieldNames } from "../../sinks/shared/field-names.ts";
import { nodeFiles } from "../../src/core/files.ts";

const HOUR = 3_600_000;

describe("names of fields", () => {
  let folder = "";
  let now = 0;
  beforeEach(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-names-"));
    now = 1000 * HOUR;
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  const open = (max = 10, forgetMs = 24 * HOUR) => new FieldNames({ max, forgetMs, now: () => now });
  const add = (names: FieldNames, ...way: string[]) => {
    let at: ReturnType<FieldNames["child"]> = names.root;
    for (const name of way) at = at === null ? null : names.child(at, name);
    return at;
  };

  test("counts each once, and takes no more than it may", () => {
    const names = open(3);
    expect([add(names, "a"), add(names, "a", "b"), add(names, "a"), add(names, "c")]).not.toContain(null);
    expect(add(names, "d")).toBeNull();
    expect(add(names, "a", "d")).toBeNull();
    expect(names.size).toBe(3);
  });

  test("none at all", () => {
    expect(add(open(0), "a")).toBeNull();
  });

  test("fixed ones do not count", () => {
    const names = open(1);
    names.fix(["k", "pod", "name"], "text");
    expect(names.size).toBe(0);
    expect(add(names, "k", "pod", "name")).not.toBeNull();
    expect(add(names, "k", "pod", "other")).not.toBeNull();
    expect(add(names, "k", "more")).toBeNull();
  });

  test("are known after a restart, without the fixed ones", async () => {
    const names = open();
    names.fix(["fixed"], "object");
    add(names, "fixed", 'a\\"');
    add(names, "b", "c");
    await names.save(folder);
    const again = open(3);
    again.fix(["fixed"], "object");
    expect(await again.load(folder)).toBeNull();
    expect(again.size).toBe(3);
    expect(add(again, "b", "c")).not.toBeNull();
    expect(add(again, "fixed", 'a\\"')).not.toBeNull();
    expect(add(again, "new")).toBeNull();
  });

  test("are written only when there is something new, or after an hour", async () => {
    const names = open();
    let writes = 0;
    const rename = (from: string, to: string) => {
      writes++;
      return nodeFiles.rename(from, to);
    };
    const files = { ...nodeFiles, rename };
    const save = () => names.save(folder, files);
    add(names, "a");
    await save();
    await save();
    add(names, "a");
    await save();
    expect(writes).toBe(1);
    add(names, "b");
    await save();
    expect(writes).toBe(2);
    now += HOUR;
    names.tick();
    add(names, "a");
    await save();
    expect(writes).toBe(3);
    expect(JSON.parse(readFileSync(path.join(folder, "field-names.json"), "utf8"))).toEqual({
      version: 1,
      names: [
        [1001, "a"],
        [1000, "b"],
      ],
    });
  });

  test("those of long ago make room when there is need, once an hour, and never those above one in use", async () => {
    const names = open(3);
    add(names, "a", "b");
    add(names, "c");
    now += 24 * HOUR;
    names.tick();
    // A day is not more than a day.
    expect(add(names, "d")).toBeNull();
    now += 2 * HOUR;
    names.tick();
    add(names, "a", "b");
    expect(add(names, "d")).not.toBeNull();
    expect(names.size).toBe(3);
    expect(add(names, "e")).toBeNull();
    // What has been away for as long while the process was, too.
    await names.save(folder);
    now += 30 * HOUR;
    const again = open(3);
    await again.load(folder);
    expect(add(again, "x", "y", "z")).not.toBeNull();
    expect(again.size).toBe(3);
  });

  test("stay for good where that is asked for", () => {
    const names = open(1, 0);
    add(names, "a");
    now += 1e6 * HOUR;
    names.tick();
    expect(add(names, "b")).toBeNull();
  });

  test("a restart with less room keeps as many as it may", async () => {
    const names = open();
    for (const name of "abcdef") add(names, name);
    await names.save(folder);
    const again = open(2);
    await again.load(folder);
    expect(again.size).toBe(2);
  });

  test.each([
    "",
    "{",
    "[]",
    '{"version":2,"names":[]}',
    '{"version":1,"names":[[1]]}',
    '{"version":1,"names":[["a",1]]}',
  ])("a file with %j counts as none, and is said to be wrong", async (text) => {
    writeFileSync(path.join(folder, "field-names.json"), text);
    const names = open();
    expect(await names.load(folder)).toContain("learnt anew");
    expect(names.size).toBe(0);
    add(names, "a");
    await names.save(folder);
    expect(await open().load(folder)).toBeNull();
  });
});
