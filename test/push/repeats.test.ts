import { afterEach, describe, expect, test } from "vitest";
import { body, NOW_NS, Receive, stream } from "./receive.ts";
import { agoNs, PIPELINE, TestWeir } from "./weir.ts";

const at = (plus: number): string => String(BigInt(NOW_NS) + BigInt(plus));

describe("a repeated line", () => {
  test("is stored once, within a push and over pushes", async () => {
    const receive = new Receive();
    const lines = [
      [at(1), "x"],
      [at(1), "x"],
      [at(2), "x"],
      [at(1), "y"],
      [at(1), "x", { k: "v" }],
      [at(1), "x", { k: "w" }],
    ];
    expect(await receive.json(body(stream({ app: "a" }, ...lines)))).toMatchObject({ status: 204 });
    expect(receive.stored()).toHaveLength(5);
    expect(await receive.json(body(stream({ app: "a" }, ...lines)))).toMatchObject({ status: 204 });
    expect(receive.drafts).toHaveLength(1);
    expect(await receive.json(body(stream({ app: "a" }, [at(2), "x"], [at(3), "new"])))).toMatchObject({ status: 204 });
    expect(receive.stored().at(-1)).toMatchObject({ line: "new" });
    expect(receive.stored()).toHaveLength(6);
    expect(await receive.metric("weir_push_repeated_lines_total")).toMatch(/ 8$/);
  });

  test("is another one in another stream, or of another tenant", async () => {
    const receive = new Receive();
    const push = (app: string, tenant: string) => receive.json(body(stream({ app }, [at(1), "x"])), { tenant });
    for (const [app, tenant] of [
      ["a", "one"],
      ["b", "one"],
      ["a", "two"],
      ["a", "one"],
    ]) {
      expect(await push(app ?? "", tenant ?? "")).toMatchObject({ status: 204 });
    }
    expect(receive.stored()).toHaveLength(3);
  });

  test("counts metadata as the same in any order and after its names were made valid", async () => {
    const receive = new Receive();
    await receive.json(body(stream({ app: "a" }, [at(1), "x", { "a.b": "1", c: "2" }])));
    await receive.json(body(stream({ app: "a" }, [at(1), "x", { c: "2", a_b: "1" }])));
    expect(receive.stored()).toHaveLength(1);
  });

  test("is stored once when it comes many times at once", async () => {
    const receive = new Receive();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        receive.json(body(stream({ app: "a" }, [at(1), "x"], [at(2 + (i % 4)), "y"], [at(100 + i), "own"]))),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([204]));
    const lines = receive.stored().map(({ ns, line }) => `${ns} ${line}`);
    expect(lines).toHaveLength(1 + 4 + 20);
    expect(new Set(lines).size).toBe(lines.length);
  });

  test("is stored by the second push when the first one fails", async () => {
    const receive = new Receive();
    const push = () => receive.json(body(stream({ app: "a" }, [at(1), "x"])));
    const first = push();
    receive.intake.setTrouble("the disk is gone");
    const second = push();
    expect(await first).toMatchObject({ status: 503 });
    receive.intake.setTrouble("");
    const third = await push();
    expect([await second, third].some(({ status }) => status === 204)).toBe(true);
    expect(receive.stored()).toHaveLength(1);
  });
});

describe("after a restart", () => {
  let weir: TestWeir | null = null;
  afterEach(async () => {
    await weir?.close();
    weir = null;
  });

  test.each([
    { name: "in order", drainMs: undefined, yaml: PIPELINE },
    { name: "without a commit", drainMs: 0, yaml: PIPELINE },
    // Files of 64 KiB go as soon as their lines are in the store: what was seen is in `seen-lines` alone.
    {
      name: "with the log gone",
      drainMs: undefined,
      yaml: `${PIPELINE}intake: { file_bytes: 65536, size_max_bytes: 8388608 }\n`,
    },
  ])("$name a repeat is still known", async ({ drainMs, yaml }) => {
    weir = await TestWeir.start(yaml);
    const times = Array.from({ length: 20 }, (_, i) => agoNs(60, i));
    const push = (it: TestWeir, from: number, to: number) =>
      it.push({
        streams: [
          { stream: { app: "a" }, values: times.slice(from, to).map((ns) => [ns, `${ns} ${"x".repeat(10_000)}`]) },
        ],
      });
    for (let i = 0; i < 20; i += 5) expect(await push(weir, i, i + 5)).toMatchObject({ status: 204 });
    const dir = await weir.stop(drainMs);
    weir = await TestWeir.start(yaml, dir);
    expect(await push(weir, 3, 20)).toMatchObject({ status: 204 });
    expect((await weir.rows('{app="a"}')).map(({ ns }) => ns)).toEqual(times);
    expect(await weir.metrics.render()).toMatch(/weir_push_repeated_lines_total\{receiver="push"\} 17/);
  });

  test("only so many are remembered", async () => {
    weir = await TestWeir.start(`${PIPELINE}intake: { seen_lines_max: 3 }\n`);
    const it = weir;
    const push = (i: number) =>
      it.push({ streams: [{ stream: { app: "a" }, values: [[`${BigInt(times) + BigInt(i)}`, "x"]] }] });
    const times = agoNs(60);
    for (const i of [0, 1, 2, 3, 0, 3]) expect(await push(i)).toMatchObject({ status: 204 });
    expect(await it.rows('{app="a"}')).toHaveLength(5);
  });
});
