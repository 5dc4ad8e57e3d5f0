import { codeOf, messageOf } from "../core/errors.ts";

/** An answer that is no success: its code, and its text as Loki says it. */
export class HttpProblem extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A request that can't be answered as it is: code 400. */
export class BadRequest extends HttpProblem {
  constructor(message: string) {
    super(400, message);
  }
}

/** Status of each error code that a query can end with. What is not here is our own fault: 500. */
const STATUS: Readonly<Record<string, number>> = {
  query_cancelled: 499,
  query_timeout: 504,
  query_limit: 400,
  query_bytes_limit: 400,
  query_result_size: 400,
  query_partial_size: 400,
  query_busy: 429,
  query_worker_failed: 500,
  query_closed: 503,
  query_elsewhere: 404,
  answers_full: 503,
  bad_trace_id: 400,
  bad_query: 400,
};

export interface ErrorAnswer {
  readonly status: number;
  readonly text: string;
}

/** What a client is told about an error. Errors of the framework (a body too large) bring their own status. */
export function errorAnswer(error: unknown): ErrorAnswer {
  if (error instanceof HttpProblem) return { status: error.status, text: error.message };
  const known = STATUS[codeOf(error)];
  if (known !== undefined) return { status: known, text: messageOf(error) };
  if (error instanceof Error && error.name === "QueryError") return { status: 400, text: error.message };
  const status = statusOf(error);
  return status !== null ? { status, text: messageOf(error) } : { status: 500, text: messageOf(error) };
}

function statusOf(error: unknown): number | null {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return null;
  return typeof error.statusCode === "number" && error.statusCode >= 400 ? error.statusCode : null;
}
