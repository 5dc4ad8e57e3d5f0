import { describe, expect, test } from "vitest";
import { type VolumeRequest, Volumes } from "../../src/api/volumes.ts";
import type { BlockSum } from "../../src/query/engine.ts";

const SECOND = 1_000_000_000n;
const request: VolumeRequest = {
  ...{ startNs: 0n, endNs: 100n * SECOND, stepNs: 20n * SECOND, limit: 10 },
  ...{ by: ["b", "a"], mustHaveAll: true, names: false },
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
  test("no bucket without a whole byte, and no series without a bucket", () => {
    const volumes = new Volumes(request);
    volumes.add(block(10n * SECOND, 20n * SECOND, 129));
    expect(volumes.matrix()).toEqual({
      resultType: "vector",
      result: [{ metric: { a: "1", b: "2" }, value: [19.999, "128"] }],
    });
    const spread = new Volumes(request);
    spread.add(block(0n, 100n * SECOND, 3));
    expect(spread.matrix()).toEqual({ resultType: "vector", result: [] });
  });

  test("labels are sorted, whatever the order in which they were asked for", () => {
    const volumes = new Volumes(request);
    volumes.add(block(10n * SECOND, 11n * SECOND, 5));
    expect(JSON.stringify(volumes.vector())).toContain('"metric":{"a":"1","b":"2"}');
  });
});
