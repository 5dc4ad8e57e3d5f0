import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { objectExists, objectMissing } from "./errors.ts";

/** What a request was about, for messages. */
export interface S3Where {
  readonly bucket: string;
  readonly endpoint: string;
}

/** The HTTP status that an error of the SDK stands for; 0 when there was no answer. */
export function statusOf(error: unknown): number {
  const metadata = fieldOf(error, "$metadata");
  const status = fieldOf(metadata, "httpStatusCode");
  return typeof status === "number" ? status : 0;
}

/** S3's own name of an error, such as `NoSuchKey`. */
export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** Answers that another try may change. S3 gives some of them with a status of 400: a request that came in pieces or too late. */
const TRANSIENT_NAMES = new Set([
  "BadDigest",
  "ConditionalRequestConflict",
  "IncompleteBody",
  "InternalError",
  "OperationAborted",
  "RequestTimeout",
  "RequestTimeTooSkewed",
  "ServiceUnavailable",
  "SlowDown",
  "Throttling",
  "ThrottlingException",
  "TooManyRequests",
  "XAmzContentSHA256Mismatch",
]);
const TRANSIENT_STATUS = new Set([408, 409, 425, 429]);

/** Whether the same request may succeed when it is sent again soon. */
export function isTransient(error: unknown): boolean {
  if (error instanceof WeirError || isAboutCredentials(error) || isAboutSettings(error)) return false;
  const status = statusOf(error);
  // No answer at all: a connection that broke, a timeout, an answer that is cut short.
  if (status < 300) return true;
  return status >= 500 ? status !== 501 : TRANSIENT_STATUS.has(status) || TRANSIENT_NAMES.has(nameOf(error));
}

/** Whether the server asks for fewer requests. */
export function isThrottling(error: unknown): boolean {
  return statusOf(error) === 503 || statusOf(error) === 429 || nameOf(error).startsWith("Throttling");
}

/**
 * What a failed request means to whoever uses the store. What an administrator can mend (rights, the bucket, keys) is retriable: a
 * writer keeps its lines and goes on when it is mended.
 */
export function s3Failure(what: string, key: string, { bucket, endpoint }: S3Where, error: unknown): WeirError {
  if (error instanceof WeirError) return error;
  const status = statusOf(error);
  const name = nameOf(error);
  const said = `${name === "" || name === "Error" ? "" : `${name}: `}${messageOf(error) || codeOf(error)}`;
  const refuse = (code: string, why: string, retriable = true) =>
    new WeirError(code, `can't ${what} ${key || "objects"} in bucket ${bucket} at ${endpoint}: ${said}; ${why}`, {
      retriable,
      context: { key, bucket, endpoint, status },
      cause: error,
    });

  if (isAboutCredentials(error)) {
    return refuse(
      "store_denied",
      "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE), or run where a role gives keys",
    );
  }
  if (isAboutSettings(error)) return refuse("store_refused", "set s3.region in the pipeline file, or AWS_REGION");
  if (name === "NoSuchBucket")
    return refuse("store_bucket", "create the bucket, or correct its name in the store's URL");
  if (status === 301 || status === 307 || name === "PermanentRedirect" || name === "AuthorizationHeaderMalformed") {
    return refuse("store_bucket", "the bucket is in another region; set s3.region in the pipeline file, or AWS_REGION");
  }
  if (ABOUT_KEYS.has(name)) return refuse("store_denied", adviceOn(name));
  if (status === 404 && MISSING_NAMES.has(name)) return objectMissing(key);
  if (status === 412) return objectExists(key);
  if (name === "RequestTimeTooSkewed") return refuse("store_denied", "set this machine's clock");
  if (status === 401 || status === 403) return refuse("store_denied", adviceOn(name));
  if (status === 501) return refuse("store_unsupported", "this server lacks what Weir needs of S3", false);
  if (isTransient(error)) return refuse("store_unavailable", "the server is not reached or has trouble");
  return refuse("store_refused", "check the s3: section and the bucket's settings");
}

/** Names of errors about the keys themselves. Not every server gives them with status 403. */
const ABOUT_KEYS = new Set([
  "ExpiredToken",
  "ExpiredTokenException",
  "InvalidAccessKeyId",
  "InvalidToken",
  "SignatureDoesNotMatch",
  // versitygw's name for InvalidAccessKeyId.
  "XAdminUserNotFound",
]);
/** A HEAD request's answer has no name of its own, so the SDK gives it one. */
const MISSING_NAMES = new Set(["NoSuchKey", "NotFound", "NoSuchVersion"]);

function adviceOn(name: string): string {
  if (name.startsWith("Expired") || name === "InvalidToken") return "the keys have expired: get new ones";
  if (ABOUT_KEYS.has(name)) return "check the access key and its secret";
  return "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on bucket/prefix/* and s3:ListBucket on the bucket";
}

function isAboutCredentials(error: unknown): boolean {
  return nameOf(error) === "CredentialsProviderError" || nameOf(error) === "TokenProviderError";
}

/** The SDK finds no region before it sends anything. */
function isAboutSettings(error: unknown): boolean {
  return statusOf(error) === 0 && /^Region is missing/.test(messageOf(error));
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
