import { mkdir, writeFile } from "node:fs/promises";
import { documentSchema } from "../config/document-schema.ts";
import { renderReference } from "../config/reference.ts";
import { registries } from "./registries.ts";
import { SETTINGS } from "./settings.ts";

/** `npm run docs`: writes what is derived from the schemas. A test fails while the files say something else. */
export const GENERATED: Readonly<Record<string, () => string>> = {
  "docs/configuration.md": () => renderReference(registries, SETTINGS),
  "docs/pipeline.schema.json": () => `${JSON.stringify(documentSchema(registries), null, 1)}\n`,
};

export async function writeReference(): Promise<void> {
  await mkdir("docs", { recursive: true });
  for (const [path, make] of Object.entries(GENERATED)) {
    await writeFile(path, make());
    process.stdout.write(`${path}\n`);
  }
}

if (import.meta.filename === process.argv[1]) await writeReference();
