import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  type S3Client,
} from "@aws-sdk/client-s3";
import { WeirError } from "../core/errors.ts";
import { objectMissing, objectRange } from "./errors.ts";
import { checkKey, checkPrefix, isKey } from "./key.ts";
import { type ObjectPart, readPart } from "./s3-body.ts";
import { createS3Client } from "./s3-client.ts";
import { nameOf, statusOf } from "./s3-errors.ts";
import { abortLeftovers } from "./s3-leftovers.ts";
import { PROBE_KEY, probe } from "./s3-probe.ts";
import { type S3RequestDeps, S3Requests } from "./s3-requests.ts";
import { S3Uploader } from "./s3-upload.ts";
import type { S3Place } from "./s3-url.ts";
import type { ObjectInfo, ObjectStore } from "./store.ts";

/** Keys of one DeleteObjects request, as S3 bounds them. */
const DELETES_AT_ONCE = 1000;

/**
 * The object store in an S3 bucket, under a prefix. Objects are whole or absent, as S3 promises; reads and listings see what was written
 * before them. A request that fails is tried again some times; after that it is `store_unavailable`, and as with any store, what
 * was to be written may be there all the same, now or soon. Further errors, all with advice: `store_denied`, `store_bucket`, `store_refused`
 * (retriable, because an administrator can mend them while Weir runs), `store_unsupported` (not retriable).
 */
export class S3Store implements ObjectStore {
  private readonly client: S3Client;
  private readonly bucket: string;
  private readonly prefix: string;
  private readonly requests: S3Requests;
  private readonly uploader: S3Uploader;

  /** Sends nothing yet. `openS3Store` also looks whether the bucket is there and fit. */
  constructor({ bucket, prefix, options }: S3Place, deps: S3RequestDeps = {}) {
    this.client = createS3Client(options);
    this.bucket = bucket;
    this.prefix = prefix;
    this.requests = new S3Requests({ bucket, endpoint: endpointOf(options) }, options, deps);
    this.uploader = new S3Uploader(this.client, bucket, options, this.requests);
  }

  async put(key: string, parts: readonly Uint8Array[]): Promise<void> {
    await this.uploader.upload({ key, fullKey: this.fullKey(key), parts, ifAbsent: false });
  }

  async putIfAbsent(key: string, parts: readonly Uint8Array[]): Promise<void> {
    await this.uploader.upload({ key, fullKey: this.fullKey(key), parts, ifAbsent: true });
  }

  async get(key: string): Promise<Buffer> {
    const { bytes } = await this.read(key, undefined);
    return bytes;
  }

  async getRange(key: string, start: number, length: number): Promise<Buffer> {
    if (start < 0 || length <= 0) return this.emptyRange(key, start, length);
    const part = await this.readOrNull(key, `bytes=${start}-${start + length - 1}`);
    // Begins behind the object's end.
    if (part === null) throw objectRange(key, start, length, await this.sizeOf(key));
    const { size } = part;
    if (start + length > size) throw objectRange(key, start, length, size);
    // A server that does not know ranges gives the whole object.
    return part.bytes.subarray(start - part.start, start - part.start + length);
  }

  async getSuffix(key: string, length: number): Promise<{ bytes: Buffer; size: number }> {
    const part = length <= 0 ? null : await this.readOrNull(key, `bytes=-${length}`);
    if (part !== null) {
      const { bytes, size } = part;
      return { bytes: bytes.subarray(Math.max(0, bytes.length - length)), size };
    }
    // An object without bytes has no range at all.
    const size = await this.sizeOf(key);
    if (length < 0) throw objectRange(key, size, length, size);
    return { bytes: Buffer.alloc(0), size };
  }

  async head(key: string): Promise<ObjectInfo | null> {
    const fullKey = this.fullKey(key);
    return this.requests.run("HeadObject", "look up", key, async (abortSignal) => {
      try {
        const command = new HeadObjectCommand({ Bucket: this.bucket, Key: fullKey });
        const { ContentLength, LastModified } = await this.client.send(command, { abortSignal });
        return { key, size: ContentLength ?? 0, modifiedMs: LastModified?.getTime() ?? 0 };
      } catch (error) {
        if (statusOf(error) === 404) return null;
        throw error;
      }
    });
  }

