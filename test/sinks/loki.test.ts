import snappy from "snappyjs";
import { describe, expect, test } from "vitest";
import loki from "../../sinks/loki.ts";
import { PbfReader } from "../../src/codec/protobuf.ts";
import type { SinkRecord } from "../../src/core/sink.ts";
import { record, recordSinkContract, records, type SinkUnderTest } from "../contract/sinks.ts";
import { PIPELINE, TestWeir } from "../push/weir.ts";
import { deps, type Got, HttpDestination } from "./destinations.ts";

const NEVER = new AbortController().signal;

interface Entry {
  readonly sec: number;
  readonly nsec: number;
  readonly line: Buffer;
  readonly metadata: [string, string][];
}

/** Reads a push request by the library's own means, which the sink's writing side does not share. */
function decodePush(body: Buffer): { labels: string; entries: Entry[] }[] {
  const pbf = new PbfReader(snappy.uncompress(body, 1 << 30));
  return pbf.readFields<{ labels: string; entries: Entry[] }[]>((field, streams) => {
    if (field !== 1) return;
    const stream = { labels: "", entries: [] as Entry[] };
    pbf.readMessage((tag) => {
      if (tag === 1) stream.labels = pbf.readString();
      else if (tag === 2) {
        const entry = { sec: 0, nsec: 0, line: Buffer.alloc(0), metadata: [] as [string, string][] };
        pbf.readMessage((part) => {
          if (part === 1) {
            pbf.readMessage((unit) => {
              if (unit === 1) entry.sec = pbf.readVarint(true);
              else if (unit === 2) entry.nsec = pbf.readVarint(true);
            }, null);
          } else if (part === 2) entry.line = Buffer.from(pbf.readBytes());
          else if (part === 3) {
            const pair: [string, string] = ["", ""];
            pbf.readMessage((side) => {
              if (side === 1 || side === 2) pair[side - 1] = pbf.readString();
            }, null);
            entry.metadata.push(pair);
          }
        }, null);
        stream.entries.push(entry);
      }
    }, null);
    streams.push(stream);
  }, []);
}

/** As Loki answers: the good lines are stored, also where others are refused, and repeats are dropped. */
class LokiDestination {
  readonly kept = new Map<string, Entry>();

  take(got: Got): { status: number; text: string } {
    let refused = 0;
    for (const { labels, entries } of decodePush(got.body)) {
      for (const entry of entries) {
        if (entry.line.includes("refuse me")) refused++;
        else this.kept.set(JSON.stringify([labels, entry.sec, entry.nsec, entry.line.toString("hex")]), entry);
      }
    }
    if (refused === 0) return { status: 204, text: "" };
    return { status: 400, text: `entry for stream '{app="web"}' has timestamp too old, total refused: ${refused}` };
  }
}

recordSinkContract(
  "loki",
  async (): Promise<SinkUnderTest> => {
    const to = await HttpDestination.start();
    const its = new LokiDestination();
    to.answer = (got) => its.take(got);
    return {
      sink: loki.open(loki.options.parse({ url: `${to.url}/loki/api/v1/push` }), deps()),
      taken: async () => [...its.kept.values()].map(({ line }) => line),
      away: () => to.stop(),
      back: () => to.listen(),
      hang: () => {
        to.answer = () => null;
      },
      close: () => to.stop(),
    };
  },
  { refusesWith: "timestamp too old" },
);

async function pushed(options: Record<string, unknown>, batch: readonly SinkRecord[]): Promise<Got[]> {
  const to = await HttpDestination.start();
  const sink = loki.open(loki.options.parse({ url: `${to.url}/loki/api/v1/push`, ...options }), deps());
  try {
    expect((await sink.write(batch, NEVER)).failed).toEqual([]);
    return to.got;
  } finally {
    await sink.close();
    await to.stop();
  }
}

