import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { GENERATED } from "./generated.ts";

/** `npm run docs`, in the project's folder: writes what is derived from the schemas in the code. */
for (const [path, make] of Object.entries(GENERATED)) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, make());
  process.stdout.write(`${path}\n`);
}
