import { expect, test } from "vitest";
import { HiddenLines } from "../../../src/query/deletes-hide.ts";

const hidden = new HiddenLines({ floorNs: null, cutoffNs: () => null, deletes: [] });
const all = (startNs: bigint, endNs: bigint) => ({ query: '{app="a"}', startNs, endNs });

// Of a block with lines from 100 to 199.
test.each([
  { name: "nothing hidden", fromNs: null, deletes: [], gives: [100n, 199n, 1] },
  { name: "what is before has expired", fromNs: 150n, deletes: [], gives: [150n, 199n, 0.5] },
  { name: "a middle", fromNs: null, deletes: [all(120n, 139n)], gives: [100n, 199n, 0.8] },
  { name: "both ends", fromNs: null, deletes: [all(0n, 109n), all(190n, 500n)], gives: [110n, 189n, 0.8] },
  { name: "one within another", fromNs: null, deletes: [all(110n, 159n), all(120n, 129n)], gives: [100n, 199n, 0.5] },
  { name: "one after another", fromNs: 110n, deletes: [all(150n, 199n), all(100n, 119n)], gives: [120n, 149n, 0.3] },
  { name: "all of it by two", fromNs: null, deletes: [all(0n, 150n), all(151n, 199n)], gives: [100n, 100n, 0] },
  {
    name: "lines by their text",
    fromNs: null,
    deletes: [{ query: '{app="a"} |= "x"', startNs: 0n, endNs: 500n }],
    gives: [100n, 199n, 1],
  },
])("of a block is seen: $name", ({ fromNs, deletes, gives }) => {
  const { timeMinNs, timeMaxNs, part } = hidden.visiblePart({ fromNs, deletes }, 100n, 199n);
  expect([timeMinNs, timeMaxNs, part]).toEqual(gives);
});
