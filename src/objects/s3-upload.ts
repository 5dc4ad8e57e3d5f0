import { randomBytes } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { WeirError } from "../core/errors.ts";
import { objectExists } from "./errors.ts";
import { Limiter } from "./limiter.ts";
import type { S3Options } from "./options.ts";
import { readPart } from "./s3-body.ts";
import { nameOf, statusOf } from "./s3-errors.ts";
import type { S3Requests } from "./s3-requests.ts";

/** S3's bound on the parts of an upload. */
const PARTS_MAX = 10_000;
/** Whole uploads in parts that are tried when S3 says that another change of the same key was under way. */
const UPLOADS_MAX = 3;
/** Of an object's metadata: names the call that wrote it. */
const WRITE_ID = "weir-write";

export interface Upload {
  readonly key: string;
  /** The key with the store's prefix. */
  readonly fullKey: string;
  readonly parts: readonly Uint8Array[];
  readonly ifAbsent: boolean;
}

/**
 * Writes objects, the large ones in parts. Every object says in its metadata which call wrote it. So when the answer to a try got lost and
 * the next one meets an object, it is known whether that is our own, also where others write the same bytes.
 */
export class S3Uploader {
  private readonly client: S3Client;
  private readonly bucket: string;
  private readonly options: S3Options;
  private readonly requests: S3Requests;

  constructor(client: S3Client, bucket: string, options: S3Options, requests: S3Requests) {
    this.client = client;
    this.bucket = bucket;
    this.options = options;
    this.requests = requests;
  }

  async upload(upload: Upload): Promise<void> {
    const bytes = upload.parts.reduce((sum, part) => sum + part.length, 0);
    if (bytes <= this.options.multipart_bytes) await this.putWhole(upload);
    else await this.putInParts(upload, bytes);
  }

  private async putWhole({ key, fullKey, parts, ifAbsent }: Upload): Promise<void> {
    const writeId = newWriteId();
    const body = Buffer.concat(parts);
    await this.requests.run("PutObject", "write", key, async (signal, retries) => {
      const command = new PutObjectCommand({
        Bucket: this.bucket,
        Key: fullKey,
        Body: body,
        ContentLength: body.length,
        Metadata: { [WRITE_ID]: writeId },
        ...this.encryption(),
        ...(ifAbsent ? { IfNoneMatch: "*" } : {}),
      });
      try {
        await this.client.send(command, { abortSignal: signal });
      } catch (error) {
        // A first try that was refused met somebody else's object. A later one may have met that of a try whose answer got lost.
        if (!isRefused(error) || retries === 0) throw error;
        if (!(await this.isOurs(fullKey, writeId, body, signal))) throw objectExists(key);
      }
    });
  }

  private async putInParts(upload: Upload, bytes: number): Promise<void> {
    for (let uploads = 1; ; uploads++) {
      try {
        return await this.oneUpload(upload, bytes);
      } catch (error) {
        if (!(error instanceof UploadGone) || uploads >= UPLOADS_MAX) throw error;
      }
    }
  }

  private async oneUpload(upload: Upload, bytes: number): Promise<void> {
    const { key, fullKey } = upload;
    const writeId = newWriteId();
    const id = await this.begin(upload, writeId);
    try {
      const etags = await this.sendParts(upload, id, bytes);
      await this.complete(upload, id, etags, writeId);
    } catch (error) {
      // Parts that stay are paid for until abortLeftovers finds them; that the abort fails too changes nothing about the error.
      await this.abort(key, fullKey, id).catch(() => undefined);
      throw error;
    }
  }

  /** Ends an upload and frees its parts. One that is gone is fine. */
  async abort(key: string, fullKey: string, id: string): Promise<void> {
    await this.requests.run("AbortMultipartUpload", "end the upload of", key, async (signal) => {
      try {
        const command = new AbortMultipartUploadCommand({ Bucket: this.bucket, Key: fullKey, UploadId: id });
        await this.client.send(command, { abortSignal: signal });
      } catch (error) {
        if (nameOf(error) !== "NoSuchUpload") throw error;
      }
    });
  }

  private begin({ key, fullKey }: Upload, writeId: string): Promise<string> {
    return this.requests.run("CreateMultipartUpload", "begin to write", key, async (signal) => {
      const command = new CreateMultipartUploadCommand({
        Bucket: this.bucket,
        Key: fullKey,
        Metadata: { [WRITE_ID]: writeId },
        ...this.encryption(),
      });
      const { UploadId } = await this.client.send(command, { abortSignal: signal });
      if (UploadId === undefined) throw new Error("the answer names no upload");
      return UploadId;
    });
  }

