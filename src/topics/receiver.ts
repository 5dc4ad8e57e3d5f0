import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { endsWithin } from "../core/wait.ts";
import { KafkaAdmin } from "../kafka/admin.ts";
import { placeOf } from "../kafka/assigner.ts";
import { openKafkaClient } from "../kafka/client.ts";
import type { KafkaFeed } from "../kafka/feed.ts";
import { KafkaGroup } from "../kafka/group.ts";
import type { TenantLimits } from "../push/options.ts";
import { type LaneGroup, type LaneIntake, TopicLane } from "./lane.ts";
import { topicMetrics } from "./metrics.ts";
import type { TopicOptions } from "./options.ts";
import { Slots } from "./slots.ts";

/** How long `close` waits for batches that are on their way, and then for those that it gave up. */
const CLOSE_MS = 3000;
const GIVE_UP_MS = 500;
/** How long saying goodbye to Kafka may take. What it does not hear it finds out by the session timeout. */
const LEAVE_MS = 2000;
/** How often the lag is looked at that nothing else tells. */
const LAG_MS = 1000;
/** What a batch takes while it is made, as a multiple of its messages: they, the entry, and what is made of each. */
const BATCH_COPIES = 4;

export interface TopicDeps {
  /** Name of the receiver: EntryDraft.source. */
  readonly name: string;
  readonly intake: LaneIntake;
  /** Of the receiver's tenant. */
  readonly limits: TenantLimits;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970; Date.now unless a test hands in another. */
  readonly now?: () => number;
}

export interface TopicReceiver {
  readonly name: string;
  /** Why nothing is read now, or "". */
  readonly trouble: string;
  /** Ends what is under way, up to 3 s, and leaves the group. */
  close(): Promise<void>;
}

/**
 * Reads topics that others write into the intake log. Resolves before there is a connection: a Kafka that is away is waited for.
 * Rejects with `kafka_options` for a file that can't be read.
 */
export async function startTopics(options: TopicOptions, deps: TopicDeps): Promise<TopicReceiver> {
  const { log, name, now = Date.now } = deps;
  const client = await openKafkaClient(options, log);
  const admin = new KafkaAdmin(client);
  const stopping = new AbortController();
  const abandoned = new AbortController();
  const metrics = topicMetrics(deps.metrics);
  const slots = new Slots(Math.max(1, Math.floor(options.memory_bytes_max / (BATCH_COPIES * options.batch_bytes_max))));
  const lanes = new Map<string, { readonly lane: TopicLane; readonly done: Promise<void> }>();
  let failure = "";

  const group = new KafkaGroup(
    {
      group: options.group,
      topics: options.topics,
      sessionTimeoutMs: options.session_timeout_ms,
      rebalanceTimeoutMs: options.rebalance_timeout_ms,
      fetchBytes: Math.floor(options.partition_bytes_max / 2),
      feedBytesMax: options.partition_bytes_max,
    },
    {
      client,
      log,
      onGained: (feeds) => {
        for (const feed of feeds) begin(feed);
      },
      onLost: () => {}, // Lanes look at their feeds.
    },
  );
  const laneGroup = groupOf(options.group, group, admin);

  const begin = (feed: KafkaFeed): void => {
    const place = placeOf(feed);
    const before = lanes.get(place)?.done;
    const lane = new TopicLane({
      ...deps,
      options,
      now,
      receiver: name,
      feed,
      group: laneGroup,
      slots,
      stopping: stopping.signal,
      abandoned: abandoned.signal,
      metrics,
      log,
    });
    const run = async () => {
      // What this process may still have under way for the partition comes first.
      await before;
      await lane.run();
    };
    const done = run()
      .catch((error: unknown) => {
        failure = `the lane of ${place} has stopped: ${messageOf(error)}`;
        log.fatal({ err: error, receiver: name }, `kafka: ${failure}. This is a mistake in Weir: please report it`);
      })
      .finally(() => {
        if (lanes.get(place)?.lane === lane) lanes.delete(place);
      });
    lanes.set(place, { lane, done });
  };

  metrics.up.set({ receiver: name }, 0);
  const timer = setInterval(() => {
    metrics.up.set({ receiver: name }, group.trouble === "" ? 1 : 0);
    for (const { lane } of lanes.values()) lane.showLag();
  }, LAG_MS);
  timer.unref();
  group.start();

  return {
    name,
    get trouble() {
      const trouble = failure !== "" ? failure : group.trouble;
      return trouble === "" ? "" : `receiver ${name}: ${trouble}`;
    },
    close: async () => {
      stopping.abort();
      const ended = Promise.all([...lanes.values()].map(({ done }) => done));
      if (!(await endsWithin(ended, CLOSE_MS))) {
        // The next start, or another member, finds what was declared and carries it out.
        abandoned.abort();
        await endsWithin(ended, GIVE_UP_MS);
      }
      abandoned.abort();
      clearInterval(timer);
      await endsWithin(Promise.all([group.stop(), admin.close()]), LEAVE_MS);
      metrics.up.set({ receiver: name }, 0);
    },
  };
}

function groupOf(name: string, group: KafkaGroup, admin: KafkaAdmin): LaneGroup {
  return {
    get memberId() {
      return group.memberId;
    },
    get joins() {
      return group.joins;
    },
    commit: (topic, partition, offset, metadata, joins) =>
      group.commitSurely({ topic, partition }, offset, metadata, joins),
    committed: async (topic, partition) => {
      const found = (await admin.committed(name, topic)).find((one) => one.partition === partition);
      return { offset: found?.offset ?? null, metadata: found?.metadata ?? "" };
    },
    members: () => admin.members(name),
    offsets: async (topic, partition) => {
      const found = (await admin.offsets(topic)).find((one) => one.partition === partition);
      if (found !== undefined) return found;
      throw new WeirError("kafka_unavailable", `kafka: topic ${topic} has no partition ${partition} now`, {
        retriable: true,
      });
    },
  };
}
