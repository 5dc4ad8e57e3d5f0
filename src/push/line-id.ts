import * as crypto from "node:crypto";

/** Bytes of the hash that stand for a line or a stream. */
export const ID_BYTES = 16;

/** One call costs half of what a hash object does, and SHA-256 less than SHA-1 (1.7 and 2.1 against 3.0 µs for 130 bytes), but Node has it only since 20.12. */
const sha256: (bytes: Buffer | string) => Buffer =
  "hash" in crypto
    ? (bytes) => crypto.hash("sha256", bytes, "buffer")
    : (bytes) => crypto.createHash("sha256").update(bytes).digest();

/** What stands for a tenant's stream in the ids of its lines. */
export function streamId(tenant: string, canonical: string): Buffer {
  return sha256(`${tenant}\0${canonical}`);
}

/** Writes the id of a line: the hash of what a batch has for it (time, metadata, line), with that of its stream over it. */
export function writeLineId(out: Buffer, at: number, stream: Buffer, bytes: Buffer): void {
  const digest = sha256(bytes);
  for (let i = 0; i < ID_BYTES; i++) out[at + i] = digest[i] ^ stream[i];
}