  private async sendParts({ key, fullKey, parts }: Upload, id: string, bytes: number): Promise<string[]> {
    const size = Math.max(this.options.part_bytes, Math.ceil(bytes / PARTS_MAX));
    const limiter = new Limiter(this.options.parts_at_once);
    let failed = false;
    const numbers = Array.from({ length: Math.ceil(bytes / size) }, (_, i) => i);
    const sent = await Promise.allSettled(
      numbers.map((i) =>
        limiter.run(async () => {
          if (failed) return "";
          try {
            return await this.sendPart(key, fullKey, id, i + 1, cut(parts, i * size, size));
          } catch (error) {
            failed = true;
            throw error;
          }
        }),
      ),
    );
    // All have ended by now: a part that came in after the abort would stay for good.
    const failure = sent.find((result) => result.status === "rejected");
    if (failure !== undefined) throw failure.reason;
    return sent.map((result) => (result.status === "fulfilled" ? result.value : ""));
  }

  private sendPart(key: string, fullKey: string, id: string, number: number, body: Buffer): Promise<string> {
    return this.requests.run("UploadPart", `write part ${number} of`, key, async (signal) => {
      const command = new UploadPartCommand({
        Bucket: this.bucket,
        Key: fullKey,
        UploadId: id,
        PartNumber: number,
        Body: body,
        ContentLength: body.length,
      });
      try {
        const { ETag } = await this.client.send(command, { abortSignal: signal });
        if (ETag === undefined) throw new Error("the answer has no ETag");
        return ETag;
      } catch (error) {
        throw nameOf(error) === "NoSuchUpload" ? new UploadGone(key, error) : error;
      }
    });
  }

  private async complete(upload: Upload, id: string, etags: readonly string[], writeId: string): Promise<void> {
    const { key, fullKey, ifAbsent } = upload;
    await this.requests.run("CompleteMultipartUpload", "finish writing", key, async (signal, retries) => {
      const command = new CompleteMultipartUploadCommand({
        Bucket: this.bucket,
        Key: fullKey,
        UploadId: id,
        MultipartUpload: { Parts: etags.map((ETag, i) => ({ ETag, PartNumber: i + 1 })) },
        ...(ifAbsent ? { IfNoneMatch: "*" } : {}),
      });
      try {
        await this.client.send(command, { abortSignal: signal });
      } catch (error) {
        const isGone = nameOf(error) === "NoSuchUpload";
        // An upload that is gone after a try may have been finished by it.
        if (retries > 0 && (isGone || isRefused(error)) && (await this.isOurs(fullKey, writeId, null, signal))) return;
        if (isRefused(error)) throw objectExists(key);
        // S3 wants a new upload after a conflict of this kind.
        if (isGone || statusOf(error) === 409) throw new UploadGone(key, error);
        throw error;
      }
    });
  }

  /** Whether the object that is there was written by this very call. A server that loses metadata leaves only the bytes to go by. */
  private async isOurs(fullKey: string, writeId: string, body: Buffer | null, signal: AbortSignal): Promise<boolean> {
    try {
      const command = new HeadObjectCommand({ Bucket: this.bucket, Key: fullKey });
      const { Metadata, ContentLength } = await this.client.send(command, { abortSignal: signal });
      const found = Metadata?.[WRITE_ID];
      if (found !== undefined) return found === writeId;
      if (body === null || ContentLength !== body.length) return false;
      const get = new GetObjectCommand({ Bucket: this.bucket, Key: fullKey });
      const { bytes } = await readPart(await this.client.send(get, { abortSignal: signal }), signal);
      return bytes.equals(body);
    } catch (error) {
      if (statusOf(error) === 404) return false;
      throw error;
    }
  }

  private encryption(): Pick<PutObjectCommand["input"], "ServerSideEncryption" | "SSEKMSKeyId" | "BucketKeyEnabled"> {
    const { sse, sse_kms_key_id, sse_bucket_key } = this.options;
    if (sse === "bucket_default") return {};
    if (sse === "AES256") return { ServerSideEncryption: sse };
    return {
      ServerSideEncryption: sse,
      ...(sse_kms_key_id === undefined ? {} : { SSEKMSKeyId: sse_kms_key_id }),
      ...(sse === "aws:kms" ? { BucketKeyEnabled: sse_bucket_key } : {}),
    };
  }
}

/** An upload in parts that S3 no longer knows, or wants begun anew. */
class UploadGone extends WeirError {
  constructor(key: string, cause: unknown) {
    super("store_unavailable", `can't write ${key}: its upload was ended by somebody else`, {
      retriable: true,
      context: { key },
      cause,
    });
  }
}

const newWriteId = () => randomBytes(12).toString("hex");

const isRefused = (error: unknown) => statusOf(error) === 412;

/** Bytes [start, start + length) of `parts` joined, as far as they go. */
function cut(parts: readonly Uint8Array[], start: number, length: number): Buffer {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const part of parts) {
    const from = Math.max(start, at);
    const to = Math.min(start + length, at + part.length);
    if (from < to) pieces.push(part.subarray(from - at, to - at));
    at += part.length;
  }
  return Buffer.concat(pieces);
}
