import { describe, expect, test } from "vitest";
import { didYouMean, editDistance } from "../../src/config/suggest.ts";

describe("editDistance", () => {
  test.each([
    ["", "", 0],
    ["abc", "abc", 0],
    ["abc", "", 3],
    ["abc", "abd", 1],
    ["abc", "ac", 1],
    ["abc", "acb", 1],
    ["kitten", "sitting", 3],
  ])("%j to %j: %i", (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  });
});

describe("didYouMean", () => {
  const known = ["labels", "level", "listen", "timeout_ms", "to"];

  test.each([
    { name: "lables", guess: "labels" },
    { name: "Level", guess: "level" },
    { name: "timeout", guess: undefined },
    { name: "timeoutms", guess: "timeout_ms" },
    { name: "zzz", guess: undefined },
    { name: "x", guess: undefined },
    { name: "labels".repeat(50), guess: undefined },
  ])("$name: $guess", ({ name, guess }) => {
    expect(didYouMean(name, known)).toBe(guess === undefined ? "" : `, did you mean "${guess}"?`);
  });
});