  async *list(prefix: string, after = ""): AsyncIterable<ObjectInfo> {
    checkPrefix(prefix);
    let last = "";
    let token: string | undefined;
    do {
      const page = await this.listPage(prefix, after, token);
      for (const { Key = "", Size = 0, LastModified } of page.Contents ?? []) {
        const key = Key.slice(this.prefix.length);
        // What is no key (a folder's marker) was not written by Weir.
        if (!isKey(key) || key === PROBE_KEY || key <= after) continue;
        if (key <= last) throw unordered(this.bucket, last, key);
        last = key;
        yield { key, size: Size, modifiedMs: LastModified?.getTime() ?? 0 };
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      // A listing that ends too early is lines that are missing, or a commit where there is one already.
      if (page.IsTruncated === true && (token ?? "") === "") throw cut(this.bucket, last);
    } while (token !== undefined);
  }

  async delete(key: string): Promise<void> {
    const fullKey = this.fullKey(key);
    await this.requests.run("DeleteObject", "delete", key, async (abortSignal) => {
      try {
        await this.client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: fullKey }), { abortSignal });
      } catch (error) {
        if (nameOf(error) !== "NoSuchKey") throw error;
      }
    });
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    for (const key of keys) checkKey(key);
    for (let i = 0; i < keys.length; i += DELETES_AT_ONCE) await this.deleteSome(keys.slice(i, i + DELETES_AT_ONCE));
  }

  /** Ends uploads in parts under the prefix that began before `beforeMs`; gives how many. Their parts are paid for and seen nowhere. */
  abortLeftovers(beforeMs: number): Promise<number> {
    const { client, bucket, prefix, requests, uploader } = this;
    return abortLeftovers({ client, bucket, prefix, requests, uploader }, beforeMs);
  }

  /** Rejects when the bucket can't be used, or its server lacks what Weir needs: see s3-probe.ts. */
  async probe(): Promise<void> {
    await probe(this.client, this.bucket, this.prefix, this.requests);
  }

  async close(): Promise<void> {
    this.requests.close();
    this.client.destroy();
  }

  private read(key: string, range: string | undefined): Promise<ObjectPart> {
    const fullKey = this.fullKey(key);
    return this.requests.run("GetObject", "read", key, async (abortSignal) => {
      const command = new GetObjectCommand({
        Bucket: this.bucket,
        Key: fullKey,
        ...(range === undefined ? {} : { Range: range }),
      });
      return readPart(await this.client.send(command, { abortSignal }), abortSignal);
    });
  }

  /** Null when no byte of the range is within the object. */
  private async readOrNull(key: string, range: string): Promise<ObjectPart | null> {
    try {
      return await this.read(key, range);
    } catch (error) {
      if (error instanceof WeirError && statusOf(error.cause) === 416) return null;
      throw error;
    }
  }

  private async emptyRange(key: string, start: number, length: number): Promise<Buffer> {
    const size = await this.sizeOf(key);
    if (start < 0 || length < 0 || start > size) throw objectRange(key, start, length, size);
    return Buffer.alloc(0);
  }

  private async sizeOf(key: string): Promise<number> {
    const info = await this.head(key);
    if (info === null) throw objectMissing(key);
    return info.size;
  }

  private listPage(prefix: string, after: string, token: string | undefined): Promise<ListObjectsV2CommandOutput> {
    return this.requests.run("ListObjectsV2", "list", prefix, async (abortSignal) => {
      const command = new ListObjectsV2Command({
        Bucket: this.bucket,
        Prefix: this.prefix + prefix,
        ...(after === "" ? {} : { StartAfter: this.prefix + after }),
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      return this.client.send(command, { abortSignal });
    });
  }

  private async deleteSome(keys: readonly string[]): Promise<void> {
    await this.requests.run("DeleteObjects", "delete", keys[0], async (abortSignal) => {
      const command = new DeleteObjectsCommand({
        Bucket: this.bucket,
        Delete: { Objects: keys.map((key) => ({ Key: this.fullKey(key) })), Quiet: true },
      });
      const { Errors = [] } = await this.client.send(command, { abortSignal });
      const failure = Errors.find(({ Code }) => Code !== "NoSuchKey");
      if (failure === undefined) return;
      const { Code = "InternalError", Message = "", Key = "" } = failure;
      // As the answer to a single deletion would be: rights are refused with 403, anything else may pass.
      throw Object.assign(new Error(`${Message} (${Key}, and ${Errors.length - 1} more)`), {
        name: Code,
        $metadata: { httpStatusCode: Code === "AccessDenied" ? 403 : 500 },
      });
    });
  }

  private fullKey(key: string): string {
    checkKey(key);
    return this.prefix + key;
  }
}

/** Opens a store in S3 and looks, unless `isChecked` says that somebody did, whether the bucket is there and fit. */
export async function openS3Store(
  place: S3Place,
  { isChecked = false, ...deps }: S3RequestDeps & { readonly isChecked?: boolean } = {},
): Promise<S3Store> {
  const store = new S3Store(place, deps);
  if (isChecked) return store;
  try {
    await store.probe();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

function endpointOf({ endpoint }: S3Place["options"]): string {
  return endpoint ?? process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL ?? "AWS";
}

function cut(bucket: string, last: string): WeirError {
  return new WeirError(
    "store_unsupported",
    `bucket ${bucket}: its listing says that there is more after ${last || "its first answer"}, and not how to go on (NextContinuationToken); use a server that speaks version 2 of listings`,
    { context: { bucket, last } },
  );
}

function unordered(bucket: string, last: string, key: string): WeirError {
  return new WeirError(
    "store_unsupported",
    `bucket ${bucket}: its listing has ${key} after ${last}; Weir needs listings in order of keys, which S3 general purpose buckets give and directory buckets don't`,
    { context: { bucket, last, key } },
  );
}
