import { isUtf8 } from "node:buffer";
import { DEFAULT_TENANT } from "../../src/core/labels.ts";
import type { SinkRecord } from "../../src/core/sink.ts";
import { fieldsJson, timeText } from "./encode.ts";
import type { FieldName, FieldNames } from "./field-names.ts";
import { JsonFields, type TakeMember } from "./json-fields.ts";

/*
 * A record as a document.
 *
 * `ecs`, by the names of the Elastic Common Schema:
 *   {"@timestamp":"2026-01-02T03:04:05.000000006Z","message":"the line","log":{"level":"info"},"trace":{"id":"…"},"span":{"id":"…"},
 *    "labels":{…},"kubernetes":{"namespace":"…","pod":{"name":"…"},…},"fields":{…},"data_stream":{…},"weir":{…}}
 * The record's own fields stand below `fields`, so none of them can clash with the schema's; those of `kubernetes` get the names that
 * Beats give them.
 *
 * `record`, the record as it is: its fields, `@timestamp` with the time that Weir knows, and `weir`.
 *
 * `weir.rest` is text: JSON of what could not be a field of its own (json-fields.ts), by path. `weir.line_base64` has the bytes of a
 * line that is not UTF-8.
 */
export const DOCUMENT_FORMS = ["ecs", "record"] as const;
export type DocumentForm = (typeof DOCUMENT_FORMS)[number];

/** The times that four digits of a year can say. */
const SEC_MIN = -62_135_596_800;
const SEC_MAX = 253_402_300_799;

/** What Elasticsearch keeps to itself: a document may not have fields of these names. */
const OWN_FIELDS = [
  ...[
    "_id",
    "_index",
    "_source",
    "_type",
    "_routing",
    "_field_names",
    "_ignored",
    "_seq_no",
    "_primary_term",
    "_version",
  ],
  ...["_doc_count", "_tier", "_nested_path", "_feature", "_size", "_data_stream_timestamp", "_recovery_source"],
];

/** Fields of the schema for structured metadata; other metadata is found below `labels`. */
const SCHEMA_FIELDS: Readonly<Record<string, (json: string) => string>> = {
  detected_level: (json) => `"log":{"level":${json}}`,
  trace_id: (json) => `"trace":{"id":${json}}`,
  span_id: (json) => `"span":{"id":${json}}`,
  parent_span_id: (json) => `"parent":{"id":${json}}`,
  request_id: (json) => `"http":{"request":{"id":${json}}}`,
};

/** What Fluent Bit's filter calls it, and where Beats have it. */
const KUBERNETES: Readonly<Record<string, readonly [group: string, name: string]>> = {
  namespace_name: ["", "namespace"],
  pod_name: ["pod", "name"],
  pod_id: ["pod", "uid"],
  pod_ip: ["pod", "ip"],
  host: ["node", "name"],
  container_name: ["container", "name"],
  container_image: ["container", "image"],
  container_hash: ["container", "hash"],
  docker_id: ["container", "id"],
};
const GROUPS: ReadonlySet<string> = new Set(["pod", "node", "container"]);

/** Labels and metadata that say the same of a line that came without Kubernetes fields. */
const KUBERNETES_LABELS: Readonly<Record<string, string>> = {
  namespace: "namespace_name",
  pod: "pod_name",
  node: "host",
  container: "container_name",
  k8s_namespace_name: "namespace_name",
  k8s_pod_name: "pod_name",
  k8s_pod_uid: "pod_id",
  k8s_node_name: "host",
  k8s_container_name: "container_name",
};

/** Fields in which agents send the line. */
const LINE_FIELDS: ReadonlySet<string> = new Set(["log", "message", "msg", "MESSAGE", "line", "body"]);

const LABELS = ["labels"];

/** Records come in runs of few streams and containers: what was made of labels and of Kubernetes fields is kept, of so many. */
const KEPT_MAX = 500;
const KEPT_CHARS_MAX = 4096;

/** What was made of the labels of a stream. */
interface LabelsMade {
  readonly members: string;
  /** Names that are in it. */
  readonly fields: readonly FieldName[];
}

/** What a data stream's name says by Elastic's naming scheme. */
const STREAM_NAME = /^([^-]+)-([^-]+)-([^-]+)$/;

export interface DocumentOptions {
  readonly form: DocumentForm;
  /** Whether documents get `data_stream.*`. */
  readonly dataStream: boolean;
}

