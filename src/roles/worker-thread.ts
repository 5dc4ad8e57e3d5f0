/* A worker thread: owns partitions of the intake log, from their entries to their segments. The main thread is thread-host.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { createLogger } from "../core/log.ts";
import { Metrics } from "../core/metrics.ts";
import { openObjectStore } from "../objects/open.ts";
import { LiveTail } from "../query/live-tail.ts";
import { streamTest, type TakenLines, type WantedLines } from "../query/snapshots.ts";
import { openCatalog } from "../store/catalog.ts";
import { PoolSlots } from "../store/pool-slots.ts";
import { packSnapshots } from "./pack-snapshot.ts";
import { PartitionWorker } from "./partition-worker.ts";
import { ThreadIntake } from "./thread-intake.ts";
import type { Answers, FromThread, Offsets, SnapshotEnd, ThreadSetup, ToThread } from "./worker-messages.ts";

const port = parentPort;
if (port === null) throw new Error("worker-thread runs only as a worker thread");
const { config, objectsUrl, partitions, logLevel, thread, slots: shared } = workerData as ThreadSetup;
const post = (message: FromThread, memory: readonly ArrayBuffer[] = []) => port.postMessage(message, memory);
const log = createLogger(logLevel);
const metrics = new Metrics();
const intake = new ThreadIntake(post);
const slots = shared === null ? null : new PoolSlots(shared, thread);
const objects = await openObjectStore(objectsUrl, { metrics, isChecked: true });
// What it knows of the store is the same as in the main thread, which shows it.
const catalog = await openCatalog(objects, new Metrics(), log);
const members = partitions.map(
  (partition) =>
    new PartitionWorker(config, partition, {
      ...{ intake, objects, catalog, slots, metrics, log },
      onCommitted: (entry) => post({ type: "committed", entry }),
    }),
);
const tails = new Map<number, LiveTail>();

port.on("message", (message: ToThread) => {
  switch (message.type) {
    case "entries":
      intake.take(message);
      return;
    case "known":
      members.find(({ partition }) => partition === message.partition)?.writer.forgetBelow(message.next);
      return;
    case "untail":
      endTail(message.tail);
      return;
    case "stop":
      for (const { worker, writer } of members) {
        worker.stop();
        writer.discard();
      }
      process.exit(0); // Of this thread: what a library still holds open must not keep it.
      return;
    default:
      answer(message.id, () => replyTo(message));
  }
});

for (const { worker } of members) {
  await worker.start();
  // It ends by a mistake only: the thread with it, and the main thread begins another.
  worker.ended().catch((error: unknown) => setImmediate(() => raise(error)));
}
post({ type: "started" });

type Question = Extract<ToThread, { id: number }>;

/** What a snapshot shows, and where a tail begins, is settled before this gives its promise: both in one tick. */
function replyTo(message: Question): Promise<Answers[keyof Answers]> {
  switch (message.type) {
    case "snapshot":
      return snapshot(message.id, message.wanted, message.inCatalog);
    case "tail": {
      const live = new LiveTail(message.tail);
      tails.set(message.id, live);
      for (const { writer } of members) writer.taps.add(live.tap);
      return snapshot(message.id, message.wanted, message.inCatalog);
    }
    case "take":
      return Promise.resolve(takeLines(message.tail, message.delayMs));
    case "metrics":
      intake.setEnds(message.ends);
      return metrics.toJson();
    case "flush":
      return Promise.all(members.map(({ worker }) => worker.flush())).then(() => null);
    case "drain":
      intake.drain(message.ends);
      return Promise.all(members.map(({ worker }) => worker.drain())).then(() => null);
  }
}

async function snapshot(id: number, wanted: WantedLines, inCatalog: Offsets): Promise<SnapshotEnd> {
  const accepts = streamTest(wanted);
  const taken = members.map(({ partition, writer }) => ({
    partition,
    ...writer.snapshot(accepts, inCatalog[partition] ?? 0),
  }));
  await packSnapshots(taken, wanted, (part, memory) => post({ type: "part", id, part }, memory));
  return { from: Object.fromEntries(taken.map(({ partition, from }) => [partition, from])) };
}

function answer(id: number, reply: () => Promise<Answers[keyof Answers]>): void {
  // Begun in this tick, and what it throws is an answer too.
  const replied = (async () => reply())();
  replied.then(
    (value) => post({ type: "answer", id, answer: value }),
    (error: unknown) => post({ type: "refused", id, code: codeOf(error), message: messageOf(error) }),
  );
}

function takeLines(tail: number, delayMs: number): TakenLines {
  const live = tails.get(tail);
  // It began with a thread that is gone: lines would be missing.
  if (live === undefined) throw new WeirError("worker_away", "the worker has begun anew; begin the tail again");
  return live.take(delayMs);
}

function endTail(tail: number): void {
  const live = tails.get(tail);
  tails.delete(tail);
  if (live !== undefined) for (const { writer } of members) writer.taps.delete(live.tap);
}

function raise(error: unknown): never {
  throw error;
}
