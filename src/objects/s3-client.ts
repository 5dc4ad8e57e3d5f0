import { S3Client } from "@aws-sdk/client-s3";
import type { S3Options } from "./options.ts";

const QUIET = "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED";
const nothing = () => undefined;

/**
 * The SDK's client. Keys come from the SDK's chain: environment, profile, web identity, container, instance.
 *
 * It makes one attempt only: `S3Requests` tries again, because what a refusal means depends on whether there was a try before.
 */
export function createS3Client(options: S3Options, env: NodeJS.ProcessEnv = process.env): S3Client {
  const { endpoint, region, path_style } = options;
  const isOwn = endpoint !== undefined || hasEndpoint(env);
  const sockets = { keepAlive: true, maxSockets: options.requests_at_once };
  return withoutVersionWarning(
    () =>
      new S3Client({
        ...(endpoint === undefined ? {} : { endpoint }),
        ...regionOf(region, isOwn, env),
        forcePathStyle: path_style === "auto" ? isOwn : path_style,
        maxAttempts: 1,
        // Waiting for "100 Continue" would cost a new connection for every large object.
        expectContinueHeader: false,
        // Bodies are covered by the signature's SHA-256, and what is read by checksums of our own. Further checksums are more than
        // some servers understand.
        requestChecksumCalculation: "WHEN_REQUIRED",
        responseChecksumValidation: "WHEN_REQUIRED",
        logger: { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing },
        requestHandler: {
          connectionTimeout: options.connect_timeout_ms,
          httpAgent: sockets,
          httpsAgent: sockets,
        },
      }),
  );
}

const hasEndpoint = (env: NodeJS.ProcessEnv) =>
  (env.AWS_ENDPOINT_URL_S3 ?? "") !== "" || (env.AWS_ENDPOINT_URL ?? "") !== "";

/** Servers of one's own take any region, and have no profile to say it. */
function regionOf(region: string | undefined, isOwn: boolean, env: NodeJS.ProcessEnv): { region?: string } {
  // The SDK for JavaScript alone of AWS's tools does not know the second variable.
  const said = [region, env.AWS_REGION, env.AWS_DEFAULT_REGION].find((value) => value !== undefined && value !== "");
  if (said !== undefined) return { region: said };
  return isOwn && (env.AWS_PROFILE ?? "") === "" ? { region: "us-east-1" } : {};
}

/**
 * The SDK says once that its releases of 2027 want Node 22, which the user of Weir can't act upon: the release in use runs. It has
 * a variable to leave that out, set for as long as the client is made; no other warning is touched.
 */
function withoutVersionWarning<T>(make: () => T): T {
  const before = process.env[QUIET];
  process.env[QUIET] = "true";
  try {
    return make();
  } finally {
    if (before === undefined) delete process.env[QUIET];
    else process.env[QUIET] = before;
  }
}
