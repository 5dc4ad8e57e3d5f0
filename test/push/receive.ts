import { PbfWriter } from "pbf";
import snappy from "snappyjs";
import { decode, MsgpackMap } from "../../src/codec/msgpack.ts";
import { PushBatchCursor } from "../../src/codec/push-batch.ts";
import type { EntryDraft } from "../../src/core/intake-entry.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryIntake } from "../../src/intake/memory.ts";
import { Ingest } from "../../src/push/ingest.ts";
import { ingestOptions, otlpOptions, pushOptions } from "../../src/push/options.ts";
import { lokiReceiver, otlpReceiver, type PushRequest } from "../../src/push/receivers.ts";

/** When the tests are: 2023-11-14T22:13:20Z. */
export const NOW_MS = 1_700_000_000_000;
export const NOW_NS = "1700000000000000000";

export interface Stored {
  readonly tenant: string;
  readonly labels: Record<string, string>;
  readonly ns: string;
  readonly line: string;
  readonly metadata: Record<string, string>;
}

export interface Got {
  readonly status: number;
  readonly text: string;
  readonly type: string;
}

/** What a sliced work gives, without a break. */
export function whole<T>(work: Generator<unknown, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}

/** Receivers over an intake log in memory. */
export class Receive {
  readonly metrics = new Metrics();
  readonly drafts: EntryDraft[] = [];
  readonly intake = new MemoryIntake();
  nowMs = NOW_MS;
  private readonly loki;
  private readonly otlp;

  constructor(ingest: Record<string, unknown> = {}) {
    const now = () => this.nowMs;
    const core = new Ingest(ingestOptions.parse(ingest), {
      intake: {
        append: async (draft) => {
          const answer = await this.intake.append(0, draft);
          this.drafts.push(draft);
          return answer;
        },
        claimLines: (ids) => this.intake.claimLines(ids),
      },
      metrics: this.metrics,
      now,
    });
    this.loki = lokiReceiver("push", pushOptions.parse({}), core);
    this.otlp = otlpReceiver("otlp", otlpOptions.parse({}), core, now);
  }

  async send(to: "loki" | "otlp", request: Partial<PushRequest> & { readonly body: Buffer }): Promise<Got> {
    const answer = await this[to].receive({
      contentType: "application/json",
      contentEncoding: undefined,
      hold: () => {},
      ...request,
    });
    return { status: answer.status, text: answer.body.toString(), type: answer.type };
  }

  json(value: unknown, request: Partial<PushRequest> = {}): Promise<Got> {
    const body = Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
    return this.send("loki", { body, ...request });
  }

  proto(bytes: Buffer, request: Partial<PushRequest> = {}): Promise<Got> {
    return this.send("loki", { contentType: "application/x-protobuf", body: snappy.compress(bytes), ...request });
  }

  stored(): Stored[] {
    return this.drafts.flatMap((draft) => linesOf(draft));
  }

  async metric(name: string): Promise<string> {
    return (await this.metrics.render())
      .split("\n")
      .filter((line) => line.startsWith(name))
      .join("\n");
  }
}

export function linesOf({ tenant, payload }: EntryDraft): Stored[] {
  const cursor = new PushBatchCursor(payload);
  const out: Stored[] = [];
  while (cursor.next()) {
    const { value } = decode(payload, cursor.metadataStart, cursor.metadataEnd);
    if (!(value instanceof MsgpackMap)) throw new Error("metadata is no map");
    out.push({
      tenant,
      labels: JSON.parse(payload.toString("utf8", cursor.streamStart, cursor.streamEnd)) as Record<string, string>,
      ns: `${BigInt(cursor.sec) * 1_000_000_000n + BigInt(cursor.nsec)}`,
      line: payload.toString("utf8", cursor.lineStart, cursor.lineEnd),
      metadata: Object.fromEntries(value.pairs.map(([key, text]) => [String(key), String(text)])),
    });
  }
  return out;
}

/** A stream object of a JSON body. */
export const stream = (labels: Record<string, unknown>, ...values: unknown[]): unknown => ({ stream: labels, values });
export const body = (...streams: unknown[]): unknown => ({ streams });

export interface ProtoEntry {
  readonly sec: number;
  readonly nsec?: number;
  readonly line?: string | Buffer;
  readonly metadata?: readonly (readonly [string, string])[];
}

/** A PushRequest, not compressed. */
export function pushProto(
  streams: readonly { readonly labels: string; readonly entries: readonly ProtoEntry[] }[],
): Buffer {
  const pbf = new PbfWriter();
  for (const one of streams) {
    pbf.writeMessage(
      1,
      (it, w) => {
        w.writeStringField(1, it.labels);
        for (const entry of it.entries) w.writeMessage(2, writeEntry, entry);
        w.writeVarintField(3, 123_456); // hash, to be ignored
      },
      one,
    );
  }
  return Buffer.from(pbf.finish());
}

function writeEntry({ sec, nsec = 0, line, metadata = [] }: ProtoEntry, pbf: PbfWriter): void {
  pbf.writeMessage(
    1,
    (time, w) => {
      w.writeVarintField(1, time.sec);
      if (time.nsec > 0) w.writeVarintField(2, time.nsec);
    },
    { sec, nsec },
  );
  if (line !== undefined) pbf.writeBytesField(2, Buffer.from(line));
  for (const [name, value] of metadata) {
    pbf.writeMessage(
      3,
      (pair, w) => {
        w.writeStringField(1, pair.name);
        w.writeStringField(2, pair.value);
      },
      { name, value },
    );
  }
}
