import { stat } from "node:fs/promises";
import { messageOf, WeirError } from "../core/errors.ts";
import type { S3Options } from "../objects/options.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { CliIo } from "./io.ts";
import { environmentOverrides } from "./settings.ts";

export interface StoreFlags {
  /** Pipeline file whose `s3:` section says how to speak to S3. */
  readonly config?: string;
}

export const STORE_ARGUMENT = "the store: a folder, or s3://BUCKET/PREFIX";
export const CONFIG_HELP =
  "pipeline file with the s3 section; options may also follow the URL, as in ?endpoint=…, or come from WEIR_S3_ENDPOINT and WEIR_S3_REGION";

/** Opens the store that a command was given, runs `work` on it, and closes it. `isReading`: nothing will be written. */
export async function withStore<T>(
  url: string,
  { config }: StoreFlags,
  io: CliIo,
  isReading: boolean,
  work: (objects: ObjectStore) => Promise<T>,
): Promise<T> {
  const [{ openObjectStore }, { withS3Options }] = await Promise.all([
    import("../objects/open.ts"),
    import("../objects/s3-url.ts"),
  ]);
  await mustBeThere(url);
  const full = withS3Options(url, await s3OptionsOf(config, io));
  const objects = await openObjectStore(full, { isChecked: isReading });
  try {
    return await work(objects);
  } finally {
    await objects.close();
  }
}

/**
 * Rejects with `store_missing`. These commands work on what there is: a folder that is not there is a mistyped one, which would be
 * made, and found empty.
 */
export async function mustBeThere(url: string): Promise<void> {
  if (url === "" || /^[a-z][a-z0-9+.-]+:/i.test(url)) return;
  try {
    await stat(url);
  } catch (error) {
    throw new WeirError("store_missing", `cannot open the store ${url}: ${messageOf(error)}`, { cause: error });
  }
}

async function s3OptionsOf(file: string | undefined, io: CliIo): Promise<S3Options> {
  const overrides = environmentOverrides(io.env, "s3");
  if (file === undefined) {
    const { s3Options } = await import("../objects/options.ts");
    return s3Options.parse(Object.fromEntries(overrides.map(({ path, value }) => [path.slice("s3.".length), value])));
  }
  // Knows every parser and sink, which nobody needs to walk a store.
  const { loadPipeline } = await import("./check.ts");
  return (await loadPipeline(file, { env: io.env, overrides })).sections.s3;
}
