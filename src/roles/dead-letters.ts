import { messageOf, WeirError } from "../core/errors.ts";
import { canonicalLabels, type Labels } from "../core/labels.ts";
import { Line } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import { Metrics } from "../core/metrics.ts";
import { PrefixedObjects } from "../objects/prefixed.ts";
import type { ObjectStore } from "../objects/store.ts";
import { type Catalog, openCatalog } from "../store/catalog.ts";
import { storeOptions } from "../store/options.ts";
import type { SegmentInfo } from "../store/view.ts";
import { openStreamWriter, type StreamWriter } from "../store/writer.ts";
import type { DeadLetterOptions } from "./dead-letter-options.ts";
import type { DeadLetter, DeadLetters } from "./sink-delivery.ts";

/*
 * Dead letters are lines of a store of their own below `dead/` of the object store, in the same format as any: so `zcat`
 * shows them, and all that reads segments reads them. One stream for each sink (label `sink`) and tenant; the line is the
 * record's. Its structured metadata:
 *
 *   dead_reason     why the destination refused it
 *   dead_record     the record's id: partition, offset, and place in the entry of the intake log
 *   dead_at_ms      when, in milliseconds since 1970
 *   dead_labels     the record's labels, JSON
 *   dead_metadata   its structured metadata, JSON: a list of pairs
 *   dead_json       the whole record, JSON, where the sink sends that
 */
export const DEAD_PREFIX = "dead/";
const PARTITION = 0;
/** Open and pending blocks: dead letters are few, and each batch is committed at once. */
const MEMORY_BYTES = 8 * 1024 * 1024;
/** Before and after any time that a line can have. */
const TIME_MIN_NS = -(2n ** 100n);
const TIME_MAX_NS = 2n ** 100n;
/** Part of the limit from which on there is an alarm. */
const ALARM_PART = 0.8;

/** Opens the store of dead letters, for those who read it or change it. */
export function openDeadCatalog(objects: ObjectStore, log: Logger): Promise<Catalog> {
  return openCatalog(new PrefixedObjects(objects, DEAD_PREFIX), new Metrics(), log);
}

/** All segments of dead letters, in order of arrival within each tenant. */
export async function deadSegments(catalog: Catalog): Promise<SegmentInfo[]> {
  const view = catalog.view();
  const found: SegmentInfo[] = [];
  for (const tenant of view.tenants) {
    found.push(...(await view.segments({ tenant, startNs: TIME_MIN_NS, endNs: TIME_MAX_NS })));
  }
  return found;
}

/** How long objects that nothing names any more are kept for those who read them now: commands take minutes at most. */
const GRACE_MS = 600_000;

/** Deletes what was replaced a while ago. */
export async function collectDead(catalog: Catalog): Promise<void> {
  await catalog.collect(GRACE_MS);
}

export interface DeadLetterDeps {
  /** The whole object store. */
  readonly objects: ObjectStore;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Keeps what sinks refused for good. The store below is opened with the first letter. */
export class DeadLetterStore implements DeadLetters {
  private readonly options: DeadLetterOptions;
  private readonly deps: DeadLetterDeps;
  private readonly objects: ObjectStore;
  private readonly log: Logger;
  private readonly now: () => number;
  private readonly line = new Line();
  private opening: Promise<{ catalog: Catalog; writer: StreamWriter }> | null = null;
  private turn: Promise<void> = Promise.resolve();
  private bytes = 0;
  private hasAlarm = false;

  constructor(options: DeadLetterOptions, deps: DeadLetterDeps) {
    this.options = options;
    this.deps = deps;
    this.objects = new PrefixedObjects(deps.objects, DEAD_PREFIX);
    this.log = deps.log;
    this.now = deps.now;
    deps.metrics.gauge("weir_dead_letters_bytes", "Bytes of dead letters when last looked at.", [], (gauge) =>
      gauge.set(this.bytes),
    );
    deps.metrics.gauge("weir_dead_letters_bytes_max", "What dead letters may take.", [], (gauge) =>
      gauge.set(options.bytes_max),
    );
  }

