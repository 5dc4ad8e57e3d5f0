import { documentSchema } from "../config/document-schema.ts";
import { renderReference } from "../config/reference.ts";
import { registries } from "./registries.ts";
import { SETTINGS } from "./settings.ts";

/** Files that are derived from the schemas in the code, and what has to stand in them. A test compares the two. */
export const GENERATED: Readonly<Record<string, () => string>> = {
  "docs/configuration.md": () => renderReference(registries, SETTINGS),
  "docs/pipeline.schema.json": () => `${JSON.stringify(documentSchema(registries), null, 1)}\n`,
};
