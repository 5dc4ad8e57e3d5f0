import { type FileHandle, open } from "node:fs/promises";
import type { WeirError } from "../core/errors.ts";
import { parseBlock, type StoredBlock } from "./block-view.ts";
import { corrupt, type Place } from "./errors.ts";
import { type Footer, parseFooter } from "./footer.ts";
import { type Member, readMember } from "./member.ts";

/** Bytes that a member's header takes at most. */
const HEADER_BYTES_MAX = 12 + 65_535;

/** A part of a segment, found by walking from member to member without its index. */
export type SegmentPart =
  | { readonly kind: "block"; readonly offset: number; readonly block: StoredBlock }
  | { readonly kind: "index"; readonly offset: number; readonly length: number }
  | { readonly kind: "footer"; readonly offset: number; readonly footer: Footer };

/**
 * The parts of the segment `bytes`, in order; inflates nothing. Throws `block_corrupt` or `segment_corrupt`, with `key` and
 * byte, when it comes to bytes that are damaged or cut, or that are no member of Weir's.
 */
export function* walkSegment(bytes: Buffer, key: string): Generator<SegmentPart> {
  const place = { key, offset: 0 };
  for (let at = 0; at < bytes.length; ) {
    const length = partLength(bytes, at, key, 0);
    if (at + length > bytes.length)
      throw corrupt("segment_corrupt", "member, cut", bytes.length - at, length, place, at);
    const part = partOf(bytes.subarray(at, at + length), at, key);
    yield part;
    at += length;
    if (at === bytes.length && part.kind !== "footer") throw noFooter(part, { key, offset: at });
  }
}

/** The same for a file, of which only one part is in memory at a time. */
export async function* walkSegmentFile(path: string): AsyncGenerator<SegmentPart> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    for (let at = 0; at < size; ) {
      const length = await filePartLength(file, at, size, path);
      if (at + length > size) {
        throw corrupt("segment_corrupt", "member, cut", size - at, length, { key: path, offset: at });
      }
      const part = partOf(await readAt(file, at, length), at, path);
      yield part;
      at += length;
      if (at === size && part.kind !== "footer") throw noFooter(part, { key: path, offset: at });
    }
  } finally {
    await file.close();
  }
}

/** A segment that was cut between two members: nothing else would tell that lines are missing. */
function noFooter({ kind }: SegmentPart, place: Place): WeirError {
  return corrupt("segment_corrupt", "segment's last part", kind, "footer", place);
}

function partOf(bytes: Buffer, offset: number, key: string): SegmentPart {
  const place = { key, offset };
  const { kind } = readMember(bytes, 0, place, "segment_corrupt");
  if (kind === "WI") return { kind: "index", offset, length: bytes.length };
  if (kind === "WF") return { kind: "footer", offset, footer: parseFooter(bytes, place) };
  return { kind: "block", offset, block: parseBlock(bytes, place) };
}

/** Bytes of the part at `at`: a member, or a block with the "WX" members in front of it. bytes[0] stands at `base`. */
function partLength(bytes: Buffer, at: number, key: string, base: number): number {
  let end = at;
  let member: Member;
  do {
    member = readMember(bytes, end, { key, offset: base }, "segment_corrupt");
    end += member.length;
  } while (member.kind === "WX");
  return end - at;
}

async function filePartLength(file: FileHandle, at: number, size: number, path: string): Promise<number> {
  let end = at;
  let member: Member;
  do {
    const bytes = await readAt(file, end, Math.min(HEADER_BYTES_MAX, size - end));
    member = readMember(bytes, 0, { key: path, offset: end }, "segment_corrupt");
    end += member.length;
  } while (member.kind === "WX" && end < size);
  return end - at;
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, at + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return bytes.subarray(0, read);
}
