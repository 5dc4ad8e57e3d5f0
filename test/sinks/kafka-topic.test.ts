import { describe, expect, test } from "vitest";
import kafka from "../../sinks/kafka.ts";

describe("the Kafka sink's topic", () => {
  const parse = (topic: string) => kafka.options.safeParse({ brokers: ["a:1"], topic });

  test.each(["logs", "logs-{app}", "{tenant}.{app}_{+yyyy-MM-dd}", "{app}", ".{app}", "x".repeat(249)])(
    "may be %s",
    (topic) => {
      expect(parse(topic).error).toBeUndefined();
    },
  );

  test.each([
    ["my topic", "makes no names of topics"],
    ["a\0b", "makes no names of topics"],
    ["logs/{app}", "makes no names of topics"],
    ["logs-{+yyyy/MM}", "makes no names of topics"],
    ["{app}ü", "makes no names of topics"],
    [".", "makes no names of topics"],
    ["..", "makes no names of topics"],
    [`{app}${"x".repeat(249)}`, "makes no names of topics"],
    ["{app", "stands alone"],
    ["", "Too small"],
  ])("may not be %j, whatever the records are", (topic, problem) => {
    const messages = parse(topic).error?.issues.map(({ message }) => message) ?? [];
    expect(messages).toHaveLength(1);
    expect(messages[0]).toContain(problem);
  });
});
