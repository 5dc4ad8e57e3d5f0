import { messageOf, WeirError } from "../core/errors.ts";

export function objectMissing(key: string): WeirError {
  return new WeirError("object_missing", `there is no object ${key}`, { context: { key } });
}

export function objectExists(key: string): WeirError {
  return new WeirError("object_exists", `there is an object ${key} already`, { context: { key } });
}

export function objectRange(key: string, start: number, length: number, size: number): WeirError {
  return new WeirError(
    "object_range",
    `object ${key}: got a request for ${length} bytes from ${start} on, want them within its ${size} bytes`,
    { context: { key, start, length, size } },
  );
}

export function storeUnavailable(what: string, key: string, cause: unknown): WeirError {
  return new WeirError("store_unavailable", `can't ${what} ${key}: ${messageOf(cause)}`, {
    retriable: true,
    context: { key },
    cause,
  });
}
