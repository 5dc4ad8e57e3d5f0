import { createHash } from "node:crypto";
import { z } from "zod";
import { packJson } from "../src/codec/json-msgpack.ts";
import { Packer } from "../src/codec/pack.ts";
import { messageOf, WeirError } from "../src/core/errors.ts";
import {
  defineRecordSink,
  type ForwardConnection,
  type ForwardTarget,
  type Refused,
  type SinkRecord,
} from "../src/core/sink.ts";
import { TIMER_MS_MAX, unlessAborted } from "../src/core/wait.ts";
import { fieldsJson } from "./shared/encode.ts";
import { readPem } from "./shared/http-client.ts";
import { compileTemplate, template } from "./shared/template.ts";

/** Chunks that wait for their acknowledgement at a time: agents' chunks may be small, and each answer is a round trip away. */
const IN_FLIGHT_MAX = 64;
const CHUNK_ID_BYTES = 16;
/** What the protocol's time can say. */
const SEC_MAX = 2 ** 32 - 1;

const ADDRESS = /^(tcp|tls):\/\/(\[[0-9A-Fa-f:.%]+\]|[^\s/:[\]]+)(:(?<port>\d{1,5}))?\/?$|^unix:\/\/\/.+$/;
const PORT_MAX = 65_535;

const options = z.strictObject({
  url: z
    .string()
    .regex(ADDRESS, "want tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH")
    .refine((text) => Number(ADDRESS.exec(text)?.groups?.port ?? 1) <= PORT_MAX, `want a port up to ${PORT_MAX}`)
    .describe(
      "Where the receiver listens: `tcp://HOST:PORT`, `tls://HOST:PORT` (port 24224 if absent) or `unix:///PATH`.",
    ),
  tag: template.default("weir").describe("Tag of the records; `{name}` is the label of that name."),
  send: z
    .enum(["record", "line"])
    .default("record")
    .describe(
      "What goes out. `record`: the record's fields as they arrived, after what the pipeline did with them; `line`: `log` with the line's bytes, `labels` and `metadata`.",
    ),
  shared_key: z
    .string()
    .min(1)
    .optional()
    .describe("Key that the receiver asks for; better as a reference to the environment."),
  user: z
    .strictObject({ name: z.string().min(1).describe("Name."), password: z.string().describe("Password.") })
    .optional()
    .describe("User, where the receiver has users."),
  tls: z
    .strictObject({
      ca_file: z.string().min(1).optional().describe("Certificates that are trusted, PEM, in place of the system's."),
      verify: z.boolean().default(true).describe("Whether the receiver's certificate is checked."),
    })
    .prefault({})
    .describe("For tls://."),
  timeout_ms: z
    .int()
    .min(1)
    .max(TIMER_MS_MAX)
    .default(30_000)
    .describe("Longest wait for a connection, or for an acknowledgement; then the connection counts as lost."),
});

/** Records that arrived in one entry of the intake log and have one tag. */
interface Chunk {
  readonly tag: string;
  readonly id: string;
  readonly places: readonly number[];
  readonly entries: Buffer;
}

