import { describe, expect, test } from "vitest";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";
import { checkTopics } from "../../src/roles/check-topics.ts";

const load = (receivers: readonly string[], more = "") =>
  loadConfig(
    `receivers:\n${receivers.map((one, i) => `  r${i}: { type: kafka, ${one} }\n`).join("")}pipelines: { all: { to: [store] } }\n${more}\n`,
    "weir.yaml",
    registries,
    { env: {} },
  );
const LOG = "intake: { type: kafka, brokers: [a:1, b:1], topic: weir-intake }";

describe("receivers of topics", () => {
  test.each<{ name: string; receivers: string[]; more?: string }>([
    {
      name: "with the defaults, beside an intake log in the same Kafka",
      receivers: ["brokers: [a:1], topics: [logs]"],
      more: LOG,
    },
    {
      name: "in groups of their own",
      receivers: ["brokers: [a:1], topics: [x], group: x", "brokers: [a:1], topics: [y], group: y"],
    },
    { name: "in one group of two clusters", receivers: ["brokers: [a:1], topics: [x]", "brokers: [b:1], topics: [y]"] },
    {
      name: "that share all they read",
      receivers: ["brokers: [a:1], topics: [x, y]", "brokers: [a:1], topics: [y, x]"],
    },
    {
      name: "of a topic with the intake log's name in another cluster",
      receivers: ["brokers: [c:1], topics: [weir-intake]"],
      more: LOG,
    },
  ])("are taken: $name", ({ receivers, more }) => {
    expect(() => checkTopics(load(receivers, more))).not.toThrow();
  });

  test.each<{ name: string; receivers: string[]; more?: string; says: RegExp }>([
    {
      name: "different topics in one group",
      receivers: ["brokers: [a:1, c:1], topics: [x]", "brokers: [c:1], topics: [y]"],
      says: /receivers\.r0 and receivers\.r1 read different topics \(x; y\).*"weir-receiver".*give one of them another group/,
    },
    {
      name: "the workers' group",
      receivers: ["brokers: [b:1], topics: [x], group: weir"],
      more: LOG,
      says: /receivers\.r0 and intake read different topics \(x; weir-intake\)/,
    },
    {
      name: "the intake log itself",
      receivers: ["brokers: [b:1], topics: [x, weir-intake]"],
      more: LOG,
      says: /receivers\.r0 reads the topic weir-intake, which is the intake log/,
    },
  ])("are refused: $name", ({ receivers, more, says }) => {
    expect(() => checkTopics(load(receivers, more))).toThrow(
      expect.objectContaining({ code: "bad_receivers", message: expect.stringMatching(says) }),
    );
  });
});
