import fc from "fast-check";
import { describe, expect, test } from "vitest";
import forward from "../../sinks/forward.ts";
import { packJson } from "../../src/codec/json-msgpack.ts";
import { decode, MsgpackMap, type MsgpackValue } from "../../src/codec/msgpack.ts";
import { Packer } from "../../src/codec/pack.ts";
import { WeirError } from "../../src/core/errors.ts";
import type { EntryDraft } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { ForwardConnection, ForwardTarget, RecordSinkDeps } from "../../src/core/sink.ts";
import { forwardOptions } from "../../src/forward/options.ts";
import { type ForwardServer, startForward } from "../../src/forward/server.ts";
import { record, recordSinkContract, records, type SinkUnderTest } from "../contract/sinks.ts";
import { freePort } from "../live/free-port.ts";
import { deps } from "./destinations.ts";

const NEVER = new AbortController().signal;

interface Event {
  readonly tag: string;
  readonly sec: number;
  readonly nsec: number;
  readonly record: MsgpackMap;
  /** The bytes of the record, for what is no text. */
  readonly bytes: Buffer;
}

/** Weir's own receiver, over a list in memory. */
class Receiver {
  readonly drafts: EntryDraft[] = [];
  isHanging = false;
  private server: ForwardServer | null = null;
  private listen = "";

  async start(options: Record<string, unknown> = {}): Promise<void> {
    // A port that nobody else gets while it is stopped.
    if (this.listen === "") this.listen = `tcp://127.0.0.1:${await freePort()}`;
    this.server = await startForward(
      forwardOptions.parse({ listen: [this.listen], udp_heartbeat: false, ...options }),
      {
        name: "in",
        tenant: "fake",
        append: async (draft) => {
          if (this.isHanging) await new Promise(() => {});
          // The intake knows repeats by their ids.
          const { dedupeKey } = draft;
          if (dedupeKey !== undefined && this.drafts.some((other) => other.dedupeKey === dedupeKey)) {
            return { offset: null };
          }
          this.drafts.push(draft);
          return { offset: this.drafts.length };
        },
        whenWritable: async () => {},
        metrics: new Metrics(),
        log: silentLogger,
      },
    );
  }

  get url(): string {
    return this.listen;
  }

  async stop(): Promise<void> {
    await this.server?.close();
    this.server = null;
  }

  get events(): Event[] {
    return this.drafts.flatMap(({ payload }) => {
      const { value } = decode(payload, 0, payload.length);
      if (!Array.isArray(value)) throw new Error("no message");
      const [tag, entries] = value;
      const bytes = Buffer.isBuffer(entries) ? entries : Buffer.alloc(0);
      const events: Event[] = [];
      for (let at = 0; at < bytes.length; ) {
        const { value: entry, next } = decode(bytes, at, bytes.length);
        events.push(eventOf(String(tag), entry, bytes.subarray(at, next)));
        at = next;
      }
      return events;
    });
  }
}

function eventOf(tag: string, entry: MsgpackValue, bytes: Buffer): Event {
  if (!Array.isArray(entry)) throw new Error("no entry");
  const [time, fields] = entry;
  if (!(fields instanceof MsgpackMap)) throw new Error("no record");
  const data = time !== null && typeof time === "object" && "data" in time ? time.data : Buffer.alloc(8);
  return { tag, sec: data.readUInt32BE(0), nsec: data.readUInt32BE(4), record: fields, bytes };
}

/** The line's bytes behind `log`, a str of 32 bits of length. */
function logOf({ bytes }: Event): Buffer {
  const at = bytes.indexOf(Buffer.from([0xa3, 0x6c, 0x6f, 0x67, 0xdb])) + 5;
  return bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at));
}

recordSinkContract("forward", async (): Promise<SinkUnderTest> => {
  const to = new Receiver();
  await to.start();
  return {
    sink: forward.open(forward.options.parse({ url: to.url, send: "line" }), deps()),
    taken: async () => to.events.map(logOf),
    away: () => to.stop(),
    back: () => to.start(),
    hang: () => {
      to.isHanging = true;
    },
    close: () => to.stop(),
  };
});

