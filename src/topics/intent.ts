import { z } from "zod";

/*
 * What a reader is about to do with a partition: the metadata of the group's committed offset, as JSON.
 *
 *   {"weir":1,"next":1200,"id":"5f0c…","member":"weir-…"}    beside the offset 1000
 *
 * says that the messages 1000 to 1199 are being put into the intake log under a key with this id, by the group's member of that name.
 * It is committed before they are appended. After a crash they are read again with the same bounds, and appended with the same
 * key, so the intake log can tell that it has them. When they are durable, the next intent takes its place, or plain 1200.
 */
const VERSION = 1;

export interface Intent {
  /** The offset behind the last message. */
  readonly next: number;
  readonly id: string;
  /** The member's id in the group. */
  readonly member: string;
}

const intent = z.object({
  weir: z.literal(VERSION),
  next: z.int().min(0),
  id: z.string().min(1).max(64),
  member: z.string().max(1024),
});

export function encodeIntent({ next, id, member }: Intent): string {
  return JSON.stringify({ weir: VERSION, next, id, member });
}

/** The intent that stands beside an offset; null where there is none: nothing is under way, or another program's words. */
export function decodeIntent(metadata: string): Intent | null {
  if (!metadata.startsWith("{")) return null;
  let said: unknown;
  try {
    said = JSON.parse(metadata);
  } catch {
    return null;
  }
  const checked = intent.safeParse(said);
  if (!checked.success) return null;
  const { next, id, member } = checked.data;
  return { next, id, member };
}
