import { WeirError } from "../core/errors.ts";
import { checkPrefix } from "./key.ts";
import { type S3Options, s3Options } from "./options.ts";

/** Where a store is in S3, and how to speak to it. */
export interface S3Place {
  readonly bucket: string;
  /** Comes before every key; empty, or ending in a slash. */
  readonly prefix: string;
  readonly options: S3Options;
}

// Old buckets also have capital letters and underscores.
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/;
/** Room for Weir's own keys in the 1,024 bytes of an S3 key. */
const PREFIX_BYTES_MAX = 300;

/**
 * Reads `s3://bucket/prefix`. Each option of the `s3:` section may follow as a parameter and goes before it:
 * `s3://logs/weir?endpoint=http://127.0.0.1:9000&region=us-east-1`. Errors: `bad_store_url`.
 */
export function parseS3Url(url: string): S3Place {
  const match = /^s3:\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/i.exec(url);
  if (match === null) throw badUrl(url, "this is no bucket and prefix");
  const [, bucket = "", path = "", query = ""] = match;
  if (!BUCKET.test(bucket)) {
    throw badUrl(url, `the bucket's name ${JSON.stringify(bucket)} is not 3 to 63 letters, digits, dots and dashes`);
  }
  const trimmed = path.replace(/^\/+|\/+$/g, "");
  const prefix = trimmed === "" ? "" : `${trimmed}/`;
  try {
    checkPrefix(prefix);
  } catch (error) {
    throw badUrl(url, "the prefix has more in it than A-Z a-z 0-9 . _ - = and /", error);
  }
  if (prefix.length > PREFIX_BYTES_MAX) throw badUrl(url, `the prefix is longer than ${PREFIX_BYTES_MAX} bytes`);
  return { bucket, prefix, options: optionsIn(url, query) };
}

/**
 * The URL with options in it, for whoever gets nothing but the URL (another thread). What the URL says already goes before `options`;
 * defaults are left out, since messages show the URL. Other URLs than S3's are given back as they are.
 */
export function withS3Options(url: string, options: S3Options): string {
  if (!/^s3:/i.test(url)) return url;
  const [base = "", query = ""] = url.split("?", 2);
  const all = new URLSearchParams();
  const defaults: Readonly<Record<string, unknown>> = s3Options.parse({});
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && value !== defaults[name]) all.set(name, String(value));
  }
  for (const [name, value] of new URLSearchParams(query)) all.set(name, value);
  return all.size === 0 ? base : `${base}?${all}`;
}

function optionsIn(url: string, query: string): S3Options {
  const given = Object.fromEntries([...new URLSearchParams(query)].map(([name, text]) => [name, plain(text)]));
  const checked = s3Options.safeParse(given);
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map(({ path, message }) => [...path, message].join(" "));
  throw badUrl(url, faults.join("; "), checked.error);
}

/** The value of a parameter as the configuration would hold it. */
function plain(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  return /^\d{1,15}$/.test(text) ? Number(text) : text;
}

function badUrl(url: string, why: string, cause?: unknown): WeirError {
  return new WeirError("bad_store_url", `object store ${JSON.stringify(url)}: ${why}; want s3://bucket/prefix`, {
    context: { url },
    cause,
  });
}
