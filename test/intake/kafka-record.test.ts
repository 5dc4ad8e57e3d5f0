import { describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { ENTRY_FORWARD, ENTRY_PUSH, type EntryDraft } from "../../src/core/intake-entry.ts";
import { checkPayload, decodeHeaders, encodeHeaders, type Headers } from "../../src/intake/kafka-record.ts";
import { Random } from "../random.ts";

const payload = Buffer.from("93a174cb", "hex");
const forward: EntryDraft = {
  kind: ENTRY_FORWARD,
  tenant: "te\u00e4nt",
  source: "in",
  receivedMs: 1_700_000_000_123,
  payload,
  dedupeKey: "t\0c1",
};

const draftOf = (headers: Headers) => decodeHeaders(headers);

describe("the headers of a record", () => {
  test("are as documented", () => {
    const { "weir-id": id, ...rest } = encodeHeaders(forward, payload, { number: 2, of: 3 });
    expect(id).toHaveLength(16);
    expect(Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, value.toString("latin1")]))).toEqual({
      "weir-version": "1",
      "weir-kind": "forward",
      "weir-crc": Buffer.from("11ee01cb", "hex").toString("latin1"),
      "weir-tenant": Buffer.from("te\u00e4nt").toString("latin1"),
      "weir-receiver": "in",
      "weir-received": "1700000000123",
      "weir-key": "t\0c1",
      "weir-part": "2/3",
    });
  });

  test("come back as they went in", () => {
    expect(draftOf(encodeHeaders(forward, payload, { number: 2, of: 3 }))).toMatchObject({
      kind: ENTRY_FORWARD,
      tenant: "te\u00e4nt",
      source: "in",
      receivedMs: 1_700_000_000_123,
      dedupeKey: "t\0c1",
      part: { number: 2, of: 3 },
      lineIds: null,
    });
    expect(draftOf(encodeHeaders(forward, payload, null)).hasLane).toBe(false);
    expect(draftOf(encodeHeaders({ ...forward, hasLane: true }, payload, null)).hasLane).toBe(true);
    const { dedupeKey: _, ...plain } = forward;
    expect(draftOf(encodeHeaders({ ...plain, hasLane: true }, payload, null)).hasLane).toBe(false);
    const ids = Buffer.alloc(32, 7);
    expect(draftOf(encodeHeaders({ ...plain, kind: ENTRY_PUSH, source: "" }, payload, null, ids))).toMatchObject({
      kind: ENTRY_PUSH,
      source: "",
      dedupeKey: null,
      part: null,
      lineIds: ids,
    });
  });

  test("say when the value is another", () => {
    const head = decodeHeaders(encodeHeaders(forward, payload, null));
    expect(checkPayload(head, payload)).toBe(payload);
    expect(() => checkPayload(head, Buffer.from("93a174cc", "hex"))).toThrow(/CRC-32/);
    expect(() => checkPayload(head, null)).toThrow(/no value/);
  });

  test("give a named error or a whole head, whatever stands there", () => {
    const random = new Random();
    const whole = encodeHeaders({ ...forward, kind: ENTRY_PUSH }, payload, { number: 1, of: 2 }, Buffer.alloc(48, 1));
    const names = Object.keys(whole);
    const attempt = (headers: Headers) => {
      try {
        const head = decodeHeaders(headers);
        expect(Number.isSafeInteger(head.receivedMs)).toBe(true);
        expect(head.uid).toHaveLength(16);
        expect((head.lineIds?.length ?? 0) % 16).toBe(0);
      } catch (error) {
        expect(error).toBeInstanceOf(WeirError);
        expect((error as WeirError).code).toBe("kafka_record");
      }
    };
    for (const name of names) {
      const { [name]: value, ...rest } = whole;
      attempt(rest);
      for (let length = 0; length < value.length; length++) attempt({ ...whole, [name]: value.subarray(0, length) });
    }
    for (let round = 0; round < 5000; round++) {
      const name = random.pick(names);
      const value = Buffer.from(whole[name]);
      if (value.length > 0) value[random.below(value.length)] = random.below(256);
      attempt({ ...whole, [name]: value });
    }
    attempt({});
    for (const name of [
      "weir-version",
      "weir-kind",
      "weir-id",
      "weir-crc",
      "weir-tenant",
      "weir-receiver",
      "weir-received",
    ]) {
      const { [name]: _, ...rest } = whole;
      expect(() => decodeHeaders(rest)).toThrow(expect.objectContaining({ code: "kafka_record" }));
    }
  });
});
