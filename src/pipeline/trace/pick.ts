import { ID_ELSEWHERE, type Line, PARENT_SPAN_ID, REQUEST_ID, SPAN_ID, TRACE_ID } from "../../core/line.ts";
import { hexText, isZero } from "../../core/trace-id.ts";
import { type Candidates, FROM_REQUEST_ID, RANK_REQUEST } from "./candidates.ts";

/** Further ids that are kept beside the first. */
const ALT_MAX = 4;

/**
 * Writes the ids that win into the line (specs: "Precedence"): the source of least rank gives trace, span and parent
 * span together; others with another id go to `trace_id_alt`. Two ids that agree in their low half are one, and the
 * form with 128 bits wins. Returns the source's number, or -1 without a trace id. The line is `length` bytes long
 * from its start, and offsets beyond that are not used.
 */
export function pickIds(found: Candidates, line: Line, length: number, requestAsTrace: boolean): number {
  if (found.hasRequest && found.requestText === "") setRequest(found, line, length);
  else if (found.hasRequest) line.addExtra("request_id", found.requestText);
  if (requestAsTrace && found.hasRequest && found.requestText === "") {
    found.setTrace(found.at(RANK_REQUEST, FROM_REQUEST_ID), found.request, "");
  }
  if (found.count === 0) return -1;
  const first = found.count === 1 && found.hasTrace[0] !== 0 ? 0 : leastRank(found);
  if (first === -1) {
    setLoneSpan(found, line, length);
    return -1;
  }
  let wide = first;
  if (found.count > 1) wide = widest(found, first);
  setTrace(found, line, length, first, wide);
  setSpans(found, line, length, first);
  if (found.raw[first] !== "") line.addExtra("trace_id_raw", found.raw[first]);
  if (found.count > 1) addAlternatives(found, line, first);
  return found.source[first];
}

function leastRank(found: Candidates): number {
  let first = -1;
  for (let i = 0; i < found.count; i++) {
    if (found.hasTrace[i] !== 0 && (first === -1 || found.rank[i] < found.rank[first])) first = i;
  }
  return first;
}

/** A span without any trace id, from the best source that has one. */
function setLoneSpan(found: Candidates, line: Line, length: number): void {
  let first = -1;
  for (let i = 0; i < found.count; i++) {
    if (found.hasSpan[i] !== 0 && (first === -1 || found.rank[i] < found.rank[first])) first = i;
  }
  if (first !== -1) setSpans(found, line, length, first);
}

/** The candidate of the same trace whose id has all 128 bits, if `first` has only 64. */
function widest(found: Candidates, first: number): number {
  if (!isZero(found.trace, first * 16, 8)) return first;
  for (let i = 0; i < found.count; i++) {
    if (found.hasTrace[i] !== 0 && sameLow(found, i, first) && !isZero(found.trace, i * 16, 8)) return i;
  }
  return first;
}

function sameLow(found: Candidates, a: number, b: number): boolean {
  for (let k = 8; k < 16; k++) if (found.trace[a * 16 + k] !== found.trace[b * 16 + k]) return false;
  return true;
}

function sameTrace(found: Candidates, a: number, b: number): boolean {
  for (let k = 0; k < 16; k++) if (found.trace[a * 16 + k] !== found.trace[b * 16 + k]) return false;
  return true;
}

function setTrace(found: Candidates, line: Line, length: number, first: number, id: number): void {
  for (let k = 0; k < 16; k++) line.ids[TRACE_ID * 16 + k] = found.trace[id * 16 + k];
  let at = found.traceAt[id];
  // A field's id often stands in the line as well: then the store may point there.
  for (let i = 0; i < found.count && at === -1; i++) {
    if (i !== first && found.hasTrace[i] !== 0 && found.traceAt[i] !== -1 && sameTrace(found, i, id))
      at = found.traceAt[i];
  }
  line.idAt[TRACE_ID] = at >= 0 && at + 32 <= length ? at : ID_ELSEWHERE;
}

function setSpans(found: Candidates, line: Line, length: number, i: number): void {
  if (found.hasSpan[i] !== 0) {
    for (let k = 0; k < 8; k++) line.ids[SPAN_ID * 16 + k] = found.span[i * 8 + k];
    const at = found.spanAt[i];
    line.idAt[SPAN_ID] = at >= 0 && at + 16 <= length ? at : ID_ELSEWHERE;
  }
  if (found.hasParent[i] !== 0) {
    for (let k = 0; k < 8; k++) line.ids[PARENT_SPAN_ID * 16 + k] = found.parent[i * 8 + k];
    line.idAt[PARENT_SPAN_ID] = ID_ELSEWHERE;
  }
}

function setRequest(found: Candidates, line: Line, length: number): void {
  for (let k = 0; k < 16; k++) line.ids[REQUEST_ID * 16 + k] = found.request[k];
  const at = found.requestAt;
  line.idAt[REQUEST_ID] = at >= 0 && at + 36 <= length ? at : ID_ELSEWHERE;
}

/** `trace_id_alt`: the other ids in the order of their rank, separated by commas. */
function addAlternatives(found: Candidates, line: Line, first: number): void {
  const others: number[] = [];
  for (let i = 0; i < found.count; i++) {
    if (found.hasTrace[i] !== 0 && !sameLow(found, i, first)) others.push(i);
  }
  if (others.length === 0) return;
  others.sort((a, b) => found.rank[a] - found.rank[b]);
  const distinct = others.filter((i, n) => !others.slice(0, n).some((before) => sameLow(found, i, before)));
  line.addExtra(
    "trace_id_alt",
    distinct
      .slice(0, ALT_MAX)
      .map((i) => hexText(found.trace, i * 16, 16))
      .join(","),
  );
}
