import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type AclEntry, AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from "kafkajs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Agent, untilAcknowledged } from "./agent.ts";
import { type ClusterPlaces, Member } from "./cluster.ts";
import { KAFKA_LIBS, KAFKA_SKIPPED, KafkaServer } from "./kafka-server.ts";
import { committedLines, type Program } from "./program.ts";
import { FORMATS } from "./topic-messages.ts";
import { TopicWriter } from "./topic-writer.ts";

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);

const SHORT = "session_timeout_ms: 3000, request_timeout_ms: 3000, connect_timeout_ms: 2000";
const INTAKE = "weir-intake";

interface Right {
  readonly user: string;
  readonly on: "topic" | "group";
  readonly name: string;
  readonly may: "Read" | "Write" | "Describe" | "DescribeConfigs";
  readonly isPrefix?: boolean;
}

/** What docs/kafka.md says that each user needs. */
const RIGHTS: readonly Right[] = [
  { user: "receiver", on: "topic", name: INTAKE, may: "Write" },
  { user: "receiver", on: "topic", name: INTAKE, may: "DescribeConfigs" },
  { user: "worker", on: "topic", name: INTAKE, may: "Read" },
  { user: "worker", on: "group", name: "weir", may: "Read" },
  { user: "worker", on: "group", name: "weir-sink-", may: "Read", isPrefix: true },
  { user: "querier", on: "topic", name: INTAKE, may: "Read" },
  { user: "querier", on: "group", name: "weir-tail-", may: "Read", isPrefix: true },
  { user: "source", on: "topic", name: "others", may: "Read" },
  { user: "source", on: "group", name: "from-others", may: "Read" },
  { user: "sink", on: "topic", name: "out", may: "Write" },
];
const USERS = [...new Set(RIGHTS.map(({ user }) => user))];

const OPERATIONS = {
  Read: AclOperationTypes.READ,
  Write: AclOperationTypes.WRITE,
  Describe: AclOperationTypes.DESCRIBE,
  DescribeConfigs: AclOperationTypes.DESCRIBE_CONFIGS,
} as const;

function entryOf({ user, on, name, may, isPrefix = false }: Right): AclEntry {
  return {
    resourceType: on === "topic" ? AclResourceTypes.TOPIC : AclResourceTypes.GROUP,
    resourceName: name,
    resourcePatternType: isPrefix ? ResourcePatternTypes.PREFIXED : ResourcePatternTypes.LITERAL,
    principal: `User:${user}`,
    host: "*",
    operation: OPERATIONS[may],
    permissionType: AclPermissionTypes.ALLOW,
  };
}

