/** What went wrong, for a program: `code` is stable, `retriable` says whether trying again can help. */
export interface ErrorDetails {
  retriable?: boolean;
  context?: Record<string, unknown>;
  cause?: unknown;
}

/**
 * Broken input or a failing world. A bug is not one of these: it is an assertion that stops the process.
 * The message names what was found, what was wanted, and where.
 */
export class WeirError extends Error {
  override readonly name = "WeirError";
  readonly code: string;
  readonly retriable: boolean;
  readonly context: Record<string, unknown>;

  constructor(code: string, message: string, { retriable = false, context = {}, cause }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.retriable = retriable;
    this.context = context;
  }
}

/** The text of anything that was thrown, for a log line or a message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error or a WeirError ("ENOENT", "EADDRINUSE", …), or "" where there is none. */
export function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}
