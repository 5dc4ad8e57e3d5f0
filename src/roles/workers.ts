import type { Snapshots } from "../query/snapshots.ts";
import type { PartState } from "./process-config.ts";

/** All workers of a process, wherever they run: from the entries of the intake log to what queries see. */
export interface Workers {
  /** What queries see: the store, and what these workers have that is not in it yet. */
  readonly snapshots: Snapshots;
  /** Begins where the catalog's chains end. Rejects when that can't be read; then `stop` is still to be called. */
  start(): Promise<void>;
  state(): PartState;
  /** Commits what was taken so far; resolves when that was tried. */
  flush(): Promise<void>;
  /** Takes all that is in the intake log, and commits it; whether that was done within `ms`. */
  drain(ms: number): Promise<boolean>;
  /** Drops what is not committed: it is read again at the next start. Bounded; to be called also after `drain`. */
  stop(): Promise<void>;
}