  /**
   * Resolves when the letters are durable. Rejects with a retriable `dead_letters_full` when there is no room, and with
   * errors of the object store.
   */
  add(sink: string, letters: readonly DeadLetter[]): Promise<void> {
    const added = this.turn.then(() => this.write(sink, letters));
    this.turn = added.catch(() => {}); // The caller hears of it.
    return added;
  }

  /** Looks how much there is, for the metrics and the alarm. Rejects with errors of the object store. */
  async look(): Promise<void> {
    await this.measure(await openDeadCatalog(this.deps.objects, this.log));
  }

  private async write(sink: string, letters: readonly DeadLetter[]): Promise<void> {
    this.opening ??= this.open().catch((error: unknown) => {
      this.opening = null;
      throw error;
    });
    const { catalog, writer } = await this.opening;
    await catalog.refresh(); // `weir dead drop` may have made room.
    await this.measure(catalog);
    this.throwIfFull();
    for (const { record, reason } of letters) {
      const labels: Labels = { sink };
      const line = this.line;
      line.clear();
      line.sec = record.sec;
      line.nsec = record.nsec;
      line.bytes = record.line;
      line.start = 0;
      line.end = record.line.length;
      line.addExtra("dead_reason", reason === "" ? "no reason given" : reason);
      line.addExtra("dead_record", record.id);
      line.addExtra("dead_at_ms", String(this.now()));
      line.addExtra("dead_labels", record.canonical);
      line.addExtra("dead_metadata", JSON.stringify(record.metadata));
      if (record.json !== "") line.addExtra("dead_json", record.json);
      writer.append(writer.stream(record.tenant, labels, canonicalLabels(labels)), line);
    }
    try {
      await writer.flush(catalog.chainEnd(PARTITION) + letters.length);
    } catch (error) {
      writer.discard(); // They come again with the next try.
      throw error;
    }
    await this.tidy(catalog);
  }

  /** Keeps the catalog short. The letters are safe already. */
  private async tidy(catalog: Catalog): Promise<void> {
    if (!catalog.foldIsDue()) return;
    try {
      await catalog.fold();
      await collectDead(catalog);
    } catch (error) {
      this.log.warn({ err: error }, `dead letters: can't tidy up their catalog now: ${messageOf(error)}`);
    }
  }

  private async open(): Promise<{ catalog: Catalog; writer: StreamWriter }> {
    const metrics = new Metrics();
    const catalog = await openCatalog(this.objects, metrics, this.log);
    const writer = openStreamWriter(storeOptions.parse({ memory_bytes: MEMORY_BYTES }), {
      objects: this.objects,
      catalog,
      metrics,
      log: this.log,
      partition: PARTITION,
      now: this.now,
    });
    return { catalog, writer };
  }

  private async measure(catalog: Catalog): Promise<void> {
    const bytes = (await deadSegments(catalog)).reduce((sum, segment) => sum + segment.bytes, 0);
    this.bytes = bytes;
    const { bytes_max } = this.options;
    const isHigh = bytes >= bytes_max * ALARM_PART;
    if (isHigh && !this.hasAlarm) {
      this.log.error(
        { bytes, bytes_max },
        "dead letters: nearly full; look at them with `weir dead list`, then replay or drop them",
      );
    }
    this.hasAlarm = isHigh;
  }

  private throwIfFull(): void {
    const { bytes } = this;
    const { bytes_max } = this.options;
    if (bytes < bytes_max) return;
    throw new WeirError(
      "dead_letters_full",
      `dead letters take ${bytes} of ${bytes_max} bytes; look at them with \`weir dead list\`, then replay or drop them, or raise dead_letters.bytes_max`,
      { retriable: true, context: { bytes } },
    );
  }
}
