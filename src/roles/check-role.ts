import { WeirError } from "../core/errors.ts";
import type { ProcessConfig } from "./process-config.ts";
import type { Role } from "./role.ts";

/** Throws `bad_role` when a process with this role and configuration can't work. */
export function checkRole(role: Role, { sections }: Pick<ProcessConfig, "sections">): void {
  const bad = (what: string) => new WeirError("bad_role", what, { context: { role } });
  const isKafka = sections.intake.type === "kafka";
  if (role !== "all" && role !== "compactor" && !isKafka) {
    throw bad(
      `--role ${role}: the intake log is on this machine's disk, which other processes don't see; set intake.type to kafka, or run everything in one process with --role all`,
    );
  }
  if (role === "compactor" && !sections.compactor.enabled)
    throw bad(
      "--role compactor: compactor.enabled is false, so there is nothing to do; set it to true for this process",
    );
}
