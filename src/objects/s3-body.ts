import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { WeirError } from "../core/errors.ts";

/** What an answer with an object, or a part of one, has of the SDK's. */
export interface ObjectAnswer {
  readonly Body?: unknown;
  readonly ContentLength?: number | undefined;
  readonly ContentRange?: string | undefined;
}

/** Bytes of an object from `start` on, and the size of the whole. */
export interface ObjectPart {
  readonly bytes: Buffer;
  readonly start: number;
  readonly size: number;
}

/**
 * Reads an answer to its end. One that is cut short, or whose length is not what it says, is an error that another try may mend;
 * aborting `signal` ends it.
 */
export async function readPart(answer: ObjectAnswer, signal: AbortSignal): Promise<ObjectPart> {
  const { Body, ContentLength, ContentRange } = answer;
  if (!isReadable(Body)) throw new Error("the answer has no body");
  const bytes = await readBody(Body, ContentLength, signal);
  if (ContentRange === undefined) return { bytes, start: 0, size: bytes.length };
  // MinIO says "bytes 0--1/0" of an object without bytes.
  const match = /^bytes (\d+)-(-?\d+)\/(\d+)$/.exec(ContentRange);
  if (match === null) throw badRange(ContentRange);
  const [start, last, size] = match.slice(1).map(Number);
  if (last - start + 1 !== bytes.length) throw badRange(ContentRange);
  return { bytes, start, size };
}

async function readBody(body: Readable, length: number | undefined, signal: AbortSignal): Promise<Buffer> {
  const stop = () => body.destroy(new Error("the answer took too long"));
  signal.addEventListener("abort", stop);
  try {
    if (signal.aborted) stop();
    if (length === undefined) return await buffer(body);
    return await fill(body, length);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

async function fill(body: Readable, length: number): Promise<Buffer> {
  // Of its own memory, so that it can be handed to another thread, or held, without what else shares a pool.
  const bytes = Buffer.allocUnsafeSlow(length);
  let got = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    if (got + chunk.length > length) throw new Error(`the answer goes on after ${length} bytes`);
    got += chunk.copy(bytes, got);
  }
  if (got < length) throw new Error(`the answer ended after ${got} of ${length} bytes`);
  return bytes;
}

function isReadable(body: unknown): body is Readable {
  return typeof body === "object" && body !== null && "pipe" in body && Symbol.asyncIterator in body;
}

function badRange(text: string): WeirError {
  return new WeirError("store_unsupported", `object store: got the range ${JSON.stringify(text)}, want bytes`);
}