describe("loki sink", () => {
  test("puts lines by stream, each in order of time, equal times as they came", async () => {
    const at = (sec: number, line: string, labels: Record<string, string>) => ({ ...record(0, line, labels), sec });
    const a = { app: "a" };
    const [got] = await pushed({}, [
      at(30, "third", a),
      at(10, "other", { app: "b" }),
      at(20, "first", a),
      at(20, "second", a),
    ]);
    expect(got.headers).toMatchObject({ "content-type": "application/x-protobuf" });
    expect(got.headers["x-scope-orgid"]).toBeUndefined();
    expect(
      decodePush(got.body).map(({ labels, entries }) => [labels, entries.map(({ line }) => line.toString())]),
    ).toEqual([
      ['{app="a"}', ["first", "second", "third"]],
      ['{app="b"}', ["other"]],
    ]);
  });

  test("keeps times before 1970, nanoseconds and metadata", async () => {
    const [got] = await pushed({}, [{ ...record(0, "old"), sec: -2, nsec: 999_999_999 }]);
    expect(decodePush(got.body)[0].entries).toEqual([
      {
        sec: -2,
        nsec: 999_999_999,
        line: Buffer.from("old"),
        metadata: [["trace_id", "0af7651916cd43dd8448eb211c80319c"]],
      },
    ]);
  });

  test("leaves metadata out for an old Loki, and adds labels of its own", async () => {
    const [got] = await pushed({ metadata: false, labels: { cluster: "eu", app: "x" } }, [
      record(0, "a", { app: 'q"\\', "9bad.name": "v", empty: "" }),
    ]);
    const [{ labels, entries }] = decodePush(got.body);
    expect(labels).toBe('{_9bad_name="v", app="q\\"\\\\", cluster="eu"}');
    expect(entries[0].metadata).toEqual([]);
  });

  test("refuses what no header can say, and takes the others", async () => {
    const to = await HttpDestination.start();
    const sink = loki.open(loki.options.parse({ url: to.url, tenant: "{team}" }), deps());
    try {
      const names = ["a", "b\r\nx-admin: 1", "日本", "é", " c", "d"];
      const { failed } = await sink.write(
        names.map((team, i) => record(i, team, { team })),
        NEVER,
      );
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([
        [1, false],
        [2, false],
        [3, false],
        [4, false],
      ]);
      expect(failed[0].reason).toContain('"b\\r\\nx-admin: 1"');
      expect(to.got.map(({ headers }) => headers["x-scope-orgid"])).toEqual(["a", "d"]);
    } finally {
      await sink.close();
      await to.stop();
    }
  });

  test("sends nothing of one tenant again because another is not taken now", async () => {
    const to = await HttpDestination.start();
    const sink = loki.open(loki.options.parse({ url: to.url, tenant: "{tenant}" }), deps());
    const of = (tenant: string, place: number) => ({ ...record(place, tenant), tenant });
    to.answer = ({ headers }) => ({ status: headers["x-scope-orgid"] === "two" ? 429 : 204, text: "slowly" });
    try {
      const batch = [of("one", 0), of("two", 1), of("three", 2), of("one", 3)];
      const { failed } = await sink.write(batch, NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([
        [1, true],
        [2, true],
      ]);
      expect(failed[0].reason).toContain("429 slowly");
      await expect(sink.write([batch[1], batch[2]], NEVER)).rejects.toMatchObject({ code: "sink_unavailable" });
    } finally {
      await sink.close();
      await to.stop();
    }
  });

  test("sends each tenant's records in a request of its own", async () => {
    const batch = [record(0, "a"), { ...record(1, "b"), tenant: "two" }, record(2, "c")];
    const got = await pushed({ tenant: "{tenant}" }, batch);
    expect(
      got.map(({ headers, body }) => [
        headers["x-scope-orgid"],
        decodePush(body)[0].entries.map(({ line }) => line.toString()),
      ]),
    ).toEqual([
      ["fake", ["a", "c"]],
      ["two", ["b"]],
    ]);
  });

  test("takes 260, by which an operator keeps lines out, for a no", async () => {
    const to = await HttpDestination.start();
    to.answer = () => ({ status: 260, text: "blocked" });
    const sink = loki.open(loki.options.parse({ url: to.url }), deps());
    await expect(sink.write(records(["a"]), NEVER)).rejects.toMatchObject({ retriable: true });
    await sink.close();
    await to.stop();
  });

  test("fills another Weir, which takes a repeat for what it is", async () => {
    const weir = await TestWeir.start(PIPELINE);
    try {
      const sink = loki.open(loki.options.parse({ url: `${weir.base}/loki/api/v1/push` }), deps());
      const sec = Math.floor(Date.now() / 1000) - 60;
      const batch = ["one", "two \u00e4\nwith more", "", "three"].map((line, i) => ({
        ...record(i, line, { app: i % 2 === 0 ? "a" : "b" }),
        sec: sec + i,
      }));
      expect((await sink.write(batch, NEVER)).failed).toEqual([]);
      expect((await sink.write(batch, NEVER)).failed).toEqual([]);
      await sink.close();
      const rows = await weir.rows('{app=~".+"}');
      expect(rows.map(({ ns, line }) => [ns, line])).toEqual(
        batch.map(({ sec: s, line }) => [`${s}000000005`, line.toString()]),
      );
      expect(rows[0].stream).toMatchObject({ app: "a", trace_id: "0af7651916cd43dd8448eb211c80319c" });
    } finally {
      await weir.close();
    }
  });

  test("names the lines that another Weir refuses, with its words", async () => {
    const weir = await TestWeir.start(PIPELINE);
    try {
      const sink = loki.open(loki.options.parse({ url: `${weir.base}/loki/api/v1/push` }), deps());
      const sec = Math.floor(Date.now() / 1000);
      // Years ahead of the time is refused by default.
      const batch = Array.from({ length: 9 }, (_, i) => ({ ...record(i, `l ${i}`), sec: i === 4 ? sec + 1e9 : sec }));
      const { failed } = await sink.write(batch, NEVER);
      expect(failed).toEqual([{ position: 4, retriable: false, reason: expect.stringContaining("too new") }]);
      await sink.close();
      expect(await weir.rows('{app="web"}')).toHaveLength(8);
    } finally {
      await weir.close();
    }
  });
});
