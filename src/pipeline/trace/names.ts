/*
 * Names under which ids stand in records (specs: "Field names in logs"), compared without case and without `_`, `-`
 * and `.`. A name's code says what its value is; containers are looked into one level down.
 */
export const NAME_NONE = 0;
export const TRACE = 1;
export const SPAN = 2;
export const PARENT = 3;
export const B3_TRACE = 4;
export const B3_SPAN = 5;
export const B3_PARENT = 6;
export const OTEL_TRACE = 7;
export const OTEL_SPAN = 8;
export const TRANSACTION = 9;
export const DD_TRACE = 10;
export const DD_SPAN = 11;
export const GOOGLE_TRACE = 12;
export const GOOGLE_SPAN = 13;
export const TID = 14;
export const SW_CTX = 15;
export const XRAY = 16;
export const TRACEPARENT = 17;
export const B3_SINGLE = 18;
export const UBER = 19;
export const REQUEST = 20;
/** An extra name of the step's options. */
export const CUSTOM = 21;

/** Codes from here on are containers, in the order in which they are looked into. */
export const CONTAINER = 40;
const CONTAINERS = [
  "fields",
  "attributes",
  "context",
  "mdc",
  "contextmap",
  "labels",
  "extra",
  "trace",
  "span",
  "headers",
  "requestheaders",
  "dd",
  "transaction",
  "request",
] as const;
export const IN_TRACE = CONTAINER + 7;
export const IN_SPAN = CONTAINER + 8;
export const IN_HEADERS = CONTAINER + 9;
export const IN_REQUEST_HEADERS = CONTAINER + 10;
export const IN_DD = CONTAINER + 11;
export const IN_TRANSACTION = CONTAINER + 12;
export const IN_REQUEST = CONTAINER + 13;

const CODES = new Map<string, number>([
  ["traceid", TRACE],
  ["spanid", SPAN],
  ["parentid", PARENT],
  ["parentspanid", PARENT],
  ["xb3traceid", B3_TRACE],
  ["xb3spanid", B3_SPAN],
  ["xb3parentspanid", B3_PARENT],
  ["oteltraceid", OTEL_TRACE],
  ["otelspanid", OTEL_SPAN],
  ["transactionid", TRANSACTION],
  ["ddtraceid", DD_TRACE],
  ["ddspanid", DD_SPAN],
  ["logginggoogleapiscom/trace", GOOGLE_TRACE],
  ["logginggoogleapiscom/spanid", GOOGLE_SPAN],
  ["tid", TID],
  ["swctx", SW_CTX],
  ["skywalkingcontext", SW_CTX],
  ["xraytraceid", XRAY],
  ["awsxraytraceid", XRAY],
  ["traceparent", TRACEPARENT],
  ["elasticapmtraceparent", TRACEPARENT],
  ["b3", B3_SINGLE],
  ["ubertraceid", UBER],
  ["requestid", REQUEST],
  ["xrequestid", REQUEST],
  ...CONTAINERS.map((name, i): [string, number] => [name, CONTAINER + i]),
]);

/** Names longer than this have no code; it keeps the work for a hostile key small. */
const NAME_LENGTH_MAX = 64;

export function normalName(name: string): string {
  return name.length > NAME_LENGTH_MAX ? "" : name.replace(/[_.-]/g, "").toLowerCase();
}

/** The code of a field's name; `custom` has the normal forms of further names. */
export function nameCode(name: string, custom: ReadonlySet<string>): number {
  const normal = normalName(name);
  if (normal === "") return NAME_NONE;
  return custom.has(normal) ? CUSTOM : (CODES.get(normal) ?? NAME_NONE);
}

/** Whether fields of this name hold ids of a trace, a span or a request. `tid` is mostly a thread's number. */
export function isIdName(name: string): boolean {
  const code = nameCode(name, new Set());
  return code !== NAME_NONE && code !== TID && code < CUSTOM;
}

/**
 * The code of a name within a container: `id` in `trace`, `span` and `transaction` is what the container says
 * (Elastic's nested form), ids in `dd` are Datadog's, and containers in containers are not looked into, but for the
 * `headers` of a `request`.
 */
export function innerCode(container: number, name: string, custom: ReadonlySet<string>): number {
  const code = nameCode(name, custom);
  if (container === IN_REQUEST) return code === IN_HEADERS ? IN_REQUEST_HEADERS : NAME_NONE;
  if (code >= CONTAINER) return NAME_NONE;
  if (container === IN_DD) return code === TRACE ? DD_TRACE : code === SPAN ? DD_SPAN : NAME_NONE;
  if (code === NAME_NONE && normalName(name) === "id") {
    if (container === IN_TRACE) return TRACE;
    if (container === IN_SPAN) return SPAN;
    if (container === IN_TRANSACTION) return TRANSACTION;
  }
  return code;
}

/**
 * The place (FieldIds.take) of a value in a container. The `id` of a span and that of a transaction have the place of a trace's:
 * Elastic's nested form is three containers with one id each, which belong together.
 */
export function innerPlace(container: number, name: string): number {
  const isElastic = (container === IN_SPAN || container === IN_TRANSACTION) && normalName(name) === "id";
  return (isElastic ? IN_TRACE : container) - CONTAINER + 1;
}
