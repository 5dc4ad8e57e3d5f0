import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const OPEN = new URL("../../dist/src/objects/open.js", import.meta.url);

/** How many files of the AWS SDK a process has loaded that opens a store. */
function sdkFilesLoaded(url: string): number {
  const script = `
    import { createRequire } from "node:module";
    const { openObjectStore } = await import(${JSON.stringify(OPEN.href)});
    const store = await openObjectStore(process.argv[1], { isChecked: true });
    const files = Object.keys(createRequire(import.meta.url).cache).filter((file) => file.includes("@aws-sdk"));
    console.log(files.length);
    await store.close();
  `;
  const args = ["--input-type=module", "--eval", script, url];
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  return Number(execFileSync(process.execPath, args, { cwd, encoding: "utf8" }));
}

test("the SDK is loaded for S3 alone", () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "weir-lazy-"));
  try {
    expect(sdkFilesLoaded(folder)).toBe(0);
    expect(sdkFilesLoaded("s3://bucket/prefix?region=us-east-1")).toBeGreaterThan(0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
