import { describe, expect, test } from "vitest";
import { partitionOf } from "../../src/intake/partition-of.ts";

describe("the partition of an entry", () => {
  test("is always the same for one source", () => {
    const entry = { tenant: "fake", origin: "10.0.0.7 kube.app" };
    for (const partitions of [1, 2, 3, 16]) {
      const partition = partitionOf(entry, partitions);
      expect(partition).toBeGreaterThanOrEqual(0);
      expect(partition).toBeLessThan(partitions);
      expect(partitionOf({ ...entry }, partitions)).toBe(partition);
    }
  });

  test("is another for another tenant's source of the same name, somewhere", () => {
    const of = (tenant: string) => Array.from({ length: 50 }, (_, i) => partitionOf({ tenant, origin: `s${i}` }, 8));
    expect(of("a")).not.toEqual(of("b"));
  });

  test.each([2, 3, 7, 16])("spreads many sources evenly over %i", (partitions) => {
    const counts = new Array<number>(partitions).fill(0);
    const sources = 400 * partitions;
    for (let i = 0; i < sources; i++) {
      counts[
        partitionOf(
          { tenant: "fake", origin: `10.0.${i >> 8}.${i & 255} kube.var.log.containers.web-${i}` },
          partitions,
        )
      ]++;
    }
    // A binomial with mean 400 is out of these bounds once in many millions of trials; the sources are always the same.
    for (const count of counts) {
      expect(count).toBeGreaterThan(300);
      expect(count).toBeLessThan(500);
    }
  });

  test("of an entry without a source is one of them", () => {
    expect(partitionOf({ tenant: "fake" }, 4)).toBe(partitionOf({ tenant: "fake", origin: "" }, 4));
  });
});
