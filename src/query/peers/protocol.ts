import { z } from "zod";

/*
 * How queriers speak with each other, over HTTP on a listener of its own (`query.querier_listen`):
 *
 *   GET  /querier/v1/hello   who it is, and how many batches it wants at a time: JSON, `Hello`
 *   POST /querier/v1/scan    a batch (scan-request.ts); 200 with what it gave (result-frame.ts)
 *
 * With a key (`query.querier_key`) each request has the header `Authorization: Bearer KEY`. The path has the version of the
 * exchange; what a job means is told apart by the version of Weir, which both requests and answers have.
 */
export const HELLO_PATH = "/querier/v1/hello";
export const SCAN_PATH = "/querier/v1/scan";
/** A type of its own: a page in a browser can't send it to a server that did not agree. */
export const SCAN_TYPE = "application/x-weir-scan";
export const RESULT_TYPE = "application/x-weir-scan-result";

/** Batches of one other querier that are under way at one time at most, whatever it asks for. */
export const PEER_IN_FLIGHT_MAX = 64;

export const hello = z.object({
  /** Which process answers; another one each time it starts. */
  id: z.string().min(1).max(100),
  version: z.string().max(200),
  /** `ScanExecutor.parallel` and `.ahead`. */
  parallel: z.int().positive().max(4096),
  ahead: z.int().positive(),
});

export type Hello = z.output<typeof hello>;
