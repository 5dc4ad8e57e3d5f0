import { describe, expect, test } from "vitest";
import { type VolumeRequest, Volumes } from "../../src/api/volumes.ts";
import type { BlockSum } from "../../src/query/engine.ts";

const SECOND = 1_000_000_000n;
const request: VolumeRequest = {
  ...{ startNs: 0n, endNs: 100n * SECOND, stepNs: 20n * SECOND, limit: 10 },
  ...{ by: ["b", "a"], mustHaveAll: true, names: false, bytesMax: 1 << 20 },
};
const dataOf = async (volumes: Volumes): Promise<unknown> => {
  const { data } = JSON.parse([...(await volumes.answer())].join("")) as { data: { stats: unknown } };
  expect(data.stats).toEqual({});
  return { ...data, stats: undefined };
};
const block = (from: bigint, to: bigint, textBytes: number): BlockSum => ({
  ...{
    labels: { a: "1", b: "2", c: "3" },
    canonical: '{"a":"1","b":"2","c":"3"}',
    rows: 1,
    textBytes,
    metadataBytes: 0,
  },
  ...{ timeMinNs: from, timeMaxNs: to },
});

describe("volumes", () => {
  test("no bucket without a whole byte, and no series without a bucket", async () => {
    const volumes = new Volumes(request);
    volumes.add(block(10n * SECOND, 20n * SECOND, 129));
    expect(await dataOf(volumes)).toEqual({
      resultType: "vector",
      result: [{ metric: { a: "1", b: "2" }, value: [19.999, "128"] }],
    });
    const spread = new Volumes(request);
    spread.add(block(0n, 100n * SECOND, 3));
    expect(await dataOf(spread)).toEqual({ resultType: "vector", result: [] });
  });

  test("labels are sorted, whatever the order in which they were asked for", async () => {
    const volumes = new Volumes({ ...request, stepNs: null });
    volumes.add(block(10n * SECOND, 11n * SECOND, 5));
    expect([...(await volumes.answer())].join("")).toBe(
      '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1","b":"2"},"value":[100,"4"]}],"stats":{}}}\n',
    );
  });

  test("buckets of a block add up to it, however long it is and whatever the step", async () => {
    for (const stepNs of [1n, 7n, SECOND, 3n * SECOND, 1000n * SECOND]) {
      const endNs = stepNs < SECOND ? 100n : 100n * SECOND;
      const volumes = new Volumes({ ...request, endNs, stepNs });
      volumes.add(block(-endNs, endNs - 1n, 2_000_001));
      volumes.add(block(endNs / 2n, 2n * endNs - 1n, 4_000_001));
      volumes.add(block(2n * endNs, 3n * endNs, 9_000_001));
      volumes.add(block(-endNs, -1n, 9_000_001));
      const { result } = (await dataOf(volumes)) as {
        result: { values?: [number, string][]; value?: [number, string] }[];
      };
      expect(result).toHaveLength(1);
      const values = result[0].values ?? [result[0].value];
      const sum = values.reduce((bytes, one) => bytes + Number(one?.[1]), 0);
      expect(Math.abs(sum - (1_000_000 + (4_000_000 * 100) / 300))).toBeLessThan(values.length + 1);
    }
  });

  test("take no more memory than they may, by buckets and by groups", async () => {
    const buckets = new Volumes({ ...request, endNs: 11_000n * SECOND, stepNs: SECOND });
    buckets.add(block(0n, 10_000n * SECOND, 1e9));
    const other = { ...block(0n, 10_000n * SECOND, 1e9), labels: { a: "2", b: "2" }, canonical: "2" };
    expect(() => buckets.add(other)).toThrow(
      /^the volumes need too much memory \(got: \d+B, limit: 1048576B\); consider fewer labels or streams, a larger step, or a shorter time range$/,
    );
    const groups = new Volumes({ ...request, stepNs: null, by: null, mustHaveAll: false });
    expect(() => {
      for (let i = 0; i < 3000; i++) {
        groups.add({ ...block(0n, 1n, 1e9), labels: { pod: `pod-${i}` }, canonical: `${i}` });
      }
    }).toThrow("the volumes need too much memory");
  });
});
