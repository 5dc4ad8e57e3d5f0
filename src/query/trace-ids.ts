import { TRACE_ID } from "../core/line.ts";
import type { TraceIdCandidate } from "../core/trace-id.ts";
import type { WantedId } from "./scan-job.ts";

/** A stored id of 64 bits fits one of 128 whose low half it is, since its writer knew no more. */
export function wantedId({ low8, exact16 }: TraceIdCandidate): WantedId {
  if (exact16 === undefined) return { slot: TRACE_ID, low8: new Uint8Array(low8), texts: null };
  return {
    slot: TRACE_ID,
    low8: new Uint8Array(low8),
    texts: [exact16.toString("hex"), low8.toString("hex").padStart(32, "0")],
  };
}

/** The id as 32 hex digits. */
export function idText({ low8, exact16 }: TraceIdCandidate): string {
  return exact16?.toString("hex") ?? low8.toString("hex").padStart(32, "0");
}
