import path from "node:path";
import { openDiskIntake } from "../intake/disk.ts";
import type { IntakeLog } from "../intake/intake.ts";
import type { DiskIntakeOptions } from "../intake/options.ts";
import { partitionOf } from "../intake/partition-of.ts";
import type { ProcessDeps } from "./process-config.ts";
import type { ReceiverIntake } from "./receivers.ts";
import type { SinkPlaces } from "./sinks-side.ts";

export interface IntakeWanted {
  readonly dataDir: string;
  /** Partitions that new entries go to. The folder may have more, which are emptied. */
  readonly partitions: number;
  readonly chainEnd: (partition: number) => number;
  readonly places: SinkPlaces;
}

/** The intake log on this machine's disk. */
export class DiskIntakeSide {
  readonly intake: IntakeLog;
  /** The log as receivers see it. */
  readonly receiving: ReceiverIntake;

  private constructor(intake: IntakeLog, partitions: number) {
    this.intake = intake;
    this.receiving = {
      append: (draft) => intake.append(partitionOf(draft, partitions), draft),
      claimLines: (ids) => intake.claimLines(ids),
      whenReady: () => intake.whenReady(),
    };
  }

  /** Recovers what a crash left. Errors as openDiskIntake; nothing is left open then. */
  static async open(
    options: DiskIntakeOptions,
    { dataDir, partitions, chainEnd, places }: IntakeWanted,
    { metrics, log, files }: Pick<ProcessDeps, "metrics" | "log" | "files">,
  ): Promise<DiskIntakeSide> {
    const dir = path.join(dataDir, "intake");
    const { consumers } = places;
    const intake = await openDiskIntake(
      { dir, partitions, minNextOffset: chainEnd, consumers, options },
      { log, metrics, ...(files === undefined ? {} : { files }) },
    );
    try {
      await places.begin(intake.partitions);
    } catch (error) {
      await intake.close();
      throw error;
    }
    return new DiskIntakeSide(intake, partitions);
  }

  /** By partition, the offset that the next entry gets. */
  ends(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.partitions.map((partition) => [partition, this.intake.nextOffset(partition)]));
  }

  /** All partitions that may hold entries. */
  get partitions(): readonly number[] {
    return Array.from({ length: this.intake.partitions }, (_, partition) => partition);
  }
}
