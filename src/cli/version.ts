import { readFileSync } from "node:fs";

/** Looks for package.json from this file upward: it stands at another depth in src and in dist. */
function readVersion(): string {
  for (let folder = new URL(".", import.meta.url); ; folder = new URL("..", folder)) {
    try {
      return (JSON.parse(readFileSync(new URL("package.json", folder), "utf8")) as { version: string }).version;
    } catch (error) {
      // Not in this folder; the root is the last that can be tried.
      if (folder.pathname === "/") throw error;
    }
  }
}

/** The version in package.json. */
export const VERSION: string = readVersion();
