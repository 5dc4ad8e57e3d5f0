import { parsers } from "../../parsers/index.ts";
import { messageOf } from "../core/errors.ts";
import { endsWithin } from "../core/wait.ts";
import type { Consumers, IntakeLog } from "../intake/intake.ts";
import type { ObjectStore } from "../objects/store.ts";
import { DeadLetterStore } from "./dead-letters.ts";
import type { PartDeps, ProcessConfig } from "./process-config.ts";
import { beginNew, consumersOf, openPositions, openSinks, type RecordSinkConfig } from "./record-sinks.ts";
import type { SinkPositions } from "./sink-position.ts";
import type { SinkRunner } from "./sink-runner.ts";
import { recordSinksOf } from "./sink-specs.ts";

/** How long what sinks have under way may take to end at a stop, so that it need not be sent again at the next start. */
const LEAVE_MS = 1000;
/** How long a stop waits for sinks at all: what they have not sent waits for the next start. */
const STOP_MS = 2000;

/** Where the sinks beside the store have come to: to be known before the intake log is opened, which keeps files for them. */
export class SinkPlaces {
  readonly sinks: readonly RecordSinkConfig[];
  readonly positions: ReadonlyMap<string, SinkPositions>;
  private readonly from: (partition: number) => number;

  private constructor(
    sinks: readonly RecordSinkConfig[],
    positions: ReadonlyMap<string, SinkPositions>,
    from: (partition: number) => number,
  ) {
    this.sinks = sinks;
    this.positions = positions;
    this.from = from;
  }

  /** `from`: where a sink begins that has never been in a partition, which is where the store is. Throws `sink_position`. */
  static async open(
    config: Pick<ProcessConfig, "sinks">,
    dataDir: string,
    from: (partition: number) => number,
  ): Promise<SinkPlaces> {
    const sinks = recordSinksOf(config.sinks);
    return new SinkPlaces(sinks, await openPositions(dataDir, sinks), from);
  }

  /** What the intake log has to keep for the sinks. */
  get consumers(): Consumers {
    return consumersOf(this.positions, this.from);
  }

  /** Notes where new sinks begin, before the store gets further. */
  begin(partitions: number): Promise<void> {
    return beginNew(this.positions, partitions, this.from);
  }
}

/** The sinks beside the store, each at its own pace, and what they could not get rid of. */
export class SinksSide {
  private readonly runners: readonly SinkRunner[];
  private readonly log: PartDeps["log"];

  /** Nothing is read or sent yet. Throws `bad_pipeline` and `bad_sink`. */
  constructor(
    config: ProcessConfig,
    dataDir: string,
    { sinks, positions }: SinkPlaces,
    deps: PartDeps & { readonly intake: IntakeLog; readonly objects: ObjectStore },
  ) {
    const { intake, objects, metrics, log } = deps;
    const { sections } = config;
    const deadLetters = new DeadLetterStore(sections.dead_letters, { objects, metrics, log, now: Date.now });
    if (sinks.length > 0) {
      deadLetters
        .look()
        .catch((error: unknown) =>
          log.warn({ reason: messageOf(error) }, "dead letters: can't look how much there is"),
        );
    }
    this.log = log;
    this.runners = openSinks(sinks, {
      ...{ dataDir, intake, parsers, positions, deadLetters, metrics, log },
      pipelines: config.pipelines,
      limits: sections.limits,
    });
  }

  start(): void {
    for (const runner of this.runners) runner.start();
  }

  /** Why sinks have stopped, or "". It keeps nobody from storing and asking. */
  get failure(): string {
    return [...new Set(this.runners.flatMap(({ failure }) => failure ?? []))].join("; ");
  }

  /** Lets requests under way end, and ends those that take longer than a second, or whose destination is away. */
  async stop(): Promise<void> {
    if (await endsWithin(Promise.all(this.runners.map((runner) => runner.leave(LEAVE_MS))), STOP_MS)) return;
    this.log.warn("stop: a sink did not end in time; it goes on at the next start");
  }
}
