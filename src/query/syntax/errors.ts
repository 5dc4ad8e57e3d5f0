import { WeirError } from "../../core/errors.ts";

/**
 * A query that can't be run as it stands. `message` is what Loki answers for it, since clients show that text as it is.
 * Not retriable: the same text fails the same way.
 */
export class QueryError extends WeirError {
  /** HTTP status of the answer. */
  readonly status: number = 400;

  constructor(message: string, cause?: unknown) {
    super("bad_query", message, { retriable: false, cause });
  }
}

/** `line` and `column` count from 1; both 0 for an error that has no one place. */
export function parseError(message: string, line = 0, column = 0, cause?: unknown): QueryError {
  const where = line === 0 && column === 0 ? "parse error :" : `parse error at line ${line}, col ${column}:`;
  return new QueryError(`${where} ${message}`, cause);
}

/** A stage that can't be built. `stage` is its text. */
export function stageError(stage: string, message: string, cause?: unknown): QueryError {
  return parseError(`stage '${stage}' : ${message}`, 0, 0, cause);
}
