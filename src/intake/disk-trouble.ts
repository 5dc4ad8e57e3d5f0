import { codeOf, messageOf } from "../core/errors.ts";

const CAUSES: Record<string, string> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the disk is read-only",
  EACCES: "the folder can't be written",
  EPERM: "the folder can't be written",
  EIO: "the disk has an I/O error",
  EMFILE: "the process has no file descriptors left",
  ENFILE: "the system has no file descriptors left",
};

/** A sentence for `/ready`, the log and the error: what keeps the intake log from writing. */
export function troubleOf(error: unknown, folder: string): string {
  const cause = CAUSES[codeOf(error)];
  return cause === undefined
    ? `the intake log can't write to ${folder}: ${messageOf(error)}`
    : `the intake log can't write to ${folder}: ${cause} (${codeOf(error)})`;
}
