import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ENTRY_FORWARD } from "../../src/core/intake-entry.ts";
import {
  decodeFileHeader,
  EntryHead,
  encodeEntryHead,
  encodeFileHeader,
  entryBytes,
  FILE_HEADER_BYTES,
  fileName,
  firstOfName,
  sealEntry,
} from "../../src/intake/log-format.ts";
import { draft } from "../contract/intake.ts";

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ""), "hex");

// As printed in log-format.ts.
const HEADER = hex("574549524c4f470a 0100 0000 00000000 0700000000000000 64636261 96af6d58");
const ENTRY = hex(`bdef0e65 64636261 37000000 25aa48d6 01 01 0200 0400 0000 04000000 0700000000000000 0100000000000000
  696e 66616b65 74206331 c0`);
const MARK = 0x61626364;
const GIVEN = draft("", { source: "in", dedupeKey: "t c1", receivedMs: 1, payload: Buffer.from([0xc0]) });

function encode(given: typeof GIVEN, offset: number, mark: number): Buffer {
  const head = encodeEntryHead(given, entryBytes(given));
  sealEntry(head, offset, mark);
  return Buffer.concat([head, given.payload]);
}

describe("file header", () => {
  test("is as documented", () => {
    expect(encodeFileHeader({ partition: 0, first: 7, mark: MARK, reused: false })).toEqual(HEADER);
    expect(decodeFileHeader(HEADER)).toEqual({ partition: 0, first: 7, mark: MARK, reused: false });
  });

  test("keeps offsets beyond 32 bits", () => {
    const header = { partition: 1023, first: Number.MAX_SAFE_INTEGER, mark: 0xffffffff, reused: true };
    expect(decodeFileHeader(encodeFileHeader(header))).toEqual(header);
  });

  test("is refused when cut or changed anywhere", () => {
    for (let cut = 0; cut < FILE_HEADER_BYTES; cut++) expect(decodeFileHeader(HEADER.subarray(0, cut))).toBeNull();
    for (let bit = 0; bit < FILE_HEADER_BYTES * 8; bit++) {
      const changed = Buffer.from(HEADER);
      changed[bit >> 3] ^= 1 << (bit & 7);
      expect(decodeFileHeader(changed)).toBeNull();
    }
  });
});

describe("entry", () => {
  test("is as documented", () => {
    expect(encode(GIVEN, 7, MARK)).toEqual(ENTRY);
    const head = new EntryHead();
    expect(head.read(ENTRY, 0, MARK)).toBe(true);
    expect(head.bodyFits(ENTRY, 0)).toBe(true);
    expect(head.entry(ENTRY, 0)).toEqual({ ...GIVEN, offset: 7 });
  });

  test("is refused when a bit is changed anywhere, or by another file's mark", () => {
    const head = new EntryHead();
    expect(head.read(ENTRY, 0, MARK + 1)).toBe(false);
    for (let bit = 0; bit < ENTRY.length * 8; bit++) {
      const changed = Buffer.from(ENTRY);
      changed[bit >> 3] ^= 1 << (bit & 7);
      expect(head.read(changed, 0, MARK) && head.bodyFits(changed, 0)).toBe(false);
    }
  });

  test("comes back for any values", () => {
    const drafts = fc.record({
      kind: fc.constant(ENTRY_FORWARD),
      tenant: fc.string({ unit: "grapheme", maxLength: 40 }),
      source: fc.string({ unit: "grapheme", maxLength: 40 }),
      receivedMs: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      dedupeKey: fc.string({ unit: "grapheme", maxLength: 80 }),
    });
    const head = new EntryHead();
    fc.assert(
      fc.property(
        drafts,
        fc.boolean(),
        fc.nat({ max: Number.MAX_SAFE_INTEGER }),
        fc.nat(),
        (full, keyed, offset, mark) => {
          const { dedupeKey, ...rest } = full;
          const given = keyed ? full : rest;
          const before = Buffer.from("before");
          const bytes = Buffer.concat([before, encode(given, offset, mark), Buffer.from("after")]);
          expect(head.read(bytes, before.length, mark)).toBe(true);
          expect(head.length).toBe(entryBytes(given));
          expect(head.bodyFits(bytes, before.length)).toBe(true);
          expect(head.entry(bytes, before.length)).toEqual({ ...given, offset });
        },
      ),
    );
  });

  test("can be sealed again for another place", () => {
    const head = encodeEntryHead(GIVEN, entryBytes(GIVEN));
    sealEntry(head, 99, 5);
    sealEntry(head, 7, MARK);
    expect(Buffer.concat([head, GIVEN.payload])).toEqual(ENTRY);
  });
});

test("file names sort as offsets, and other names aren't taken for them", () => {
  expect(fileName(7)).toBe("00000000000000000007.log");
  expect(firstOfName(fileName(Number.MAX_SAFE_INTEGER))).toBe(Number.MAX_SAFE_INTEGER);
  for (const name of ["7.log", "00000000000000000007.log.tmp", "99999999999999999999.log", "seen", ""]) {
    expect(firstOfName(name)).toBeNull();
  }
});
