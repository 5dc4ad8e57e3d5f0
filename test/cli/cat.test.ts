import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { register } from "../../src/cli/cat.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { type TestLine, TestStore, testLine } from "../store/support.ts";
import { fakeIo, run } from "./harness.ts";

const SEC = 1_714_554_000; // 2024-05-01T09:00:00Z
const trace = Buffer.from("0af7651916cd43dd8448eb211c80319c", "hex");

function web(text: string | Buffer, more: Partial<TestLine> = {}): TestLine {
  return testLine(text, { labels: { app: "web" }, sec: SEC, ...more });
}

/** One segment with these lines, in the order of their arrival. */
async function segment(lines: readonly TestLine[], options: { block_bytes?: number } = {}): Promise<Buffer> {
  const store = await TestStore.open(new MemoryStore(), options);
  store.append(lines);
  await store.writer.flush(1);
  const [bytes] = await store.segmentBytes();
  return bytes ?? Buffer.alloc(0);
}

describe("weir cat", () => {
  let folder: string;
  let one: string;
  let two: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-cat-"));
    one = join(folder, "one.gz");
    two = join(folder, "two.gz");
    await writeFile(
      one,
      await segment([
        web("third GET /cart 503", { nsec: 3, level: "error", ids: [{ id: trace, at: -1 }, null, null, null] }),
        web("first GET /cart 200", { nsec: 1 }),
        testLine("level=warn took=2s", { labels: { app: "db" }, sec: SEC, nsec: 2 }),
        web(Buffer.from("bytes \xff\x00\r", "latin1"), { nsec: 4 }),
        web("two\nlines", { nsec: 5 }),
      ]),
    );
    await writeFile(two, await segment([web("older, in another file", { sec: SEC - 60 })]));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test("text: every stream in order of time", async () => {
    const { stdout, stderr, exitCode } = await run(register, ["cat", one]);
    expect(stdout.replaceAll("\ufffd", "?").split("\n")).toEqual([
      '2024-05-01T09:00:00.000000002Z {app="db"} level=warn took=2s',
      '2024-05-01T09:00:00.000000001Z {app="web"} first GET /cart 200',
      '2024-05-01T09:00:00.000000003Z {app="web"} third GET /cart 503',
      '2024-05-01T09:00:00.000000004Z {app="web"} bytes ?\0\r',
      '2024-05-01T09:00:00.000000005Z {app="web"} two',
      "lines",
      "",
    ]);
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  });

  test("raw: the same bytes as zcat", async () => {
    const io = fakeIo();
    await run(register, ["cat", "-o", "raw", one], io);
    expect(io.out().equals(gunzipSync(await readFile(one)))).toBe(true);
  });

  test("a selector", async () => {
    const { stdout } = await run(register, ["cat", one, '{app="db"}', "--output", "raw"]);
    expect(stdout).toBe("level=warn took=2s\n");
  });

  test("a line filter, with metadata as json", async () => {
    const { stdout } = await run(register, ["cat", one, '{app="web"} |= "GET" != "200"', "-o", "json"]);
    expect(JSON.parse(stdout)).toEqual({
      time: "2024-05-01T09:00:00.000000003Z",
      labels: { app: "web" },
      metadata: { detected_level: "error", trace_id: "0af7651916cd43dd8448eb211c80319c" },
      line: "third GET /cart 503",
    });
  });

  test("a parser and a filter on what it finds", async () => {
    const { stdout } = await run(register, ["cat", one, '{app=~".+"} | logfmt | took > 1s', "-o", "json"]);
    expect(JSON.parse(stdout)).toMatchObject({ line: "level=warn took=2s", parsed: { level: "warn", took: "2s" } });
  });

  test("several files, one after the other; the query may stand anywhere", async () => {
    const { stdout } = await run(register, ["cat", '{app="web"} |~ "first|older"', one, two, "-o", "raw"]);
    expect(stdout).toBe("first GET /cart 200\nolder, in another file\n");
  });

  test("blocks of a stream that overlap in time are put in order", async () => {
    // Small blocks, times that go up and down, and equal times, whose order of arrival stays.
    const times = Array.from({ length: 3000 }, (_, i) => (i * 7919) % 500);
    const file = join(folder, "overlap.gz");
    const lines = times.map((nsec, i) =>
      web(`${String(nsec).padStart(3, "0")} ${String(i).padStart(5, "0")} ${"x".repeat(20)}`, { nsec }),
    );
    await writeFile(file, await segment(lines, { block_bytes: 4096 }));
    const { stdout } = await run(register, ["cat", file, "-o", "raw"]);
    const got = stdout.trimEnd().split("\n");
    expect(got).toHaveLength(3000);
    expect(got).toEqual(got.toSorted());
  });

  test.each([
    { name: "no segment but gzip", bytes: () => gzipSync("a\nb\n") },
    { name: "no gzip", bytes: () => Buffer.from("a plain file\n") },
  ])("a file that is $name", async ({ bytes }) => {
    const file = join(folder, "odd.gz");
    await writeFile(file, bytes());
    const { stdout, stderr, exitCode } = await run(register, ["cat", file]);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^weir: .*odd\.gz\n$/);
    expect(exitCode).toBe(1);
  });

  test("a damaged block: what stands before it is printed, then the place is named", async () => {
    const file = join(folder, "damaged.gz");
    const bytes = await segment([web("good line"), testLine("z".repeat(2000), { labels: { zone: "b" }, sec: SEC })]);
    const { length } = gunzipSync(bytes);
    expect(length).toBeGreaterThan(2000);
    const at = bytes.indexOf(Buffer.from('{"zone":"b"}'));
    expect(at).toBeGreaterThan(0);
    bytes[at + 3] = (bytes[at + 3] ?? 0) ^ 1;
    await writeFile(file, bytes);
    const { stdout, stderr, exitCode } = await run(register, ["cat", file, "-o", "raw"]);
    expect(stdout).toBe("good line\n");
    expect(stderr).toMatch(/^weir: .* byte \d+ of .*damaged\.gz\n$/);
    expect(exitCode).toBe(1);
  });

  test.each([
    {
      name: "a query that can't be read",
      args: ["FILE", '{app="web"'],
      says: /^weir: parse error at line 1, col \d+: /,
    },
    { name: "a query alone", args: ['{app="web"}'], says: /^weir: no segment file is given, only a query\n$/ },
    { name: "a metric query", args: ["FILE", 'rate({app="web"}[5m])'], says: /^weir: / },
    { name: "no such form", args: ["FILE", "-o", "yaml"], says: /^weir: --output: got "yaml"/ },
    { name: "no such file", args: ["none.gz"], says: /^weir: cannot read none\.gz: ENOENT/ },
  ])("refuses $name", async ({ args, says }) => {
    const ran = await run(register, ["cat", ...args.map((arg) => (arg === "FILE" ? one : arg))]);
    expect(ran.stderr).toMatch(says);
    expect(ran.exitCode).toBe(1);
  });
});
