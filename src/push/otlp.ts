import { NumberText } from "../core/component.ts";
import type { Labels } from "../core/labels.ts";
import { splitNs } from "../core/time.ts";
import { withServiceName } from "./checks.ts";
import type { ItemBudget } from "./item-budget.ts";
import { metadataName } from "./metadata.ts";
import type { TenantLimits } from "./options.ts";
import { type OtlpRules, otlpRules } from "./otlp-rules.ts";
import { LINES_A_SLICE, type Pieces, PushError, type PushedLine, type PushedStream } from "./stream.ts";

/*
 * OpenTelemetry's logs, decoded, and what becomes of them. Source: "Loki's HTTP contract", 4, and OTLP's logs.proto.
 */

/** A record's body that is text is its UTF-8 bytes, which need no detour over a string; other texts are strings, which take less memory. */
export type AnyValue = null | boolean | string | Buffer | NumberText | Blob | AnyValue[] | AnyMap;

/** Bytes that are no text. */
export class Blob {
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

export type Attribute = readonly [key: string, value: AnyValue];

export class AnyMap {
  readonly pairs: readonly Attribute[];
  constructor(pairs: readonly Attribute[]) {
    this.pairs = pairs;
  }
}

/** Deepest nesting of values. Far more than logs have, and the stack has an end. */
export const VALUE_DEPTH_MAX = 64;

export interface OtlpRecord {
  /** Nanoseconds since 1970; 0 where there is none. */
  timeNs: bigint;
  observedNs: bigint;
  severityNumber: number;
  severityText: string;
  body: AnyValue;
  attributes: Attribute[];
  droppedAttributes: number;
  flags: number;
  /** Lower-case hex of 16 and 8 bytes; "" where there is none. */
  traceId: string;
  spanId: string;
  eventName: string;
}

export const newRecord = (): OtlpRecord => ({
  timeNs: 0n,
  observedNs: 0n,
  severityNumber: 0,
  severityText: "",
  body: null,
  attributes: [],
  droppedAttributes: 0,
  flags: 0,
  traceId: "",
  spanId: "",
  eventName: "",
});

/** What a scope is, without its records. */
export interface OtlpScopeFacts {
  readonly name: string;
  readonly version: string;
  readonly attributes: readonly Attribute[];
  readonly droppedAttributes: number;
}

export const NO_SCOPE: OtlpScopeFacts = { name: "", version: "", attributes: [], droppedAttributes: 0 };

export interface OtlpScope extends OtlpScopeFacts {
  readonly records: readonly OtlpRecord[];
}

/** A resource with its scopes and records, or with some of them. */
export interface OtlpResource {
  readonly attributes: readonly Attribute[];
  readonly scopes: readonly OtlpScope[];
}

/** Takes the records of one resource from a decoder, and gives them on in pieces as soon as it is known what they belong to. */
export class ResourcePieces {
  /** Null until they were read. */
  attributes: readonly Attribute[] | null = null;
  /** Of the present scope; null until it was read. */
  scope: OtlpScopeFacts | null = null;
  /** Of the present scope, those that were not given on. */
  records: OtlpRecord[] = [];
  /** Scopes that have ended, whose records were not given on. */
  private kept: OtlpScope[] = [];
  private readonly items: ItemBudget;

  /** `items` is told of what is given on. */
  constructor(items: ItemBudget) {
    this.items = items;
  }

  beginScope(): void {
    this.scope = null;
    this.records = [];
  }

  endScope(): void {
    if (this.records.length > 0) this.kept.push({ ...(this.scope ?? NO_SCOPE), records: this.records });
  }

  /** What there is, once resource and scope are known: they may stand behind their records. */
  next(): OtlpResource | undefined {
    const { attributes, scope, records, kept } = this;
    if (attributes === null || scope === null) return undefined;
    this.records = [];
    this.kept = [];
    return this.give({ attributes, scopes: [...kept, { ...scope, records }] });
  }

  /** What was not given on yet, at the resource's end. */
  rest(): OtlpResource {
    return this.give({ attributes: this.attributes ?? [], scopes: this.kept });
  }

