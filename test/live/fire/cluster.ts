import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../free-port.ts";
import { KafkaServer } from "../kafka-server.ts";
import { MAIN } from "../program.ts";
import { BUCKET, S3_KEYS, S3Server } from "../s3-server.ts";

const UP_MS = 300_000;
/** As a service manager waits before it starts again what has ended by itself, because the store was away at its start. */
const RESTART_MS = 500;
export const TOPIC = "weir-intake";

export interface ClusterSize {
  readonly receivers: number;
  readonly workers: number;
  readonly queriers: number;
  readonly brokers: number;
  readonly partitions: number;
}

/** What can be killed, paused, and started again on what it had. */
export interface Victim {
  readonly name: string;
  kill(): Promise<void>;
  /** Resolves when it has been started, not when it answers. */
  restart(): Promise<void>;
  pause(): void;
  resume(): void;
}

/** One process of `weir run --role …` that keeps its ports over restarts, and is started again when it ends by itself. */
export class RoleProcess implements Victim {
  readonly name: string;
  readonly httpPort: number;
  readonly forwardPort: number;
  stderr = "";
  private readonly args: readonly string[];
  private child: ChildProcess | null = null;
  private isStopped = false;

  constructor(name: string, args: readonly string[], httpPort: number, forwardPort: number) {
    this.name = name;
    this.args = args;
    this.httpPort = httpPort;
    this.forwardPort = forwardPort;
  }

  get http(): string {
    return `http://127.0.0.1:${this.httpPort}`;
  }

  async restart(): Promise<void> {
    if (this.isStopped) return;
    const child = spawn(process.execPath, [MAIN, ...this.args], {
      env: { ...process.env, ...S3_KEYS },
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr?.on("data", (data: Buffer) => {
      this.stderr = (this.stderr + data.toString()).slice(-20_000);
    });
    this.child = child;
    child.once("exit", (code) => {
      if (code === null || this.isStopped) return;
      setTimeout(() => void this.restart(), RESTART_MS);
    });
  }

  /** Resolves when `/ready` says so. */
  async whenReady(): Promise<void> {
    const deadline = Date.now() + UP_MS;
    let last = "no answer";
    while (Date.now() < deadline) {
      const answer = await fetch(`${this.http}/ready`, { signal: AbortSignal.timeout(10_000) }).catch(() => null);
      if (answer?.ok === true) return;
      last = (await answer?.text().catch(() => undefined)) ?? last;
      await sleep(50);
    }
    throw new Error(`${this.name} is not ready: ${last}\n${this.stderr}`);
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === null || this.hasEnded) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  /** For good. */
  async stop(): Promise<void> {
    this.isStopped = true;
    this.resume();
    await this.kill();
  }

  pause(): void {
    this.child?.kill("SIGSTOP");
  }

  resume(): void {
    this.child?.kill("SIGCONT");
  }

  get hasEnded(): boolean {
    return this.child === null || this.child.exitCode !== null || this.child.signalCode !== null;
  }
}

/** Receivers, workers, queriers and a compactor as processes, over a real Kafka and a real S3 server, all on this machine. */
export class Cluster {
  readonly receivers: RoleProcess[] = [];
  readonly workers: RoleProcess[] = [];
  readonly queriers: RoleProcess[] = [];
  readonly compactors: RoleProcess[] = [];
  readonly kafka: KafkaServer;
  readonly s3: S3Server;
  private readonly folder: string;

  private constructor(kafka: KafkaServer, s3: S3Server, folder: string) {
    this.kafka = kafka;
    this.s3 = s3;
    this.folder = folder;
  }

  static async start(size: ClusterSize): Promise<Cluster> {
    const [kafka, s3] = await Promise.all([KafkaServer.start({ brokers: size.brokers }), S3Server.start()]);
    const cluster = new Cluster(kafka, s3, mkdtempSync(path.join(os.tmpdir(), "weir-cluster-")));
    try {
      await kafka.createTopic(TOPIC, size.partitions, { "max.message.bytes": "1048588" });
      await cluster.startRoles(size);
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  private async startRoles(size: ClusterSize): Promise<void> {
    const pipeline = path.join(this.folder, "weir.yaml");
    writeFileSync(pipeline, this.pipeline());
    const add = async (list: RoleProcess[], role: string, count: number) => {
      for (let i = 0; i < count; i++) {
        const [http, forward] = [await freePort(), await freePort()];
        const name = `${role} ${i}`;
        const args = ["run", pipeline, "--role", role, "--data", path.join(this.folder, `${role}-${i}`)];
        args.push("--store", `s3://${BUCKET}/store`, "--s3-endpoint", this.s3.endpoint, "--log-level", "warn");
        args.push("--http", `127.0.0.1:${http}`, "--forward", `127.0.0.1:${forward}`);
        list.push(new RoleProcess(name, args, http, forward));
      }
    };
    await add(this.receivers, "receiver", size.receivers);
    await add(this.workers, "worker", size.workers);
    await add(this.queriers, "querier", size.queriers);
    await add(this.compactors, "compactor", 1);
    for (const one of this.roles) await one.restart();
    await Promise.all(this.roles.map((one) => one.whenReady()));
  }

  private pipeline(): string {
    return `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:24224"] }
pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }] }
intake:
  type: kafka
  brokers: [${this.kafka.addresses.map((one) => `"${one}"`).join(", ")}]
  topic: ${TOPIC}
  session_timeout_ms: 6000
  handover_timeout_ms: 4000
  request_timeout_ms: 5000
store: { flush_age_ms: 2000 }
compactor: { }
s3: { request_timeout_ms: 5000 }
query: { threads: 1, max_entries_limit_per_query: 200000, max_query_length: 0s }
`;
  }

  get roles(): readonly RoleProcess[] {
    return [...this.receivers, ...this.workers, ...this.queriers, ...this.compactors];
  }

  /** Everything that a chaos script may lay hands on. */
  get victims(): readonly Victim[] {
    const { s3, kafka } = this;
    const brokers = kafka.brokers.map(
      (broker, i): Victim => ({
        name: `broker ${i}`,
        kill: () => broker.kill(),
        restart: async () => broker.start(),
        pause: () => broker.pause(),
        resume: () => broker.resume(),
      }),
    );
    const store: Victim = {
      name: "S3 server",
      kill: () => s3.kill(),
      restart: () => s3.restart(),
      pause: () => s3.child.kill("SIGSTOP"),
      resume: () => s3.child.kill("SIGCONT"),
    };
    return [...this.roles, ...brokers, store];
  }

  async stop(): Promise<void> {
    await Promise.all(this.roles.map((one) => one.stop()));
    await Promise.all([this.kafka.stop(), this.s3.stop()]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
