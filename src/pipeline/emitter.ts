import { sanitizeLabelName } from "../core/labels.ts";
import {
  ID_ABSENT,
  ID_BYTES,
  ID_ELSEWHERE,
  ID_NAMES,
  ID_SLOTS,
  idText,
  Line,
  type LineSink,
  PARENT_SPAN_ID,
  REQUEST_ID,
  SPAN_ID,
  TRACE_ID,
} from "../core/line.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { PipelineBuilder } from "./builder.ts";
import type { RecordContext } from "./context.ts";
import { eachPair, isMap } from "./find.ts";
import { valueText } from "./json.ts";
import { LEVEL_UNKNOWN, levelRank, normalLevel, severityLevel } from "./level-names.ts";
import { freeName, RANK_DETECTED, RANK_NONE, type StreamContext } from "./stream-context.ts";
import type { StreamContexts } from "./stream-contexts.ts";
import { cutEnd } from "./text.ts";
import { addOtlpIds } from "./trace/finder.ts";
import { pickIds } from "./trace/pick.ts";
import { readValue } from "./value-source.ts";

/** Names of attributes whose valid form is remembered. */
const NAMES_MAX = 4096;
/** Their characters, since a name may be of any length. */
const NAME_CHARACTERS_MAX = 1_048_576;
const OTLP = "otlp";
/** What OTLP says of a record beside its attributes, kept under these names as Loki does. */
const OTLP_TEXTS = new Set(["severity_text", "severity_number"]);

const ID_SLOT_NAMES: readonly string[] = ID_NAMES;
const NO_IDS: readonly string[] = ID_NAMES.map(() => "");

/** Turns a record that went through the steps into a line, and hands it to the pipeline's sinks. */
export class Emitter {
  private readonly builder: PipelineBuilder;
  private readonly contexts: StreamContexts;
  private readonly sinks: readonly LineSink[];
  private readonly line = new Line();
  private readonly names = new BoundedCache<string>(NAMES_MAX, NAME_CHARACTERS_MAX);
  /** The best level that the line's own metadata says, and its rank. */
  private level = "";
  private levelRank = RANK_NONE;
  private severityNumber = "";
  /** The text of ids that a pushed line came with, by their slots; "" for none. */
  private readonly givenIds: string[] = [...NO_IDS];
  /** Bytes and entries of metadata so far. */
  private metadataBytes = 0;
  private metadataCount = 0;

  constructor(builder: PipelineBuilder, contexts: StreamContexts, sinks: readonly LineSink[]) {
    this.builder = builder;
    this.contexts = contexts;
    this.sinks = sinks;
  }

  emit(record: RecordContext, nowMs: number): void {
    const { line, builder, sinks } = this;
    line.clear();
    line.sec = record.sec;
    line.nsec = record.nsec;
    line.bytes = record.lineBytes;
    line.start = record.lineStart;
    line.end = record.lineEnd;
    if (line.end - line.start > builder.limits.line_bytes_max) this.cutLine();
    const context = this.contexts.resolve(record, nowMs);
    line.shared = context.shared;
    this.level = context.level;
    this.levelRank = context.levelRank;
    this.severityNumber = context.severityNumber;
    const hasMetadata = record.metadataEnd - record.metadataStart > 1;
    if (hasMetadata || this.contexts.lineMetadata.length > 0) this.addMetadata(record, context, hasMetadata);
    if (record.parseError !== "") line.addExtra("parse_error", record.parseError);
    this.addIds(record, context, hasMetadata);
    if (record.given !== null) this.keepGivenIds();
    if (builder.level !== null) line.level = this.levelOf(record);
    const { handles } = context;
    for (let i = 0; i < sinks.length; i++) sinks[i].append(handles[i], line, record);
  }

