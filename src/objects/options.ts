import { z } from "zod";

const MIB = 1024 * 1024;
/** S3 takes no smaller part but the last, and no more than 10,000 of them. */
const PART_BYTES_MIN = 5 * MIB;

/** The `s3:` part of the configuration: how a store at `s3://bucket/prefix` is spoken to. Keys are not here: see docs/object-storage.md. */
export const s3Options = z
  .strictObject({
    endpoint: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe(
        "Base URL of the S3 server, such as http://127.0.0.1:9000. Has no default: without it AWS_ENDPOINT_URL_S3 counts, and then AWS itself in the region.",
      ),
    region: z
      .string()
      .min(1)
      .optional()
      .describe(
        "Region of the bucket. Has no default: without it AWS_REGION and the AWS profile count; with an endpoint that is not AWS, us-east-1, which such servers take.",
      ),
    path_style: z
      .union([z.literal("auto"), z.boolean()])
      .default("auto")
      .describe(
        "Whether the bucket's name stands in the path (http://host/bucket) rather than in the host. `auto` is so for an endpoint of one's own, because few of them have names for each bucket, and not for AWS.",
      ),
    sse: z
      .enum(["bucket_default", "AES256", "aws:kms", "aws:kms:dsse"])
      .default("bucket_default")
      .describe("Encryption that objects are written with. The bucket's default: AWS encrypts with AES256 by itself."),
    sse_kms_key_id: z
      .string()
      .min(1)
      .optional()
      .describe("KMS key for `sse: aws:kms` or `aws:kms:dsse`. Without it AWS takes its own key for S3."),
    sse_bucket_key: z
      .boolean()
      .default(true)
      .describe("With `sse: aws:kms`: one KMS request for many objects rather than one for each, which costs less."),
    multipart_bytes: z
      .int()
      .min(PART_BYTES_MIN)
      .max(4096 * MIB)
      .default(32 * MIB)
      .describe(
        "Objects larger than this are uploaded in parts. 32 MiB is twice a usual segment: each part is a request that is paid for.",
      ),
    part_bytes: z
      .int()
      .min(PART_BYTES_MIN)
      .max(1024 * MIB)
      .default(16 * MIB)
      .describe("Size of a part, 5 MiB at least as S3 wants it. 16 MiB are repeated when a part fails."),
    parts_at_once: z
      .int()
      .min(1)
      .max(64)
      .default(4)
      .describe("Parts of one upload that are sent at one time; each is held in memory."),
    connect_timeout_ms: z
      .int()
      .min(1)
      .default(5000)
      .describe("Longest wait for a connection. A server that is there answers in well under a second."),
    request_timeout_ms: z
      .int()
      .min(1)
      .default(60_000)
      .describe(
        "Longest time for one request with all of its bytes, before it is tried again. A part of 16 MiB needs 280 KB/s to make it in a minute.",
      ),
    attempts: z
      .int()
      .min(1)
      .max(20)
      .default(5)
      .describe(
        "How often a request is tried before the store counts as away. Five tries with waits in between get over 2 to 3 s of trouble; what writes tries again after that.",
      ),
    requests_at_once: z
      .int()
      .min(1)
      .max(1024)
      .default(64)
      .describe("Requests, and so connections, at one time, for each thread that reads. Further ones wait their turn."),
  })
  .refine(({ sse, sse_kms_key_id }) => sse_kms_key_id === undefined || sse.startsWith("aws:kms"), {
    path: ["sse_kms_key_id"],
    error: "a KMS key needs sse: aws:kms or aws:kms:dsse",
  });

export type S3Options = z.output<typeof s3Options>;
