import { readFileSync } from "node:fs";
import path from "node:path";
import { PACKAGE_FOLDER } from "./package-folder.ts";

function readVersion(): string {
  const text = readFileSync(path.join(PACKAGE_FOLDER, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** The version in package.json. */
export const VERSION: string = readVersion();
