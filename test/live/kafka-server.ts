import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { type Admin, Kafka, logLevel } from "kafkajs";
import { freePort } from "./free-port.ts";

/** The folder with Kafka's jars, where test/live/servers/prepare.sh has put them. */
export const KAFKA_LIBS = process.env.WEIR_KAFKA_LIBS ?? "";
export const KAFKA_SKIPPED = "no Kafka: get one with test/live/servers/prepare.sh and set WEIR_KAFKA_LIBS";

export const KAFKA_USER = "weir";
export const KAFKA_PASSWORD = "weir-secret";

const HEAP = "-Xmx384m";
/** A start takes some 5 s on a free machine. */
const UP_MS = 240_000;

/** How long one request may take on a machine that has much other work. */
const BUSY_MS = 120_000;

const run = promisify(execFile);

export interface KafkaSettings {
  /** 1, or 3 where a broker is to fail without the cluster failing. */
  readonly brokers?: number;
  /** A listener of its own with a user and a password, beside the one without. */
  readonly sasl?: boolean;
  /** A listener of its own with TLS. */
  readonly tls?: boolean;
  /** More lines of server.properties. */
  readonly properties?: Readonly<Record<string, string>>;
}

/** A real Apache Kafka (KRaft) on free ports of this machine, its data in a temporary folder. */
export class KafkaServer {
  readonly brokers: KafkaBroker[];
  private readonly folder: string;
  private readonly tlsFiles: TlsFiles | null;

  private constructor(folder: string, brokers: KafkaBroker[], tlsFiles: TlsFiles | null) {
    this.folder = folder;
    this.brokers = brokers;
    this.tlsFiles = tlsFiles;
  }

  static async start(settings: KafkaSettings = {}): Promise<KafkaServer> {
    // Another process may take a port between the look and the start; then there are other ones.
    for (let tries = 0; ; tries++) {
      const server = await KafkaServer.prepare(settings);
      try {
        for (const broker of server.brokers) broker.start();
        await server.whenUp();
        return server;
      } catch (error) {
        await server.stop();
        if (tries >= 2) throw error;
      }
    }
  }

  private static async prepare(settings: KafkaSettings): Promise<KafkaServer> {
    const folder = mkdtempSync(path.join(os.tmpdir(), "weir-kafka-"));
    const tls = settings.tls === true ? await makeTls(folder) : null;
    const count = settings.brokers ?? 1;
    const ports = await Promise.all(
      Array.from({ length: count }, async () => ({
        plain: await freePort(),
        controller: await freePort(),
        sasl: await freePort(),
        tls: await freePort(),
        saslTls: await freePort(),
      })),
    );
    const clusterId = `A${randomBytes(16).toString("base64url").slice(1)}`; // With a dash in front it would be an option.
    const voters = ports.map(({ controller }, i) => `${i + 1}@127.0.0.1:${controller}`).join(",");
    const brokers: KafkaBroker[] = [];
    for (const [i, port] of ports.entries()) {
      const home = path.join(folder, String(i + 1));
      mkdirSync(home, { recursive: true });
      const file = path.join(home, "server.properties");
      const properties = propertiesOf({ id: i + 1, count, port, voters, home, settings, tls });
      writeFileSync(
        file,
        Object.entries(properties)
          .map(([name, value]) => `${name}=${value}\n`)
          .join(""),
      );
      const scram =
        settings.sasl === true
          ? ["SCRAM-SHA-256", "SCRAM-SHA-512"].flatMap((mechanism) => [
              "--add-scram",
              `${mechanism}=[name=${KAFKA_USER},password=${KAFKA_PASSWORD}]`,
            ])
          : [];
      await run("java", [
        "-Xmx256m",
        "-cp",
        path.join(KAFKA_LIBS, "*"),
        "kafka.tools.StorageTool",
        ...["format", "-t", clusterId, "-c", file, ...scram],
      ]);
      brokers.push(new KafkaBroker(home, file, port));
    }
    return new KafkaServer(folder, brokers, tls);
  }