  /** Cuts a line that is too long between two characters; its metadata says how long it was. */
  private cutLine(): void {
    const { line, builder } = this;
    line.addExtra("truncated", String(line.end - line.start));
    line.end = cutEnd(line.bytes, line.start, line.start + builder.limits.line_bytes_max);
    builder.counts.cutLines++;
  }

  private addIds(record: RecordContext, context: StreamContext, hasMetadata: boolean): void {
    const { ids } = record;
    const { line, builder } = this;
    ids.clear();
    if (hasMetadata && record.given === null) addOtlpIds(record.bytes, record.metadataStart, record.metadataEnd, ids);
    builder.trace?.collect(record);
    if (ids.count === 0 && !ids.hasRequest) return;
    const source = pickIds(ids, line, line.end - line.start, builder.trace?.options.requestIdAsTrace ?? false);
    if (source === -1) return;
    builder.counts.traced++;
    if (builder.trace === null || builder.trace.options.source) line.shared = context.withSource(source);
  }

  private addMetadata(record: RecordContext, context: StreamContext, hasMetadata: boolean): void {
    this.metadataBytes = context.sharedBytes;
    this.metadataCount = context.shared.pairs.length;
    const configured = this.contexts.lineMetadata;
    for (let i = 0; i < configured.length; i++) {
      const value = readValue(configured[i].source, record);
      if (value !== "") this.addEntry(configured[i].name, value);
    }
    if (hasMetadata && !this.builder.hidden.has("metadata")) this.addEventMetadata(record, context);
  }

  /** The agent's own metadata of an event: OTLP's attributes and severity, and whatever else there is. */
  private addEventMetadata(record: RecordContext, context: StreamContext): void {
    const { bytes } = record;
    const { limits, counts } = this.builder;
    const seen = new Set<string>();
    const add = (keyStart: number, keyEnd: number, start: number, end: number) => {
      const key = bytes.toString("utf8", keyStart, keyEnd);
      // Of millions, which a message may hold, those beyond the limit are not worth more than a look at the name.
      const isFull = this.metadataCount >= limits.metadata_entries_max;
      if (isFull && record.given === null && levelRank(key) === -1 && !OTLP_TEXTS.has(key)) {
        counts.droppedMetadata++;
        return;
      }
      const value = valueText(bytes, start, end);
      if (record.given !== null && this.takeGiven(key, value)) return;
      const name = freeName(this.validName(key), context.names);
      if (name === "" || seen.has(name)) return;
      if (value === "") return;
      // Of many thousands nearly all are beyond the limits, and those are counted alone.
      if (this.addEntry(name, value)) seen.add(name);
    };
    eachPair(bytes, record.metadataStart, record.metadataEnd, (keyStart, keyEnd, start, end) => {
      if (!isMap(bytes[start]) || bytes.toString("latin1", keyStart, keyEnd) !== OTLP) {
        add(keyStart, keyEnd, start, end);
        return;
      }
      eachPair(bytes, start, end, (innerStart, innerEnd, at, next) => {
        const name = bytes.toString("latin1", innerStart, innerEnd);
        if (OTLP_TEXTS.has(name)) add(innerStart, innerEnd, at, next);
        else if (name === "attributes") eachPair(bytes, at, next, add);
      });
    });
  }

  /** Keeps what needs no other name of a pushed line's metadata: an id, the level, and what a step has kept already. */
  private takeGiven(name: string, value: string): boolean {
    const slot = ID_SLOT_NAMES.indexOf(name);
    if (slot !== -1) {
      this.givenIds[slot] = value;
      return true;
    }
    if (name === "detected_level") {
      this.addEntry(name, value);
      return true;
    }
    return hasExtra(this.line, name, value);
  }

