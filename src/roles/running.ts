import { checkRole } from "./check-role.ts";
import { checkTopics } from "./check-topics.ts";
import { KafkaProcess } from "./kafka-process.ts";
import { WeirProcess } from "./process.ts";
import type { PartState, ProcessConfig, ProcessDeps, ProcessPlaces } from "./process-config.ts";
import type { Role } from "./role.ts";

/** A process that has begun, whatever its role. */
export interface RunningProcess {
  /** Whether it does its work now, and if not, why. */
  ready(): PartState;
  /** `127.0.0.1:3100`. */
  readonly httpAddress: string;
  /** Where other queriers ask; "" for nowhere. */
  readonly querierAddress: string;
  /** URLs that the forward protocol is listened for on; none where nothing is received. */
  readonly forwardAddresses: readonly string[];
  /** Ends in order, within 10 s. */
  stop(drainMs?: number): Promise<void>;
}

/** Starts what a role wants. Rejects with one clear sentence, `bad_role` and `bad_receivers` among them, and leaves nothing open. */
export async function startProcess(
  role: Role,
  config: ProcessConfig,
  places: ProcessPlaces,
  deps: ProcessDeps,
): Promise<RunningProcess> {
  checkRole(role, config);
  checkTopics(config);
  if (role === "all" && config.sections.intake.type !== "kafka") return WeirProcess.start(config, places, deps);
  return KafkaProcess.start(role, config, places, deps);
}