describe.skipIf(KAFKA_LIBS === "")("users with no more rights than they need", { timeout: 600_000 }, () => {
  let server: KafkaServer;
  let folder = "";
  let members: Member[] = [];
  beforeAll(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "weir-acl-"));
    const users = USERS.map((user) => `user_${user}="${user}-secret"`).join(" ");
    server = await KafkaServer.start({
      sasl: true,
      properties: {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        // The test itself, and the broker.
        "super.users": "User:ANONYMOUS",
        "listener.name.login.plain.sasl.jaas.config": `org.apache.kafka.common.security.plain.PlainLoginModule required ${users};`,
      },
    });
    for (const [topic, partitions] of [
      [INTAKE, 2],
      ["others", 1],
      ["out", 1],
    ] as const)
      await server.createTopic(topic, partitions);
    await allow(RIGHTS);
  }, 900_000);
  afterAll(async () => {
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    await Promise.all(members.map((member) => (member.program.ended ? null : member.kill())));
    members = [];
  });

  const allow = async (rights: readonly Right[]) => {
    if (rights.length > 0) await server.admin((admin) => admin.createAcls({ acl: rights.map(entryOf) }));
  };
  const forbid = async (rights: readonly Right[]) => {
    if (rights.length > 0) await server.admin((admin) => admin.deleteAcls({ filters: rights.map(entryOf) }));
  };
  const login = (user: string) => `sasl: { mechanism: plain, username: ${user}, password: ${user}-secret }`;

  const placesOf = (user: string): ClusterPlaces => {
    const own = path.join(folder, user);
    mkdirSync(own, { recursive: true });
    const brokers = `brokers: [${server.saslAddresses.map((one) => JSON.stringify(one)).join(", ")}]`;
    return {
      folder: own,
      brokers: server.saslAddresses,
      topic: INTAKE,
      store: path.join(folder, "store"),
      intake: `${SHORT}, ${login(user)}`,
      receivers: [
        `others: { type: kafka, ${brokers}, ${login("source")}, topics: [others], group: from-others, format: line, linger_ms: 5, session_timeout_ms: 3000 }`,
      ],
      to: ["store", "out"],
      more: `sinks: { store: { type: store }, out: { type: kafka, ${brokers}, ${login("sink")}, topic: out, batch_age_ms: 50, retry_max_ms: 500 } }`,
    };
  };
  const start = async (role: "receiver" | "worker" | "querier", whenReady = true) => {
    const member = await Member.start(placesOf(role), role, role, whenReady);
    members.push(member);
    return member;
  };
  const until = async (isSo: () => boolean | Promise<boolean>, what: () => string) => {
    for (const end = Date.now() + 240_000; !(await isSo()); ) {
      if (Date.now() > end) throw new Error(what());
      await sleep(100);
    }
  };
  const sentBySink = async () => {
    const offsets = await server.admin((admin) => admin.fetchTopicOffsets("out"));
    return offsets.reduce((sum, { high }) => sum + Number(high), 0);
  };

  test("receive, read topics, store, answer, tail and send on", async () => {
    const receiver = await start("receiver");
    await start("worker");
    const querier = await start("querier");
    const tailed: string[] = [];
    const socket = new WebSocket(
      `${querier.http.replace("http", "ws")}/loki/api/v1/tail?query=${encodeURIComponent('{tag=~".+"}')}`,
    );
    socket.on("message", (data) => tailed.push(String(data)));
    const agent = new Agent("agent", "allowed", () => receiver.forward);
    agent.start();
    const writer = await TopicWriter.open(server.addresses, "others", 1, FORMATS.raw);
    await writer.write(50);
    await sleep(1000);
    await untilAcknowledged([agent], 10);
    await agent.finish();
    const wanted = agent.acknowledged.length + 50;
    const said = () => members.map(({ program }) => program.stderr).join("\n");
    await until(async () => (await committedLines(querier.http, '{tag=~".+"}')).length === wanted, said);
    await until(async () => (await sentBySink()) === wanted, said);
    await until(() => tailed.join().includes("others line 49"), said);
    socket.close();
    await writer.close();
    expect(said()).not.toMatch(/AUTHORIZATION/);
  });

  test.each<{
    user: string;
    without: string;
    instead?: Right["may"];
    role: "receiver" | "worker" | "querier";
    says: RegExp;
  }>([
    {
      user: "receiver",
      without: `Write ${INTAKE}`,
      role: "receiver",
      says: /look up topic weir-intake: .*Describe on the topic/,
    },
    {
      user: "receiver",
      without: `Write ${INTAKE}`,
      instead: "Describe",
      role: "receiver",
      says: /kafka: write: .*Write on the topic/,
    },
    {
      user: "receiver",
      without: `DescribeConfigs ${INTAKE}`,
      role: "receiver",
      says: /topic weir-intake \(allow the user DescribeConfigs on it\)/,
    },
    {
      user: "worker",
      without: `Read ${INTAKE}`,
      role: "worker",
      says: /look up topic weir-intake: .*Describe on the topic/,
    },
    {
      user: "worker",
      without: `Read ${INTAKE}`,
      instead: "Describe",
      role: "worker",
      says: /group weir: .*Read on the topic/,
    },
    { user: "worker", without: "Read weir", role: "worker", says: /group weir: .*not allowed Read on the group/ },
    {
      user: "worker",
      without: "Read weir-sink-",
      role: "worker",
      says: /group weir-sink-out: .*not allowed Read on the group/,
    },
    {
      user: "querier",
      without: `Read ${INTAKE}`,
      role: "querier",
      says: /offsets of topic weir-intake: .*Describe on the topic/,
    },
    {
      user: "querier",
      without: `Read ${INTAKE}`,
      instead: "Describe",
      role: "querier",
      says: /group weir-tail-\w+: .*Read on the topic/,
    },
    {
      user: "querier",
      without: "Read weir-tail-",
      role: "querier",
      says: /group weir-tail-\w+: .*not allowed Read on the group/,
    },
    {
      user: "source",
      without: "Read others",
      role: "receiver",
      says: /group from-others: .*(Read|Describe) on the topic/,
    },
    {
      user: "source",
      without: "Read from-others",
      role: "receiver",
      says: /group from-others: .*not allowed Read on the group/,
    },
    { user: "sink", without: "Write out", role: "worker", says: /topic out.*(Write|Describe) on the topic/ },
  ])(
    "the $user without $without (instead: $instead) is told what is missing",
    async ({ user, without, instead, role, says }) => {
      const right = RIGHTS.find((one) => one.user === user && `${one.may} ${one.name}` === without);
      if (right === undefined) throw new Error(`no such right: ${without}`);
      const less = instead === undefined ? [] : [{ ...right, may: instead }];
      await forbid([right]);
      await allow(less);
      let program: Program | null = null;
      try {
        program = await startAnyhow(role);
        const { stderr, http } = { stderr: () => `${program?.stdout}${program?.stderr}`, http: httpOf(program) };
        const agent = new Agent("agent", "missing", () => ({ host: "127.0.0.1", port: forwardOf(program) }));
        if (role === "receiver" && !program.ended) agent.start();
        if (role === "querier") {
          const query = encodeURIComponent('{tag=~".+"}');
          const socket = new WebSocket(`ws://${http}/loki/api/v1/tail?query=${query}`);
          socket.on("error", () => {}); // It may be refused: what is said of that is what counts.
        }
        const ready = async () => (await fetch(`http://${http}/ready`).catch(() => null))?.text() ?? "";
        let said = "";
        for (const end = Date.now() + 240_000; !says.test(said) && Date.now() < end; ) {
          await sleep(100);
          said = `${stderr()}${await ready()}`;
        }
        expect(said).toMatch(says);
      } finally {
        if (program !== null && !program.ended) await program.kill();
        await forbid(less);
        await allow([right]);
      }
    },
  );

  /** One that may end at once, and say why. */
  async function startAnyhow(role: "receiver" | "worker" | "querier"): Promise<Program> {
    try {
      return (await start(role, false)).program;
    } catch (error) {
      return { stdout: "", stderr: String(error), ended: true } as Program;
    }
  }
});

const httpOf = ({ stdout }: Program): string => /http:\/\/(127\.0\.0\.1:\d+)/.exec(stdout)?.[1] ?? "";
const forwardOf = (program: Program | null): number =>
  Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(program?.stdout ?? "")?.[1] ?? 9);