  /** HOST:PORT of each broker, without login. */
  get addresses(): string[] {
    return this.brokers.map(({ port }) => `127.0.0.1:${port.plain}`);
  }
  get saslAddresses(): string[] {
    return this.brokers.map(({ port }) => `127.0.0.1:${port.sasl}`);
  }
  get tlsAddresses(): string[] {
    return this.brokers.map(({ port }) => `localhost:${port.tls}`);
  }
  /** With both `sasl` and `tls`: user, password and TLS. */
  get saslTlsAddresses(): string[] {
    return this.brokers.map(({ port }) => `localhost:${port.saslTls}`);
  }
  /** The certificate that clients have to trust. */
  get caFile(): string {
    return this.tlsFiles?.ca ?? "";
  }

  /** Does something as an administrator, in a connection of its own. */
  async admin<T>(act: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = new Kafka({
      ...{ brokers: this.addresses, clientId: "test", logLevel: logLevel.NOTHING },
      // A broker that runs may be slow; one that is away refuses at once.
      ...{ connectionTimeout: BUSY_MS, requestTimeout: BUSY_MS },
    }).admin();
    await admin.connect();
    try {
      return await act(admin);
    } finally {
      await admin.disconnect();
    }
  }

  async createTopic(topic: string, partitions: number, config: Readonly<Record<string, string>> = {}): Promise<void> {
    const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
    const replicationFactor = this.brokers.length >= 3 ? 3 : 1;
    const topics = [{ topic, numPartitions: partitions, replicationFactor, configEntries }];
    await this.admin(async (admin) => {
      await admin.createTopics({ waitForLeaders: false, timeout: BUSY_MS, topics });
      // The library could wait for leaders, but fails where the broker that it asks has not heard of the topic yet.
      const deadline = Date.now() + BUSY_MS;
      for (let isThere = false; !isThere; await sleep(20)) {
        const found = await admin.fetchTopicMetadata({ topics: [topic] }).catch((error: unknown) => {
          if (Date.now() > deadline) throw error;
          return null;
        });
        const [it] = found?.topics ?? [];
        isThere = it?.partitions.length === partitions && it.partitions.every(({ leader }) => leader >= 0);
      }
    });
  }

  /** Resolves when nobody finds it any more. */
  async deleteTopic(topic: string): Promise<void> {
    await this.admin(async (admin) => {
      await admin.deleteTopics({ topics: [topic], timeout: BUSY_MS });
      while ((await admin.listTopics()).includes(topic)) await sleep(20);
    });
  }

  /** Resolves when all brokers answer, a group's coordinator among what they answer for. */
  async whenUp(): Promise<void> {
    const deadline = Date.now() + UP_MS;
    let last: unknown = null;
    while (Date.now() < deadline) {
      const dead = this.brokers.find(({ hasEnded }) => hasEnded);
      if (dead !== undefined) break;
      try {
        const { brokers } = await this.admin((admin) => admin.describeCluster());
        if (brokers.length >= this.brokers.length) return;
      } catch (error) {
        last = error;
      }
      await sleep(100);
    }
    throw new Error(`Kafka does not answer: ${String(last)}\n${this.brokers.map(({ output }) => output).join("\n")}`);
  }

