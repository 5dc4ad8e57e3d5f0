import { describe, expect, test } from "vitest";
import { lineShape } from "../../src/roles/line-shape.ts";
import { Random } from "../random.ts";

describe("the shape of a line", () => {
  test.each([
    ["took 12 ms for 10.0.0.7:8080", "took <n> ms for <n>.<n>.<n>.<n>:<n>"],
    ["took 12ms on web12", "took <n>ms on web<n>"],
    ["2026-01-02T03:04:05.123Z started", "<n>-<n>-<id>:<n>:<n>.<n>Z started"],
    ["trace 0af7651916cd43dd8448eb211c80319c", "trace <id>"],
    ["at 0xdeadBEEF and 0x1f", "at <id> and <id>"],
    ["user 550e8400-e29b-41d4-a716-446655440000 left", "user <id> left"],
    ["user abcdefab-abcd-abcd-abcd-abcdefabcdef left", "user <id> left"],
    ["pod nginx-7d4b9c6f5-x2x9z", "pod nginx-<id>-<id>"],
    ["deadbeef is a word, cafe too", "deadbeef is a word, cafe too"],
    ['no such file "/etc/a b"', 'no such file "<*>"'],
    ['{"level":"error","code":500,"msg":"a \\" b"}', '{"level":"<*>","code":<n>,"msg":"<*>"}'],
    ["open 'x' failed, can't go on, isn't it", "open '<*>' failed, can't go on, isn't it"],
    ['an "open quote', 'an "open quote'],
    ["", ""],
    ["grüße 😀 7", "grüße 😀 <n>"],
  ])("of %j is %j", (line, shape) => {
    expect(lineShape(line)).toBe(shape);
  });

  test("is the same for lines that differ in what is folded, and another for others", () => {
    expect(lineShape('GET /a/17 "x" 200')).toBe(lineShape('GET /a/9 "yz" 404'));
    expect(lineShape("GET /a")).not.toBe(lineShape("GET /b"));
  });

  test("is bounded, and costs no more than the line is long", () => {
    const random = new Random();
    const parts = ['"', "'", "\\", "a", "7", "f", "-", " ", "é", "deadbee7", ":", "0x"];
    for (let i = 0; i < 500; i++) {
      const line = Array.from({ length: random.below(3000) }, () => parts[random.below(parts.length)]).join("");
      const shape = lineShape(line);
      expect(shape.length).toBeLessThanOrEqual(256);
      expect(shape).not.toMatch(/[0-9]/);
    }
    for (const part of ['"', '"\\', "'a ", "0x", "a1-"])
      expect(lineShape(part.repeat(500_000)).length).toBeLessThanOrEqual(256);
  });
});
