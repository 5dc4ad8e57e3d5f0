import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Labels } from "../../src/core/labels.ts";
import { labelFilter, mayHoldLabels } from "../../src/store/label-filter.ts";

const filterOf = (streams: readonly Labels[]) => labelFilter(streams.map((labels) => ({ labels })));
const has = (filter: Uint8Array | null, name: string, ...values: string[]) => mayHoldLabels(filter, [{ name, values }]);

describe("a label filter", () => {
  test("never denies a label that a stream has", () => {
    const labels = fc.dictionary(fc.constantFrom("app", "env", "pod", "ž"), fc.string({ maxLength: 5 }));
    fc.assert(
      fc.property(fc.array(labels, { minLength: 1, maxLength: 30 }), (streams) => {
        const filter = filterOf(streams);
        for (const stream of streams) {
          const wanted = Object.keys(stream).map((name) => ({ name, values: ["absent", stream[name]] }));
          expect(mayHoldLabels(filter, wanted)).toBe(true);
        }
      }),
    );
  });

  test("lets about 1 in 100 absent ones pass", () => {
    const filter = filterOf(Array.from({ length: 1000 }, (_, i) => ({ app: `app-${i}` })));
    expect(filter.length).toBe(1 + 1250);
    const passed = Array.from({ length: 10_000 }, (_, i) => has(filter, "app", `other-${i}`)).filter(Boolean).length;
    expect(passed).toBeGreaterThan(10);
    expect(passed).toBeLessThan(200);
  });

  test("stays within 4 KiB and sharp for names with few values, whatever others have", () => {
    const filter = filterOf(Array.from({ length: 20_000 }, (_, i) => ({ app: `app-${i % 50}`, pod: `pod-${i}` })));
    expect(filter.length).toBeLessThan(100);
    expect(has(filter, "pod", "pod-1")).toBe(true);
    expect(has(filter, "pod", "no such pod")).toBe(true);
    expect(has(filter, "app", "app-49")).toBe(true);
    const passed = Array.from({ length: 1000 }, (_, i) => has(filter, "app", `other-${i}`)).filter(Boolean).length;
    expect(passed).toBeLessThan(50);
    const names = filterOf([Object.fromEntries(Array.from({ length: 9000 }, (_, i) => [`name${i}`, "x"]))]);
    expect(names.length).toBe(4096);
    expect(has(names, "name8999", "x")).toBe(true);
  });

  test.each([
    {
      name: "all of several labels",
      wanted: [
        { name: "app", values: ["web"] },
        { name: "env", values: ["dev"] },
      ],
      is: false,
    },
    { name: "one of several values", wanted: [{ name: "app", values: ["db", "web"] }], is: true },
    { name: "no value", wanted: [{ name: "app", values: ["db"] }], is: false },
    { name: "a name that nothing has", wanted: [{ name: "zone", values: ["a"] }], is: false },
    { name: "an absent label", wanted: [{ name: "zone", values: [""] }], is: true },
    { name: "nothing", wanted: [], is: true },
  ])("asked for $name", ({ wanted, is }) => {
    expect(mayHoldLabels(filterOf([{ app: "web", env: "prod" }]), wanted)).toBe(is);
    expect(mayHoldLabels(null, wanted)).toBe(true);
  });

  test("has the bits that docs/format.md says", () => {
    expect(filterOf([{ app: "web" }]).toString("hex")).toBe(referenceFilter(["app=web"], 8));
  });
});

/** As the page says, in plain numbers. */
function referenceFilter(entries: readonly string[], bytes: number): string {
  const bits = Array.from({ length: bytes * 8 }, () => 0);
  const u32 = (n: bigint) => n & 0xffffffffn;
  const mix = (h: bigint) => {
    h = u32((h ^ (h >> 16n)) * 0x85ebca6bn);
    h = u32((h ^ (h >> 13n)) * 0xc2b2ae35n);
    return h ^ (h >> 16n);
  };
  for (const entry of entries) {
    let f = 0x811c9dc5n;
    for (const byte of Buffer.from(entry)) f = u32((f ^ BigInt(byte)) * 0x01000193n);
    const h = mix(f);
    const g = mix(u32(f + 0x9e3779b9n)) | 1n;
    for (let i = 0n; i < 7n; i++) bits[Number((u32(h + i * g) * BigInt(bytes * 8)) >> 32n)] = 1;
  }
  const out = Buffer.alloc(1 + bytes);
  out[0] = 7;
  bits.forEach((bit, b) => {
    out[1 + (b >> 3)] |= bit << (b & 7);
  });
  return out.toString("hex");
}