  private give(resource: OtlpResource): OtlpResource {
    this.items.given(resource.scopes.reduce((sum, { records }) => sum + records.length, 0));
    return resource;
  }
}

const ZEROS = /^0*$/;

/** The id, if it is one: lower-case hex of `bytes` bytes, not all zeros. An id that is none never costs the record. */
export function validId(hex: string, bytes: number): string {
  return hex.length === bytes * 2 && /^[0-9a-f]+$/.test(hex) && !ZEROS.test(hex) ? hex : "";
}

type Pairs = readonly (readonly [name: string, value: string])[];

/** Attributes of resources and scopes, and characters of them, counted once for each record that gets them: few bytes can say much. */
const SHARED_ATTRIBUTES_MAX = 4_000_000;
const SHARED_CHARS_MAX = 256 << 20;
/** Characters of the names that members of maps get, all of them together: each has those on the way to it. */
const NESTED_CHARS_MAX = 32 << 20;

/**
 * The streams that the records of `resources` belong to, by a tenant's limits. `nowNs` is the time of records that have none.
 * Throws PushError 413 where few bytes would become very many attributes.
 */
export function* otlpStreams(
  resources: Pieces<OtlpResource>,
  limits: Pick<TenantLimits, "otlp_config" | "discover_service_name">,
  nowNs: bigint,
): Pieces {
  const rules = otlpRules(limits.otlp_config);
  const costs = new Costs();
  let count = 0;
  for (const resource of resources) {
    if (resource === undefined) {
      yield;
      continue;
    }
    const ofResource = sort(resource.attributes, rules.ofResource, costs);
    const found = new StreamsOf(Object.fromEntries(ofResource.labels), limits.discover_service_name);
    for (const scope of resource.scopes) {
      const ofScope = sort(scope.attributes, rules.ofScope, costs);
      const attributes = [...ofResource.metadata, ...ofScope.metadata];
      const shared = [...attributes, ...scopeFacts(scope)];
      costs.takeShared(attributes.length * scope.records.length, charsOf(shared) * scope.records.length);
      for (const record of scope.records) {
        const own = sort(record.attributes, rules.ofRecord, costs);
        if (rules.isSeverityLabel) own.labels.push(["severity_text", record.severityText]);
        const labels = [...ofScope.labels, ...own.labels].filter(([, value]) => value !== "");
        found.stream(labels).lines.push(lineOf(record, [...shared, ...own.metadata, ...recordFacts(record)], nowNs));
        if (++count % LINES_A_SLICE === 0) yield;
      }
    }
    yield* found.streams();
  }
}

const charsOf = (pairs: Pairs): number => pairs.reduce((sum, [name, value]) => sum + name.length + value.length, 0);

/** What a body's attributes become beyond what they are in it. Each method throws PushError 413 where that is too much. */
class Costs {
  private shared = 0;
  private sharedChars = 0;
  private nestedChars = 0;

  takeShared(attributes: number, chars: number): void {
    this.shared += attributes;
    this.sharedChars += chars;
    if (this.shared > SHARED_ATTRIBUTES_MAX)
      throw tooMuch(`share more than ${SHARED_ATTRIBUTES_MAX} attributes of resources and scopes`);
    if (this.sharedChars > SHARED_CHARS_MAX)
      throw tooMuch(`share more than ${SHARED_CHARS_MAX} characters of attributes`);
  }

  takeNested(name: string): void {
    this.nestedChars += name.length;
    if (this.nestedChars > NESTED_CHARS_MAX) {
      throw tooMuch(`have maps whose members get names of more than ${NESTED_CHARS_MAX} characters in all`);
    }
  }
}

function tooMuch(what: string): PushError {
  return new PushError(413, `request body too large: its records ${what}`);
}

/** The streams of one resource: one, unless scopes or records have labels of their own. */
class StreamsOf {
  private readonly labels: Labels;
  private readonly discover: readonly string[];
  private readonly byLabels = new Map<string, PushedStream>();

