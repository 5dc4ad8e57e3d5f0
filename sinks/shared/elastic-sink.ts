import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { crc32 } from "../../src/codec/crc32.ts";
import { messageOf } from "../../src/core/errors.ts";
import type { RecordSink, RecordSinkDeps, Refused, SinkRecord, WriteResult } from "../../src/core/sink.ts";
import { sendInHalves, type Verdict } from "./bisect.ts";
import { BULK_ANSWER, readBulkAnswer } from "./elastic-bulk.ts";
import { AnswerTooLarge, answerText, ElasticClient, type ElasticTarget, part } from "./elastic-client.ts";
import { type DocumentForm, DocumentWriter } from "./elastic-document.ts";
import { compileIndexName, indexPattern } from "./elastic-index.ts";
import { installTemplate } from "./elastic-template.ts";
import { FieldNames } from "./field-names.ts";

const compress = promisify(gzip);
/** Of a batch's rows, to begin with. */
const ROW_BUFFER_BYTES = 256 << 10;

export interface ElasticOptions extends ElasticTarget {
  readonly index: string;
  readonly data_stream: boolean;
  readonly form: DocumentForm;
  readonly id_prefix: string;
  readonly gzip: boolean;
  readonly fields_max: number;
  readonly fields_forget_ms: number;
  readonly template: {
    readonly install: boolean;
    readonly name?: string | undefined;
    readonly priority: number;
    readonly settings: Readonly<Record<string, unknown>>;
  };
}

/** A record as it goes out. */
interface Row {
  readonly position: number;
  readonly id: string;
  /** Both lines of it, with their newlines: a part of a buffer that has the rows one after the other. */
  readonly bytes: Buffer;
}

/** Writes records to Elasticsearch or OpenSearch. */
export class ElasticSink implements RecordSink {
  private readonly options: ElasticOptions;
  private readonly deps: RecordSinkDeps;
  private readonly names: FieldNames;
  private readonly documents: DocumentWriter;
  private readonly indexOf: (record: SinkRecord) => string;
  private readonly metrics: ReturnType<typeof elasticMetrics>;
  private client: ElasticClient | null = null;
  private isReady = false;
  private isClosed = false;
  private saysFull = true;
  private saysUnsaved = true;
  private packed = 0;

  constructor(options: ElasticOptions, deps: RecordSinkDeps) {
    const { fields_max: max, fields_forget_ms: forgetMs, form, data_stream, index } = options;
    this.options = options;
    this.deps = deps;
    this.names = new FieldNames({ max, forgetMs, now: deps.now });
    this.documents = new DocumentWriter(this.names, { form, dataStream: data_stream });
    this.indexOf = compileIndexName(index, data_stream);
    this.metrics = elasticMetrics(deps);
  }

  async write(batch: readonly SinkRecord[], signal: AbortSignal): Promise<WriteResult> {
    signal.throwIfAborted();
    if (batch.length === 0) return { failed: [] };
    const client = await this.prepare(signal);
    const { rows, failed } = this.rowsOf(batch);
    await this.keepNames();
    const result = await sendInHalves(rows, (some) => this.send(client, some, signal));
    for (const refused of result.failed) failed.push({ ...refused, position: rows[refused.position].position });
    return { failed };
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.client?.close();
  }

  /** What is done before the first record: once, when it has succeeded. */
  private async prepare(signal: AbortSignal): Promise<ElasticClient> {
    const { options, deps } = this;
    if (this.client === null) {
      const problem = await this.names.load(deps.folder);
      if (problem !== null) deps.log.warn({ sink: deps.name }, `sink ${deps.name}: ${problem}`);
      this.client = await ElasticClient.load(options, deps.now);
      if (this.isClosed) this.client.close();
    }
    signal.throwIfAborted();
    if (!this.isReady && options.template.install) {
      const { name = `weir-${deps.name}`.toLowerCase(), priority, settings } = options.template;
      const { form, data_stream: isStream, fields_max: fieldsMax } = options;
      const pattern = indexPattern(options.index);
      const wanted = { name, priority, settings, pattern, form, isStream, fieldsMax };
      await installTemplate(wanted, this.client, deps.log, signal);
    }
    this.isReady = true;
    return this.client;
  }

  private rowsOf(batch: readonly SinkRecord[]): { rows: Row[]; failed: Refused[] } {
    const out = new RowBuffer();
    const failed: Refused[] = [];
    this.names.tick();
    for (const [position, record] of batch.entries()) {
      const index = this.indexOf(record);
      const document = this.documents.write(record, index);
      if (document === null) {
        const reason = `a document has no time for ${record.sec} s since 1970, want the years 1 to 9999`;
        failed.push({ position, reason, retriable: false });
      } else {
        const id = `${this.options.id_prefix}${documentId(record)}`;
        out.add(position, id, `{"create":{"_index":"${index}","_id":"${id}"}}\n${document}\n`);
      }
    }
    return { rows: out.rows(), failed };
  }

