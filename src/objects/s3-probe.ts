import { PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { WeirError } from "../core/errors.ts";
import { statusOf } from "./s3-errors.ts";
import type { S3Requests } from "./s3-requests.ts";

/** Written once into every store, and in no listing. */
export const PROBE_KEY = "weir-store.json";
const PROBE = Buffer.from('{"weir":"store","about":"written at the first start; made again when it is deleted"}\n');

/**
 * Whether the bucket is there, may be written, and refuses to create an object that exists: commits rest on that. Creates a small object, and again: the
 * second time must be refused. One request when the object is there from an earlier start, two at the first.
 * Rejects with `store_unsupported` for a server that ignores or refuses the condition, and with the errors of any request.
 */
export async function probe(client: S3Client, bucket: string, prefix: string, requests: S3Requests): Promise<void> {
  for (let tries = 0; tries < 2; tries++) if (!(await create(client, bucket, prefix, requests))) return;
  throw new WeirError(
    "store_unsupported",
    `bucket ${bucket} at ${requests.where.endpoint}: the server ignores "If-None-Match: *", so two writers could overwrite each other's work; use AWS S3, or a release of your server with conditional writes (MinIO and versitygw have them)`,
    { context: { bucket, endpoint: requests.where.endpoint } },
  );
}

/** Whether the object was made; false when it was there. */
function create(client: S3Client, bucket: string, prefix: string, requests: S3Requests): Promise<boolean> {
  return requests.run("PutObject", "write", PROBE_KEY, async (abortSignal) => {
    const command = new PutObjectCommand({
      Bucket: bucket,
      Key: prefix + PROBE_KEY,
      Body: PROBE,
      ContentLength: PROBE.length,
      IfNoneMatch: "*",
    });
    try {
      await client.send(command, { abortSignal });
      return true;
    } catch (error) {
      if (statusOf(error) === 412) return false;
      throw error;
    }
  });
}
