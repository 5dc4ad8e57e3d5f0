/*
 * The way over Kafka, with a real broker of this machine: node dist/bench/kafka.js [LINE_BYTES]
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { KAFKA_LIBS, KAFKA_SKIPPED, KafkaServer } from "../test/live/kafka-server.ts";
import { sendLines } from "./ingest.ts";
import { row, section } from "./print.ts";
import { BenchServer, cpuSecondsOf, PIPELINE } from "./server.ts";

/** As many workers as partitions. */
const PARTITIONS = [1, 2, 4];

/** Starts a broker for `act`; null where test/live/servers/prepare.sh has put none. */
export async function withKafka(act: (kafka: KafkaServer | null) => Promise<void>): Promise<void> {
  const kafka = KAFKA_LIBS === "" ? null : await KafkaServer.start();
  try {
    await act(kafka);
  } finally {
    await kafka?.stop();
  }
}

/**
 * What a receiver, the broker and workers cost, and how many lines a second go through them: first a receiver alone fills a topic of
 * N partitions, then N workers at once read it and store its lines. One after the other, since they would only take the processors
 * from each other.
 */
export async function benchKafka(kafka: KafkaServer | null, lineBytes: number, seed: number): Promise<void> {
  section(`over Kafka: ${(lineBytes / 1e6).toFixed(0)} MB of lines each, on ${os.availableParallelism()} cores`);
  if (kafka === null) {
    row("not measured", KAFKA_SKIPPED);
    return;
  }
  for (const partitions of PARTITIONS)
    await benchPartitions(kafka, { partitions, compression: "gzip" }, lineBytes, seed);
  await benchPartitions(kafka, { partitions: 2, compression: "none" }, lineBytes, seed);
}

interface Case {
  readonly partitions: number;
  readonly compression: "gzip" | "none";
}

async function benchPartitions(
  kafka: KafkaServer,
  { partitions, compression }: Case,
  lineBytes: number,
  seed: number,
): Promise<void> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "weir-bench-kafka-"));
  const servers: BenchServer[] = [];
  const topic = `weir-${partitions}-${compression}`;
  const pipeline = path.join(folder, "weir.yaml");
  writeFileSync(pipeline, `${readFileSync(PIPELINE, "utf8")}\nintake: { compression: ${compression} }\n`);
  const start = async (role: string, name: string) => {
    const args = [
      ...["--role", role, "--store", path.join(folder, "store")],
      ...["--intake", "kafka", "--kafka-brokers", kafka.addresses.join(","), "--kafka-topic", topic],
    ];
    const server = await BenchServer.start(path.join(folder, name), args, pipeline);
    servers.push(server);
    return server;
  };
  try {
    await kafka.createTopic(topic, partitions);
    const receiver = await start("receiver", "receiver");
    const began = { receiver: receiver.cpuSeconds(), broker: cpuSecondsOf(kafka.brokers[0].pid) };
    const { lines, lineBytes: bytes, seconds } = await sendLines(receiver.forward, lineBytes, seed);
    const gb = bytes / 1e9;
    const broker = cpuSecondsOf(kafka.brokers[0].pid) - began.broker;
    const entries = await receiver.metric("weir_intake_appends_total");
    const receiverPeak = receiver.peakRssBytes();
    const receiverCpu = (await receiver.stop()) - began.receiver;
    servers.pop();
    const what = `${partitions} partition${partitions === 1 ? "" : "s"}, ${compression}`;
    row(
      `${what}, a receiver`,
      [
        `${Math.round(lines / seconds).toLocaleString("en")} lines/s`,
        `${(receiverCpu / gb).toFixed(1)} CPU s a GB, the broker's ${(broker / gb).toFixed(1)}`,
        `${(receiverPeak / 1e6).toFixed(0)} MB`,
      ].join(", "),
    );
    await Promise.all(Array.from({ length: partitions }, (_, i) => start("worker", `worker-${i}`)));
    const { share, wallSeconds, cpuSeconds, peakRssBytes } = await drain(servers, entries);
    row(
      `${what}, ${partitions} worker${partitions === 1 ? "" : "s"}`,
      [
        `${Math.round((lines * share) / wallSeconds).toLocaleString("en")} lines/s`,
        `${(cpuSeconds / (gb * share)).toFixed(1)} CPU s a GB`,
        `${(peakRssBytes / 1e6).toFixed(0)} MB for the largest`,
      ].join(", "),
    );
    for (const server of servers.splice(0)) await server.stop();
  } finally {
    for (const server of servers) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Drained {
  /** Of all entries, the part that was read between the first look and the last. */
  readonly share: number;
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakRssBytes: number;
}

/** Waits until workers have taken all entries of the topic, and says what that took from when they had the first ones: without their start. */
async function drain(workers: readonly BenchServer[], entries: number): Promise<Drained> {
  const sum = async (name: string) => {
    let all = 0;
    for (const worker of workers) all += (await worker.metric(name)) || 0;
    return all;
  };
  const cpu = () => workers.reduce((seconds, worker) => seconds + worker.cpuSeconds(), 0);
  const until = async (read: number) => {
    for (;;) {
      const taken = await sum("weir_intake_read_entries_total");
      if (taken >= read) return { taken, cpu: cpu(), at: performance.now() };
      await sleep(20);
    }
  };
  const first = await until(1);
  await until(entries);
  while ((await sum("weir_worker_lag_entries")) > 0) await sleep(20);
  return {
    share: (entries - first.taken) / entries,
    wallSeconds: (performance.now() - first.at) / 1000,
    cpuSeconds: cpu() - first.cpu,
    peakRssBytes: Math.max(...workers.map((worker) => worker.peakRssBytes())),
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await withKafka((kafka) => benchKafka(kafka, Number(process.argv[2] ?? 50_000_000), 1));
}
