import { describe, expect, test } from "vitest";
import { body, NOW_NS, Receive, stream } from "./receive.ts";

const at = (ns: number): string => String(BigInt(NOW_NS) + BigInt(ns));

/** Times as nanoseconds after NOW_NS, with the line. */
const taken = (receive: Receive): string[] =>
  receive.stored().map(({ ns, line }) => `${BigInt(ns) - BigInt(NOW_NS)} ${line}`);

describe("increment_duplicate_timestamp", () => {
  test.each([
    { name: "lines of one time", lines: ["0 a", "0 b", "0 c"], want: ["0 a", "1 b", "2 c"] },
    { name: "a repeated line is one line", lines: ["0 a", "0 a", "0 b"], want: ["0 a", "1 b"] },
    { name: "a line at the time that another was moved to", lines: ["0 a", "0 b", "1 c"], want: ["0 a", "1 b", "2 c"] },
    { name: "a later time begins anew", lines: ["0 a", "0 b", "5 c", "5 d"], want: ["0 a", "1 b", "5 c", "6 d"] },
    { name: "an earlier time stays", lines: ["5 a", "5 b", "0 c"], want: ["5 a", "6 b", "0 c"] },
    { name: "times that are not neighbours stay", lines: ["0 a", "9 b", "0 c"], want: ["0 a", "9 b", "0 c"] },
    {
      name: "the last nanosecond of a second",
      lines: ["999999999 a", "999999999 b"],
      want: ["999999999 a", "1000000000 b"],
    },
  ])("$name", async ({ lines, want }) => {
    const receive = new Receive({ increment_duplicate_timestamp: true });
    const values = lines.map((text) => [at(Number(text.split(" ")[0])), text.split(" ")[1]]);
    expect(await receive.json(body(stream({ app: "a" }, ...values)))).toMatchObject({ status: 204 });
    expect(taken(receive)).toEqual(want);
    // The same push again is known line by line.
    await receive.json(body(stream({ app: "a" }, ...values)));
    expect(taken(receive)).toEqual(want);
  });

  test("each stream by itself, over all of its objects; a refused line counts for nothing", async () => {
    const receive = new Receive({ increment_duplicate_timestamp: true, max_line_size: 3 });
    await receive.json(
      body(
        stream({ app: "a" }, [at(0), "1"]),
        stream({ app: "b" }, [at(0), "2"]),
        stream({ app: "a" }, [at(0), "too long"], [at(0), "3"]),
      ),
    );
    expect(taken(receive)).toEqual(["0 1", "1 3", "0 2"]);
  });

  test("it is off by default, and a tenant's own matter", async () => {
    const receive = new Receive({ overrides: { own: { increment_duplicate_timestamp: true } } });
    const value = body(stream({ app: "a" }, [at(0), "a"], [at(0), "b"]));
    await receive.json(value, { tenant: "other" });
    await receive.json(value, { tenant: "own" });
    expect(taken(receive)).toEqual(["0 a", "0 b", "0 a", "1 b"]);
  });
});