  /** Counts what was packed, and sees to it that the names are known after a restart, too. */
  private async keepNames(): Promise<void> {
    const { deps, documents, names, metrics } = this;
    metrics.names.set(names.size);
    if (documents.leftOut > this.packed) {
      metrics.packed.inc(documents.leftOut - this.packed);
      this.packed = documents.leftOut;
    }
    if (this.saysFull && names.size >= this.options.fields_max) {
      this.saysFull = false;
      const what = `has ${names.size} names of fields; further ones go into weir.rest as text (fields_max)`;
      deps.log.warn({ sink: deps.name, names: names.size }, `sink ${deps.name}: ${what}`);
    }
    try {
      await names.save(deps.folder);
      this.saysUnsaved = true;
    } catch (error) {
      // Records are worth more than names, which would be learnt anew.
      const what = `can't write down its names of fields: ${messageOf(error)}`;
      if (this.saysUnsaved) deps.log.warn({ sink: deps.name, err: error }, `sink ${deps.name}: ${what}`);
      this.saysUnsaved = false;
    }
  }

  private async send(client: ElasticClient, rows: readonly Row[], signal: AbortSignal): Promise<Verdict> {
    const plain = bytesOf(rows);
    const body = this.options.gzip ? await compress(plain, { level: 1 }) : plain;
    const headers = {
      "content-type": "application/x-ndjson",
      ...(this.options.gzip ? { "content-encoding": "gzip" } : {}),
    };
    try {
      const request = { method: "POST", path: "/_bulk", query: { filter_path: BULK_ANSWER }, body, headers } as const;
      const answer = await client.send(request, signal);
      const { status, body: said } = answer;
      if (status === 200) {
        const { repeats, refused } = readBulkAnswer(
          said,
          rows.map(({ id }) => id),
          client.where,
        );
        if (repeats > 0) this.metrics.repeats.inc(repeats);
        return { taken: true, but: refused };
      }
      // Too much at once; or one of the documents makes the whole request wrong, if it was Elasticsearch that said so.
      if (status === 413 || (status === 400 && part(said, "error") !== undefined)) {
        return { taken: false, reason: answerText(answer) };
      }
      throw client.unavailable(`answers ${answerText(answer)}`);
    } catch (error) {
      if (error instanceof AnswerTooLarge && rows.length > 1) return { taken: false, reason: error.message };
      throw error;
    }
  }
}

/** Texts become bytes at once: kept as texts, the thousands of a batch outlive one collection after the other, and each copies them. */
class RowBuffer {
  private readonly positions: number[] = [];
  private readonly ids: string[] = [];
  private readonly ends: number[] = [];
  private bytes = Buffer.allocUnsafe(ROW_BUFFER_BYTES);
  private end = 0;

  add(position: number, id: string, text: string): void {
    // A character of a string, which is 16 bits, is at most three bytes.
    const most = this.end + text.length * 3;
    if (most > this.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(most, this.bytes.length * 2));
      this.bytes.copy(larger, 0, 0, this.end);
      this.bytes = larger;
    }
    this.end += this.bytes.write(text, this.end);
    this.positions.push(position);
    this.ids.push(id);
    this.ends.push(this.end);
  }

  rows(): Row[] {
    const { positions, ids, ends, bytes } = this;
    return positions.map((position, i) => ({
      position,
      id: ids[i],
      bytes: bytes.subarray(i === 0 ? 0 : ends[i - 1], ends[i]),
    }));
  }
}

/** The bytes of rows that stand beside each other. */
function bytesOf(rows: readonly Row[]): Buffer {
  const first = rows[0].bytes;
  const last = rows[rows.length - 1].bytes;
  return Buffer.from(first.buffer, first.byteOffset, last.byteOffset + last.length - first.byteOffset);
}

let tenant = "";
let tenantCrc = 0;
let idSec = Number.NaN;
let idSecText = "";

/**
 * `<place in the intake log>-<time>-<CRC-32 of tenant and line>`. The place makes it the same on every try, and keeps it near its
 * neighbours in Lucene's tables. The rest tells it from another record at the same place: of another Weir that writes into the same
 * index, or of an intake log that was removed and began anew.
 */
function documentId(record: SinkRecord): string {
  if (record.tenant !== tenant) {
    ({ tenant } = record);
    tenantCrc = crc32(Buffer.from(tenant));
  }
  const { id, sec, nsec, line } = record;
  if (sec !== idSec) {
    idSec = sec;
    idSecText = sec.toString(36);
  }
  return `${id}-${idSecText}.${nsec.toString(36)}-${crc32(line, tenantCrc).toString(36)}`;
}

function elasticMetrics({ metrics, name: sink }: RecordSinkDeps) {
  const names = metrics.gauge(
    "weir_sink_field_names",
    "Names of fields that a sink's destination was told of, beside those that each document has.",
    ["sink"],
  );
  const packed = metrics.counter(
    "weir_sink_packed_fields_total",
    "Fields that went out as text in weir.rest: their names were too many, or did not fit.",
    ["sink"],
  );
  const repeats = metrics.counter(
    "weir_sink_repeats_total",
    "Records that a sink's destination had from an earlier try.",
    ["sink"],
  );
  return { names: names.labels({ sink }), packed: packed.labels({ sink }), repeats: repeats.labels({ sink }) };
}