  /**
   * Ids that a pushed line came with stay as they are. One in canonical form goes to its slot, so that it is found as fast as
   * any; another stays text. What a step found of another trace gives way, with its spans.
   */
  private keepGivenIds(): void {
    const { line, givenIds } = this;
    const trace = givenIds[TRACE_ID];
    if (trace !== "" && lineIdText(line, TRACE_ID) !== trace) {
      line.idAt[SPAN_ID] = ID_ABSENT;
      line.idAt[PARENT_SPAN_ID] = ID_ABSENT;
    }
    for (let slot = 0; slot < ID_SLOTS; slot++) {
      const text = givenIds[slot];
      if (text === "") continue;
      givenIds[slot] = "";
      if (lineIdText(line, slot) === text) continue;
      line.idAt[slot] = ID_ABSENT;
      if (setId(line, slot, text)) removeExtra(line, ID_NAMES[slot]);
      // A step may have kept one that is no UUID as text.
      else if (!hasExtra(line, ID_NAMES[slot], text)) {
        removeExtra(line, ID_NAMES[slot]);
        this.addEntry(ID_NAMES[slot], text);
      }
    }
  }

  private validName(name: string): string {
    let valid = this.names.get(name);
    if (valid === undefined) {
      valid = sanitizeLabelName(name).slice(0, this.builder.limits.label_name_bytes_max);
      this.names.set(name, valid, name.length);
    }
    return valid;
  }

  /** Whether the line has the entry now. */
  private addEntry(name: string, value: string): boolean {
    const { limits, counts, level } = this.builder;
    this.noteLevel(name, value);
    if (name === "detected_level" && level !== null) return true; // It becomes the line's level.
    const bytes = Buffer.byteLength(name) + Buffer.byteLength(value);
    if (this.metadataCount >= limits.metadata_entries_max || this.metadataBytes + bytes > limits.metadata_bytes_max) {
      counts.droppedMetadata++;
      return false;
    }
    this.metadataCount++;
    this.metadataBytes += bytes;
    this.line.addExtra(name, value);
    return true;
  }

  private noteLevel(name: string, value: string): void {
    if (name === "severity_number" && this.severityNumber === "") this.severityNumber = value;
    let rank = levelRank(name);
    if (rank === -1) return;
    if (rank === 0) rank = RANK_DETECTED;
    if (rank >= this.levelRank) return;
    this.levelRank = rank;
    this.level = normalLevel(value);
  }

  /** By metadata and labels (specs: "detected_level", rules 1 to 3), then by the record and the line. */
  private levelOf(record: RecordContext): string {
    if (this.levelRank !== RANK_NONE) return this.level;
    if (this.severityNumber !== "") return severityLevel(this.severityNumber);
    return record.readLevel() || LEVEL_UNKNOWN;
  }
}

function hasExtra({ extraNames, extraValues, extraCount }: Line, name: string, value: string): boolean {
  for (let i = 0; i < extraCount; i++) if (extraNames[i] === name && extraValues[i] === value) return true;
  return false;
}

function removeExtra(line: Line, name: string): void {
  const at = line.extraNames.indexOf(name);
  if (at === -1 || at >= line.extraCount) return;
  line.extraCount--;
  line.extraNames[at] = line.extraNames[line.extraCount];
  line.extraValues[at] = line.extraValues[line.extraCount];
}

/** The id in a slot as text, "" where there is none. */
function lineIdText(line: Line, slot: number): string {
  if (line.idAt[slot] === ID_ABSENT) return "";
  return idText(slot, line.ids.subarray(slot * 16, slot * 16 + ID_BYTES[slot]));
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const LOWER_HEX = /^[0-9a-f]+$/;

/** Puts an id in canonical form into its slot; false, and nothing has changed, for any other text. */
function setId(line: Line, slot: number, text: string): boolean {
  const hex = slot === REQUEST_ID ? (UUID.test(text) ? text.replaceAll("-", "") : "") : text;
  if (hex.length !== ID_BYTES[slot] * 2 || !LOWER_HEX.test(hex)) return false;
  line.ids.set(Buffer.from(hex, "hex"), slot * 16);
  line.idAt[slot] = ID_ELSEWHERE;
  return true;
}