  async stop(): Promise<void> {
    await Promise.all(this.brokers.map((broker) => broker.kill()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

interface Ports {
  readonly plain: number;
  readonly controller: number;
  readonly sasl: number;
  readonly tls: number;
  readonly saslTls: number;
}

/** One process of the cluster. */
export class KafkaBroker {
  readonly port: Ports;
  output = "";
  private readonly home: string;
  private readonly file: string;
  private child: ChildProcess | null = null;

  constructor(home: string, file: string, port: Ports) {
    this.home = home;
    this.file = file;
    this.port = port;
  }

  /** Starts it on the data that is there. Resolves before it answers: `KafkaServer.whenUp`. */
  start(): void {
    const child = spawn(
      "java",
      [
        HEAP,
        "-Xms64m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        path.join(KAFKA_LIBS, "*"),
        "kafka.Kafka",
        this.file,
      ],
      { cwd: this.home, stdio: ["ignore", "pipe", "pipe"] },
    );
    const keep = (data: Buffer) => {
      this.output = (this.output + data.toString()).slice(-8000);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    this.child = child;
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  get hasEnded(): boolean {
    return this.child === null || this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const { child } = this;
    if (child === null || this.hasEnded) return;
    const exit = once(child, "exit");
    child.kill(signal);
    await exit;
  }

  pause(): void {
    this.child?.kill("SIGSTOP");
  }

  resume(): void {
    this.child?.kill("SIGCONT");
  }
}

interface TlsFiles {
  readonly ca: string;
  readonly keyStore: string;
}

/** A certificate for localhost, by Java's own tool, which is there where Kafka runs. */
async function makeTls(folder: string): Promise<TlsFiles> {
  const keyStore = path.join(folder, "broker.p12");
  const ca = path.join(folder, "broker.pem");
  const store = ["-keystore", keyStore, "-storepass", KAFKA_PASSWORD, "-alias", "broker"];
  await run("keytool", [
    ...["-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "30", "-storetype", "PKCS12"],
    ...["-dname", "CN=localhost", "-ext", "san=dns:localhost,ip:127.0.0.1", "-ext", "bc:c"],
    ...store,
  ]);
  await run("keytool", ["-exportcert", "-rfc", "-file", ca, ...store]);
  return { ca, keyStore };
}

function propertiesOf(of: {
  id: number;
  count: number;
  port: Ports;
  voters: string;
  home: string;
  settings: KafkaSettings;
  tls: TlsFiles | null;
}): Record<string, string> {
  const { id, count, port, voters, home, settings, tls } = of;
  const replicas = String(Math.min(count, 3));
  const listeners = [`PLAIN://127.0.0.1:${port.plain}`, `CONTROLLER://127.0.0.1:${port.controller}`];
  const login: Record<string, string> = {};
  if (settings.sasl === true) {
    listeners.push(`LOGIN://127.0.0.1:${port.sasl}`);
    const scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_${KAFKA_USER}="${KAFKA_PASSWORD}";`;
    login["sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512";
    if (tls !== null) listeners.push(`LOGINTLS://localhost:${port.saslTls}`);
    for (const listener of ["login", ...(tls === null ? [] : ["logintls"])]) {
      login[`listener.name.${listener}.plain.sasl.jaas.config`] = plain;
      login[`listener.name.${listener}.scram-sha-256.sasl.jaas.config`] = scram;
      login[`listener.name.${listener}.scram-sha-512.sasl.jaas.config`] = scram;
    }
  }
  if (tls !== null) {
    listeners.push(`TLS://localhost:${port.tls}`);
    login["ssl.keystore.location"] = tls.keyStore;
    login["ssl.keystore.password"] = KAFKA_PASSWORD;
    login["ssl.keystore.type"] = "PKCS12";
  }
  return {
    "process.roles": "broker,controller",
    "node.id": String(id),
    "controller.quorum.voters": voters,
    "controller.listener.names": "CONTROLLER",
    listeners: listeners.join(","),
    "advertised.listeners": listeners.filter((one) => !one.startsWith("CONTROLLER")).join(","),
    "inter.broker.listener.name": "PLAIN",
    "listener.security.protocol.map":
      "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SSL,LOGINTLS:SASL_SSL",
    "log.dirs": path.join(home, "data"),
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": replicas,
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": replicas,
    "transaction.state.log.min.isr": "1",
    "min.insync.replicas": count >= 3 ? "2" : "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.enable": "false",
    ...login,
    ...settings.properties,
  };
}