/** Writes documents, one after the other. */
export class DocumentWriter {
  /** Fields that went into `weir.rest`, in all. */
  leftOut = 0;
  private readonly options: DocumentOptions;
  private readonly names: FieldNames;
  private readonly fields: JsonFields;
  private readonly labelsMade = new Map<string, LabelsMade>();
  private readonly kubernetesMade = new Map<string, string>();
  private madeHour = 0;
  private readonly root: FieldName;
  private readonly ofRecord: FieldName;
  private readonly ofLabels: FieldName;
  private readonly ofKubernetes: FieldName;

  constructor(names: FieldNames, options: DocumentOptions) {
    this.options = options;
    this.names = names;
    this.root = names.root;
    if (options.form === "ecs") {
      this.ofRecord = names.fix(["fields"], "object");
      this.ofLabels = names.fix(["labels"], "object");
      this.ofKubernetes = names.fix(["kubernetes"], "object");
      names.fix(["kubernetes", "namespace"], "text");
      for (const [group, name] of Object.values(KUBERNETES)) {
        if (group !== "") names.fix(["kubernetes", group, name], "text");
      }
    } else {
      this.ofRecord = this.ofLabels = this.ofKubernetes = names.root;
      names.fix(["message"], "text");
      for (const name of ["@timestamp", "weir", ...OWN_FIELDS]) names.fix([name], "refused");
      if (options.dataStream) names.fix(["data_stream"], "refused");
    }
    this.fields = new JsonFields(names, { dots: options.form === "ecs" ? "_" : "levels" });
  }

  /** The record as one line of JSON for the index (or data stream) `index`; null for a time that a document can't say. */
  write(record: SinkRecord, index: string): string | null {
    const { sec, nsec } = record;
    if (sec < SEC_MIN || sec > SEC_MAX) return null;
    this.fields.begin();
    const body = this.options.form === "ecs" ? this.ecs(record) : this.asItIs(record);
    const { leftOut } = this.fields;
    this.leftOut += leftOut.length;
    const weir = weirFields(record.line, leftOut);
    const stream = this.options.dataStream ? dataStreamFields(index) : "";
    return `{"@timestamp":"${timeText(sec, nsec)}"${body}${stream}${weir}}`;
  }

  private asItIs(record: SinkRecord): string {
    return behind(this.fields.members(fieldsJson(record), this.root, []));
  }

  private ecs(record: SinkRecord): string {
    this.forget();
    const { line, json, tenant } = record;
    const message = JSON.stringify(line.toString());
    let out = `,"message":${message}`;
    if (tenant !== DEFAULT_TENANT) out += `,"organization":{"id":${JSON.stringify(tenant)}}`;
    out += this.labels(record);
    let kubernetes: string | null = null;
    const take: TakeMember = (name, value) => {
      if (name === "kubernetes" && value.startsWith("{")) {
        kubernetes = this.kubernetes(value);
        return "";
      }
      return LINE_FIELDS.has(name) && isLine(value, message) ? "" : null;
    };
    const own = json === "" ? "" : this.fields.members(json, this.ofRecord, ["fields"], take);
    kubernetes ??= this.kubernetes(placesOf(record));
    if (kubernetes !== "") out += `,"kubernetes":{${kubernetes}}`;
    return own === "" ? out : `${out},"fields":{${own}}`;
  }

  /** Once an hour everything is made anew, so that names that are in use are seen to be. */
  private forget(): void {
    if (this.madeHour === this.names.hour) return;
    this.madeHour = this.names.hour;
    this.labelsMade.clear();
    this.kubernetesMade.clear();
  }

  /** Labels and metadata. */
  private labels({ labels, canonical, metadata }: SinkRecord): string {
    const object = this.fields.newObject();
    const made = this.labelsMade.get(canonical) ?? this.makeLabels(labels, canonical, object);
    // No name of theirs may come again.
    for (const field of made.fields) field.object = object;
    let schema = "";
    let below = made.members;
    for (let i = 0; i < metadata.length; i++) {
      const [name, text] = metadata[i];
      const value = JSON.stringify(text);
      if (Object.hasOwn(SCHEMA_FIELDS, name) && !hasBefore(metadata, name, i)) {
        schema += `,${SCHEMA_FIELDS[name](value)}`;
        continue;
      }
      const member = this.fields.member(this.ofLabels, object, inJson(name), value, LABELS);
      if (member !== "") below += below === "" ? member : `,${member}`;
    }
    return below === "" ? schema : `${schema},"labels":{${below}}`;
  }

  private makeLabels(labels: SinkRecord["labels"], canonical: string, object: number): LabelsMade {
    const leftOut = this.fields.leftOut.length;
    const members: string[] = [];
    for (const [name, text] of Object.entries(labels)) {
      const member = this.fields.member(this.ofLabels, object, inJson(name), JSON.stringify(text), LABELS);
      if (member !== "") members.push(member);
    }
    const fields = [...this.ofLabels.children.values()].filter((field) => field.object === object);
    const made = { members: members.join(","), fields };
    // What was left out has to be said in each document.
    if (this.fields.leftOut.length === leftOut) keep(this.labelsMade, canonical, made);
    return made;
  }

