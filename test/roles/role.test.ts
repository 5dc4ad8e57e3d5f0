import { describe, expect, test } from "vitest";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";
import { checkRole } from "../../src/roles/check-role.ts";
import type { Role } from "../../src/roles/role.ts";

const KAFKA = "intake: { type: kafka, brokers: [k:9092], topic: t }";
const load = (more: string) =>
  loadConfig(
    `receivers: { forward: { type: forward } }\npipelines: { all: { to: [store] } }\n${more}\n`,
    "weir.yaml",
    registries,
    { env: {} },
  );
const withSink = "sinks: { store: { type: store }, out: { type: stdout } }";

describe("a role", () => {
  test.each<{ name: string; role: Role; more: string }>([
    { name: "all on disk", role: "all", more: "" },
    { name: "all on disk, with a sink", role: "all", more: withSink },
    { name: "a compactor, whatever the intake", role: "compactor", more: "" },
    {
      name: "a receiver over Kafka, with a sink that is the worker's",
      role: "receiver",
      more: `${KAFKA}\n${withSink}`,
    },
    { name: "a worker over Kafka", role: "worker", more: KAFKA },
    { name: "a worker over Kafka, with a sink", role: "worker", more: `${KAFKA}\n${withSink}` },
    { name: "a querier over Kafka, with a sink that is the worker's", role: "querier", more: `${KAFKA}\n${withSink}` },
    { name: "all over Kafka, with a sink", role: "all", more: `${KAFKA}\n${withSink}` },
    { name: "a querier over Kafka", role: "querier", more: KAFKA },
    { name: "all over Kafka", role: "all", more: KAFKA },
  ])("is taken: $name", ({ role, more }) => {
    expect(() => checkRole(role, load(more))).not.toThrow();
  });

  test.each<{ name: string; role: Role; more: string; says: RegExp }>([
    {
      name: "a receiver on disk",
      role: "receiver",
      more: "",
      says: /--role receiver: the intake log is on this machine's disk.*intake\.type to kafka/,
    },
    { name: "a worker on disk", role: "worker", more: "intake: { type: disk }", says: /--role worker/ },
    { name: "a querier on disk", role: "querier", more: "", says: /--role querier/ },
    {
      name: "a compactor that is off",
      role: "compactor",
      more: "compactor: { enabled: false }",
      says: /compactor\.enabled is false/,
    },
  ])("is refused: $name", ({ role, more, says }) => {
    expect(() => checkRole(role, load(more))).toThrow(
      expect.objectContaining({ code: "bad_role", message: expect.stringMatching(says) }),
    );
  });

  test.each([
    { name: "another type", more: "intake: { type: disc }", says: /intake\.type: found "disc", want disk or kafka/ },
    { name: "Kafka without brokers", more: "intake: { type: kafka, topic: t }", says: /intake\.brokers: missing/ },
    { name: "an option of the other", more: "intake: { brokers: [k:1] }", says: /intake: unknown key "brokers"/ },
    {
      name: "a broker without a port",
      more: "intake: { type: kafka, brokers: [k], topic: t }",
      says: /want HOST:PORT/,
    },
  ])("says where the file is wrong: $name", ({ more, says }) => {
    expect(() => load(more)).toThrow(says);
  });
});
