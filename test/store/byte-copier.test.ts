import { expect, test } from "vitest";
import { ByteCopier } from "../../src/store/byte-copier.ts";
import { Random, SEED } from "../random.ts";

test("copies any bytes, those that look like NaN included, and touches nothing beside them", () => {
  const random = new Random(SEED);
  const copier = new ByteCopier();
  const nans = [
    "ffffffffffffffff",
    "010000000000f07f",
    "010000000000f0ff",
    "000000000000f87f",
    "efbeadde0000f47f",
    "000000000000f07f",
    "0000000000000080",
    "0100000000000000",
  ];
  for (let round = 0; round < 20_000; round++) {
    const source = Buffer.concat([
      random.bytes(random.below(9)),
      Buffer.from(random.pick(nans), "hex"),
      random.bytes(random.below(90)),
      Buffer.from(random.pick(nans), "hex"),
      round % 50 === 0 ? random.bytes(random.below(2000)) : Buffer.alloc(0),
    ]);
    const start = random.below(source.length + 1);
    const end = start + random.below(source.length - start + 1);
    const at = random.below(20);
    const target = Buffer.alloc(at + source.length + 10, 0xaa);
    const want = Buffer.from(target);
    source.copy(want, at, start, end);
    copier.copy(source, start, end, target, new DataView(target.buffer, target.byteOffset, target.length), at);
    expect(target.equals(want), `seed ${SEED} round ${round}`).toBe(true);
  }
});
