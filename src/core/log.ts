import { type Logger as PinoLogger, pino } from "pino";

export type Logger = PinoLogger;

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Characters that wait while stderr takes none; what comes then is dropped. */
const WAITING_MAX = 1_048_576;

/**
 * A logger that writes one JSON object a line to stderr (`fd`: 2); stdout belongs to what the user asked for. A stderr that takes
 * nothing, a file on a full disk or a terminal that is gone, must not end the process, and there is nobody to tell.
 */
export function createLogger(level: LogLevel, fd = 2): Logger {
  const out = pino.destination({ fd, sync: true, maxLength: WAITING_MAX });
  out.on("error", () => undefined);
  return pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, out);
}

/** A logger that says nothing, for tests and for library use. */
export const silentLogger: Logger = pino({ level: "silent" });
