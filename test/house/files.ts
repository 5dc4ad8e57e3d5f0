import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's folder. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What a build, an installation or a run leaves behind. */
const NOT_OURS = new Set(["node_modules", "dist", "data", "coverage", ".git"]);

/** Paths of all files of the project under `folder`, with `/`, from the project's folder on. */
export function filesUnder(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: false })
    .flatMap((entry) => {
      const path = folder === "." ? entry.name : `${folder}/${entry.name}`;
      if (!entry.isDirectory()) return [path];
      return NOT_OURS.has(entry.name) ? [] : filesUnder(path);
    })
    .sort();
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** Paths from the project's folder on, of the files with one of these endings. */
export function filesEndingIn(folders: readonly string[], ...endings: string[]): string[] {
  return folders.flatMap(filesUnder).filter((path) => endings.some((ending) => path.endsWith(ending)));
}

/** `path` from the project's folder on, with `/`. */
export function fromRoot(path: string): string {
  return relative(ROOT, path).split(sep).join("/");
}