export default defineRecordSink({
  name: "forward",
  summary:
    "Sends records to Fluentd, Fluent Bit or another Weir by the forward protocol, with acknowledgements. A chunk's id is made from its records' ids and contents, so a receiver that looks at it (Weir does) recognises a repeat. Records that arrived together go out together, so that a repeat after a crash is the same chunk but for one that was cut in two by `batch_records_max`, `batch_bytes_max` or `batch_age_ms`: of that one records may come twice.",
  options,
  wantsJson: ({ send }) => send === "record",
  open: (own, { connectForward }) => {
    const { url, shared_key, user, tls, timeout_ms } = own;
    const target: ForwardTarget = {
      url,
      ...(shared_key === undefined ? {} : { sharedKey: shared_key }),
      ...(user === undefined ? {} : { user }),
      tls: { rejectUnauthorized: tls.verify, ...(tls.ca_file === undefined ? {} : { ca: readPem(tls.ca_file) }) },
      timeoutMs: timeout_ms,
      inFlightMax: IN_FLIGHT_MAX,
    };
    const tagOf = compileTemplate(own.tag);
    const writeEntry = own.send === "record" ? writeRecord : writeLine;
    const packer = new Packer();
    let connection: Promise<ForwardConnection> | null = null;
    const connected = (): Promise<ForwardConnection> => {
      connection ??= connectForward(target);
      return connection;
    };
    const drop = (): void => {
      // It is of no more use, and whatever it says on its way out, or when it comes too late, is of no interest.
      connection?.then((open) => open.close()).catch(() => {});
      connection = null;
    };
    return {
      async write(batch, signal) {
        signal.throwIfAborted();
        const { chunks, failed } = chunksOf(batch, tagOf, (some) => packEntries(some, writeEntry, packer));
        if (chunks.length === 0) return { failed };
        try {
          const open = await unlessAborted(connected(), signal);
          const outcomes = await unlessAborted(
            Promise.allSettled(
              chunks.map(({ tag, entries, id, places }) =>
                open.sendPacked(tag, entries, { chunk: id, size: places.length }),
              ),
            ),
            signal,
          );
          const lost = outcomes.flatMap((outcome, i) => missed(outcome, chunks[i]));
          if (lost.length > 0) drop();
          return { failed: [...failed, ...lost] };
        } catch (error) {
          drop();
          signal.throwIfAborted();
          if (!(error instanceof WeirError)) throw error;
          throw new WeirError("sink_unavailable", error.message, { retriable: true, cause: error });
        }
      },
      async close() {
        drop();
      },
    };
  },
});

function missed(outcome: PromiseSettledResult<void>, { places }: Chunk): Refused[] {
  if (outcome.status === "fulfilled") return [];
  const reason = messageOf(outcome.reason);
  return places.map((position) => ({ position, reason, retriable: true }));
}

function chunksOf(
  batch: readonly SinkRecord[],
  tagOf: (record: SinkRecord) => string,
  pack: (records: readonly SinkRecord[]) => Buffer,
): { chunks: Chunk[]; failed: Refused[] } {
  const failed: Refused[] = [];
  const groups = new Map<string, { tag: string; places: number[] }>();
  for (const [position, record] of batch.entries()) {
    if (record.sec < 0 || record.sec > SEC_MAX) {
      const reason = `the forward protocol has no time for ${record.sec} s since 1970, want 0 to ${SEC_MAX}`;
      failed.push({ position, reason, retriable: false });
      continue;
    }
    const tag = tagOf(record);
    const key = `${entryOf(record.id)} ${tag}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { tag, places: [position] });
    else group.places.push(position);
  }
  const chunks = [...groups.values()].map(({ tag, places }): Chunk => {
    const entries = pack(places.map((place) => batch[place]));
    const hash = createHash("sha256").update(`${tag}\n${places.map((place) => batch[place].id).join(" ")}\n`);
    const id = hash.update(entries).digest().subarray(0, CHUNK_ID_BYTES).toString("base64");
    return { tag, id, places, entries };
  });
  return { chunks, failed };
}

/** `<partition>-<offset>` of a record's id. */
function entryOf(id: string): string {
  return id.slice(0, id.indexOf("-", id.indexOf("-") + 1));
}

function packEntries(records: readonly SinkRecord[], write: WriteEntry, packer: Packer): Buffer {
  for (const record of records) write(record, packer);
  return packer.take();
}

/** Writes an entry, `[time, record]`. */
type WriteEntry = (record: SinkRecord, out: Packer) => void;

const ENTRY = 0x92;
const MAP_OF_3 = 0x83;

const writeRecord: WriteEntry = (record, out) => {
  out.byte(ENTRY);
  out.time(record.sec, record.nsec);
  packJson(fieldsJson(record), out);
};

const writeLine: WriteEntry = ({ sec, nsec, labels, metadata, line }, out) => {
  out.byte(ENTRY);
  out.time(sec, nsec);
  out.byte(MAP_OF_3);
  out.text("log");
  out.line(line);
  out.text("labels");
  out.texts(Object.entries(labels));
  out.text("metadata");
  out.texts(metadata);
};