  constructor(labels: Labels, discover: readonly string[]) {
    this.labels = Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ""));
    this.discover = discover;
  }

  /** The stream of the resource's labels and these; of a name that stands twice the last one counts. */
  stream(own: Pairs): PushedStream {
    const key = own.length === 0 ? "" : JSON.stringify(own);
    let stream = this.byLabels.get(key);
    if (stream === undefined) {
      stream = { labels: own.length === 0 ? this.labels : this.withOwn(own), lines: [] };
      this.byLabels.set(key, stream);
    }
    return stream;
  }

  streams(): Iterable<PushedStream> {
    return this.byLabels.values();
  }

  /** `service_name` is the resource's matter, whatever labels its records have. As in Loki. */
  private withOwn(own: Pairs): Labels {
    return { ...(withServiceName(this.labels, this.discover) ?? this.labels), ...Object.fromEntries(own) };
  }
}

/** Attributes by what becomes of them, under valid names. */
function sort(
  attributes: readonly Attribute[],
  rules: OtlpRules["ofRecord"],
  costs: Costs,
): { readonly labels: [string, string][]; readonly metadata: [string, string][] } {
  const labels: [string, string][] = [];
  const metadata: [string, string][] = [];
  for (const attribute of attributes) {
    const action = rules(attribute[0]);
    if (action === "drop") continue;
    addAttribute(action === "index_label" ? labels : metadata, attribute, costs);
  }
  return { labels, metadata };
}

function scopeFacts(scope: OtlpScopeFacts): [string, string][] {
  const pairs: [string, string][] = [
    ["scope_name", scope.name],
    ["scope_version", scope.version],
  ];
  if (scope.droppedAttributes > 0) pairs.push(["scope_dropped_attributes_count", String(scope.droppedAttributes)]);
  return pairs;
}

function recordFacts(record: OtlpRecord): [string, string][] {
  const facts: [string, string][] = [];
  const add = (name: string, value: string | number) => {
    if (value !== "" && value !== 0) facts.push([name, String(value)]);
  };
  add("severity_number", record.severityNumber);
  add("severity_text", record.severityText);
  add("dropped_attributes_count", record.droppedAttributes);
  add("flags", record.flags);
  add("event_name", record.eventName);
  if (record.timeNs !== 0n && record.observedNs !== 0n) add("observed_timestamp", String(record.observedNs));
  add("trace_id", record.traceId);
  add("span_id", record.spanId);
  return facts;
}

function lineOf({ timeNs, observedNs, body }: OtlpRecord, metadata: Pairs, nowNs: bigint): PushedLine {
  const ns = timeNs !== 0n ? timeNs : observedNs !== 0n ? observedNs : nowNs;
  return { ...splitNs(ns), line: bodyBytes(body), metadata };
}

/** Adds an attribute under its valid name; a map's members each under the names on the way to them. */
function addAttribute(pairs: [string, string][], [key, value]: Attribute, costs: Costs, prefix = ""): void {
  const name = prefix === "" ? key : `${prefix}_${key}`;
  if (prefix !== "") costs.takeNested(name);
  if (value instanceof AnyMap) {
    for (const pair of value.pairs) addAttribute(pairs, pair, costs, name);
    return;
  }
  pairs.push([metadataName(name), textOf(value)]);
}

function textOf(value: AnyValue): string {
  if (value === null) return "";
  if (typeof value === "string") return value;
  if (Buffer.isBuffer(value)) return value.toString("utf8");
  if (value instanceof Blob) return value.bytes.toString("base64");
  if (value instanceof NumberText || typeof value === "boolean") return String(value);
  return jsonOf(value);
}

function bodyBytes(body: AnyValue): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.from(textOf(body));
}

/** Compact JSON with sorted keys. Of a key that stands twice the last one counts. */
function jsonOf(value: AnyValue): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (value instanceof NumberText) return /[A-Za-z]{2}/.test(value.text) ? JSON.stringify(value.text) : value.text;
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(",")}]`;
  if (!(value instanceof AnyMap)) return JSON.stringify(textOf(value));
  const members = new Map(value.pairs);
  const parts = [...members.keys()].sort().map((key) => `${JSON.stringify(key)}:${jsonOf(members.get(key) ?? null)}`);
  return `{${parts.join(",")}}`;
}

/** A number as its text; what JSON has no number for as Go prints it. */
export function numberText(value: number | bigint): NumberText {
  if (typeof value === "number" && !Number.isFinite(value)) {
    return new NumberText(Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
  }
  return new NumberText(String(value));
}