  private kubernetes(json: string): string {
    const known = this.kubernetesMade.get(json);
    if (known !== undefined) return known;
    const leftOut = this.fields.leftOut.length;
    const made = this.makeKubernetes(json);
    if (this.fields.leftOut.length === leftOut) keep(this.kubernetesMade, json, made);
    return made;
  }

  private makeKubernetes(json: string): string {
    const groups: Record<string, string> = { "": "", pod: "", node: "", container: "" };
    const objects: Record<string, number> = {};
    const objectOf = (group: string): number => {
      objects[group] ??= this.fields.newObject();
      return objects[group];
    };
    const add = (group: string, members: string): string => {
      if (members !== "") groups[group] += groups[group] === "" ? members : `,${members}`;
      return "";
    };
    const take: TakeMember = (name, value) => {
      if (GROUPS.has(name) && value.startsWith("{")) {
        const path = ["kubernetes", name];
        return add(name, this.fields.members(value, this.groupOf(name), path, undefined, objectOf(name)));
      }
      const place = Object.hasOwn(KUBERNETES, name) ? KUBERNETES[name] : undefined;
      if (place === undefined) return null;
      const [group, field] = place;
      const path = group === "" ? ["kubernetes"] : ["kubernetes", group];
      return add(group, this.fields.member(this.groupOf(group), objectOf(group), field, value, path));
    };
    const others = this.fields.members(json, this.ofKubernetes, ["kubernetes"], take, objectOf(""));
    const made = [groups[""], others];
    for (const group of GROUPS) if (groups[group] !== "") made.push(`"${group}":{${groups[group]}}`);
    return made.filter((part) => part !== "").join(",");
  }

  private groupOf(group: string): FieldName {
    const place = group === "" ? this.ofKubernetes : this.ofKubernetes.children.get(group);
    if (place === undefined) throw new Error(`no place for kubernetes.${group}`);
    return place;
  }
}

function keep<V>(made: Map<string, V>, key: string, value: V): void {
  if (key.length > KEPT_CHARS_MAX) return;
  if (made.size >= KEPT_MAX) made.clear();
  made.set(key, value);
}

/** Whether the name stands before place `end`, too. */
function hasBefore(metadata: SinkRecord["metadata"], name: string, end: number): boolean {
  for (let i = 0; i < end; i++) if (metadata[i][0] === name) return true;
  return false;
}

/** What labels and metadata say of Kubernetes, as a JSON object of its fields. */
function placesOf({ labels, metadata }: SinkRecord): string {
  const places = new Map<string, string>();
  for (const [name, text] of [...Object.entries(labels), ...metadata]) {
    const place = Object.hasOwn(KUBERNETES_LABELS, name) ? KUBERNETES_LABELS[name] : undefined;
    if (place !== undefined && !places.has(place)) places.set(place, JSON.stringify(text));
  }
  return `{${[...places].map(([name, value]) => `"${name}":${value}`).join(",")}}`;
}

const behind = (members: string) => (members === "" ? "" : `,${members}`);

/** Text as it stands between quotes in JSON. */
const inJson = (text: string) => (PLAIN.test(text) ? text : JSON.stringify(text).slice(1, -1));
const PLAIN = /^\w*$/;

/** Whether a field's value is the line, which goes without the newline that it may have had. */
function isLine(value: string, message: string): boolean {
  if (value.length === message.length) return value === message;
  return value.length === message.length + 2 && value.endsWith('\\n"') && value.startsWith(message.slice(0, -1));
}

function weirFields(line: Buffer, leftOut: readonly (readonly [string, string])[]): string {
  const fields: string[] = [];
  if (leftOut.length > 0) {
    const rest = leftOut.map(([path, json]) => `"${path}":${json}`).join(",");
    fields.push(`"rest":${JSON.stringify(`{${rest}}`)}`);
  }
  if (!isUtf8(line)) fields.push(`"line_base64":"${line.toString("base64")}"`);
  return fields.length === 0 ? "" : `,"weir":{${fields.join(",")}}`;
}

let streamName = "";
let streamFields = "";

function dataStreamFields(index: string): string {
  if (index !== streamName) {
    streamName = index;
    const found = STREAM_NAME.exec(index);
    streamFields =
      found === null ? "" : `,"data_stream":{"type":"${found[1]}","dataset":"${found[2]}","namespace":"${found[3]}"}`;
  }
  return streamFields;
}
