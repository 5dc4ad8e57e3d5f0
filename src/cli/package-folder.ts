import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** Looks for package.json from this file upward: it stands at another depth in src and in dist. */
function findPackage(): string {
  for (let folder = path.dirname(fileURLToPath(import.meta.url)); ; folder = path.dirname(folder)) {
    // The root is the last that can be tried; what wants the folder says then what it did not find.
    if (existsSync(path.join(folder, "package.json")) || folder === path.dirname(folder)) return folder;
  }
}

/** The folder of this Weir's package.json. */
export const PACKAGE_FOLDER: string = findPackage();

const QUICKSTART = "pipelines/quickstart.yaml";

/** For the help of commands that take a pipeline file. */
export const DEFAULT_PIPELINE_HELP = `default: ${QUICKSTART}, here or as it came with Weir`;

/** The pipeline file where nobody names one: somebody who has installed Weir has none of these files where they are. */
export function defaultPipeline(): string {
  return existsSync(QUICKSTART) ? QUICKSTART : path.join(PACKAGE_FOLDER, QUICKSTART);
}
