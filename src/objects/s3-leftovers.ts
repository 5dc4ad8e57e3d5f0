import { ListMultipartUploadsCommand, type MultipartUpload, type S3Client } from "@aws-sdk/client-s3";
import type { S3Requests } from "./s3-requests.ts";
import type { S3Uploader } from "./s3-upload.ts";

export interface LeftoversDeps {
  readonly client: S3Client;
  readonly bucket: string;
  readonly prefix: string;
  readonly requests: S3Requests;
  readonly uploader: S3Uploader;
}

/**
 * Ends the uploads in parts under the store's prefix that began before `beforeMs` (since 1970): those of writers that were killed. Gives how many
 * there were. Leave a day, so that no upload under way is hit.
 */
export async function abortLeftovers(deps: LeftoversDeps, beforeMs: number): Promise<number> {
  const { prefix, uploader } = deps;
  let count = 0;
  for await (const { Key, UploadId, Initiated } of uploads(deps)) {
    if (Key === undefined || UploadId === undefined || !Key.startsWith(prefix)) continue;
    if (Initiated === undefined || Initiated.getTime() >= beforeMs) continue;
    await uploader.abort(Key.slice(prefix.length), Key, UploadId);
    count++;
  }
  return count;
}

async function* uploads({ client, bucket, prefix, requests }: LeftoversDeps): AsyncGenerator<MultipartUpload> {
  let keyMarker: string | undefined;
  let idMarker: string | undefined;
  do {
    const page = await requests.run("ListMultipartUploads", "list uploads of", prefix, (abortSignal) => {
      const command = new ListMultipartUploadsCommand({
        Bucket: bucket,
        Prefix: prefix,
        ...(keyMarker === undefined ? {} : { KeyMarker: keyMarker }),
        ...(idMarker === undefined ? {} : { UploadIdMarker: idMarker }),
      });
      return client.send(command, { abortSignal });
    });
    yield* page.Uploads ?? [];
    keyMarker = page.IsTruncated === true ? page.NextKeyMarker : undefined;
    idMarker = page.IsTruncated === true ? page.NextUploadIdMarker : undefined;
  } while (keyMarker !== undefined);
}