describe("forward sink", () => {
  test("sends the record's fields with time and tag", async () => {
    const to = new Receiver();
    await to.start();
    const sink = forward.open(forward.options.parse({ url: to.url, tag: "k8s.{app}" }), deps());
    const json = '{"a":[1,-2.5,18446744073709551615,null,true],"b":{"c":"\\u00e4\\n"}}';
    await sink.write([{ ...record(0, "x"), json }], NEVER);
    const [{ tag, sec, nsec, record: fields }] = to.events;
    expect([tag, sec, nsec]).toEqual(["k8s.web", 1_700_000_000, 5]);
    expect(fields.get("a")).toEqual([1, -2.5, 18446744073709551615n, null, true]);
    expect((fields.get("b") as MsgpackMap).get("c")).toBe("ä\n");
    await sink.close();
    await to.stop();
  });

  test("sends a repeat under the same id, so that it is stored once", async () => {
    const to = new Receiver();
    await to.start();
    const options = forward.options.parse({ url: to.url, send: "line" });
    const first = [...records(["a", "b"], 7), ...records(["c"], 8)];
    for (let round = 0; round < 2; round++) {
      const sink = forward.open(options, deps());
      // The second time, as after a crash: with records that came since.
      await sink.write(round === 0 ? first : [...first, ...records(["d"], 9)], NEVER);
      await sink.close();
    }
    expect(to.events.map((event) => logOf(event).toString())).toEqual(["a", "b", "c", "d"]);
    await to.stop();
  });

  test("does not take equal lines of other places for repeats", async () => {
    const to = new Receiver();
    await to.start();
    const sink = forward.open(forward.options.parse({ url: to.url, send: "line" }), deps());
    await sink.write(records(["same"], 7), NEVER);
    await sink.write(records(["same"], 8), NEVER);
    expect(to.events).toHaveLength(2);
    await sink.close();
    await to.stop();
  });

  test("refuses a time that the protocol can't say, and sends the others", async () => {
    const to = new Receiver();
    await to.start();
    const sink = forward.open(forward.options.parse({ url: to.url, send: "line" }), deps());
    const { failed } = await sink.write(
      [record(0, "a"), { ...record(1, "old"), sec: -1 }, { ...record(2, "far"), sec: 2 ** 32 }],
      NEVER,
    );
    expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([
      [1, false],
      [2, false],
    ]);
    expect(to.events.map((event) => logOf(event).toString())).toEqual(["a"]);
    await sink.close();
    await to.stop();
  });

  test("goes through the handshake with a key, and waits when it is refused", async () => {
    const to = new Receiver();
    await to.start({ shared_key: "k" });
    const good = forward.open(forward.options.parse({ url: to.url, shared_key: "k" }), deps());
    expect((await good.write(records(["a"]), NEVER)).failed).toEqual([]);
    await good.close();
    const bad = forward.open(forward.options.parse({ url: to.url, shared_key: "other" }), deps());
    await expect(bad.write(records(["b"]), NEVER)).rejects.toMatchObject({ code: "sink_unavailable", retriable: true });
    await bad.close();
    await to.stop();
  });

  test("sends again only the chunks that were not acknowledged", async () => {
    const seen: string[] = [];
    let connections = 0;
    const connectForward = async (_target: ForwardTarget): Promise<ForwardConnection> => {
      const isFirst = connections++ === 0;
      return {
        async sendPacked(_tag, _entries, { chunk }) {
          if (isFirst && seen.length >= 1) throw new WeirError("forward_lost", "gone", { retriable: true });
          seen.push(chunk);
        },
        close: async () => {},
      };
    };
    const own: RecordSinkDeps = { ...deps(), connectForward };
    const sink = forward.open(forward.options.parse({ url: "tcp://x:1" }), own);
    const batch = [...records(["a", "b"], 7), ...records(["c"], 8)];
    const { failed } = await sink.write(batch, NEVER);
    expect(failed).toEqual([{ position: 2, reason: "gone", retriable: true }]);
    expect((await sink.write([batch[2]], NEVER)).failed).toEqual([]);
    expect(connections).toBe(2);
    expect(new Set(seen).size).toBe(2);
    await sink.close();
  });

  test.each(["udp://x:1", "x:1", "tcp://", "unix://x"])("refuses the address %s", (url) => {
    expect(forward.options.safeParse({ url }).success).toBe(false);
  });
});

function packed(json: string): Buffer {
  const packer = new Packer();
  packJson(json, packer);
  return packer.take();
}

test("JSON becomes MessagePack as other libraries read it", () => {
  const plain = (value: MsgpackValue): unknown => {
    if (typeof value === "bigint") return Number(value);
    if (Array.isArray(value)) return value.map(plain);
    return value instanceof MsgpackMap
      ? Object.fromEntries(value.pairs.map(([name, inner]) => [String(name), plain(inner)]))
      : value;
  };
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (object) => {
      const json = JSON.stringify(object);
      const bytes = packed(json);
      expect(plain(decode(bytes, 0, bytes.length, 1000).value)).toEqual(JSON.parse(json));
    }),
  );
});

test.each(["", "[1]", "{", '{"a"', '{"a":}', '{"a":"', "{a:1}"])("JSON that is no object is an error: %j", (text) => {
  expect(() => packed(text)).toThrow();
});
