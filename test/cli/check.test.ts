import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadPipeline, register } from "../../src/cli/check.ts";
import { SETTINGS } from "../../src/cli/settings.ts";
import { fakeIo, run } from "./harness.ts";

const GOOD = `receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:\${env:PORT:-24224}"] }
pipelines:
  web:
    match: "**"
    steps: [trace, level]
    to: [store]
`;

describe("weir check", () => {
  let folder: string;
  let good: string;
  let bad: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-check-"));
    good = join(folder, "good.yaml");
    bad = join(folder, "bad.yaml");
    await writeFile(good, GOOD);
    await writeFile(bad, GOOD.replace("level]", "levle]").replace("to: [store]", "to: [stroe]"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test("a file that is fine", async () => {
    expect(await run(register, ["check", good])).toEqual({
      stdout: `${good}: ok (receivers: forward, push, otlp; pipelines: web; sinks: store)\n`,
      stderr: "",
      exitCode: 0,
    });
  });

  test("every error with file, line and column; the other files are checked too", async () => {
    const { stdout, exitCode } = await run(register, ["check", bad, good]);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(`${bad}:6:20  pipelines.web.steps[1]`);
    expect(lines[0]).toContain('did you mean "level"');
    expect(lines[1]).toMatch(`${bad}:7:10  pipelines.web.to[0]`);
    expect(lines[2]).toContain(": ok (");
    expect(exitCode).toBe(1);
  });

  test("the environment that the file names", async () => {
    const { exitCode, stdout } = await run(register, ["check", good], fakeIo({ env: { PORT: "x" } }));
    expect(stdout).toContain(`${good}:2:`);
    expect(exitCode).toBe(1);
  });

  test("a file that is not there", async () => {
    const { exitCode, stdout } = await run(register, ["check", join(folder, "none.yaml")]);
    expect(stdout).toMatch(/^cannot read the pipeline file .*none\.yaml: ENOENT/);
    expect(exitCode).toBe(1);
  });

  /** What is said about a file with these steps, its own name left out. */
  async function saysOf(text: string): Promise<string[]> {
    const file = join(folder, "some.yaml");
    await writeFile(file, text);
    const { stdout } = await run(register, ["check", file]);
    return stdout.replaceAll(file, "f").trimEnd().split("\n");
  }
  const HEAD = 'receivers:\n  in: { type: forward, listen: ["tcp://127.0.0.1:0"] }\npipelines:\n  p:\n';
  const OK = "f: ok (receivers: in, push, otlp; pipelines: p; sinks: store)";

  test.each([
    {
      name: "a parser's name in the place of its step's options",
      steps: "- parse: json",
      says: 'parse: found "json", want a map of options: with, from, keep_line, time, line_bytes_max, parse_error',
    },
    {
      name: "a pattern in the place of a parser's options, told once",
      steps: "- parse: { with: { regex: x } }",
      says: 'parse.with.regex: found "x", want a map of options: pattern, line_length_max',
    },
    {
      name: "a list of labels",
      steps: "- labels: [app]",
      says: "labels: found a list, want a map of names, each with its value behind it",
    },
    {
      name: "no space behind a colon",
      steps: "- labels: { app:kubernetes.app }",
      says: 'labels["app:kubernetes.app"]: found nothing, want text or a list or a map (a ":" wants a space behind it)',
    },
  ])("says what was wanted instead of $name", async ({ steps, says }) => {
    expect(await saysOf(`${HEAD}    steps:\n      ${steps}\n`)).toEqual([
      expect.stringMatching(/^f:6:\d+ {2}pipelines\.p\.steps\[0\]\./),
    ]);
    expect((await saysOf(`${HEAD}    steps:\n      ${steps}\n`))[0]).toContain(`steps[0].${says}`);
  });

  test("a step that is indented too far, steps that are too little", async () => {
    expect(await saysOf(`${HEAD}    steps:\n      - trace\n       - level\n`)).toEqual([
      'f:6:9  pipelines.p.steps[0]: found "trace - level", want one step: each "- " has to stand right below the one before',
    ]);
    expect(await saysOf(`${HEAD}  steps:\n    - trace\n`)).toEqual([
      "f:5:3  pipelines.steps: this is an option of a pipeline, but stands where pipelines do: put it below a pipeline's name, two columns further in",
    ]);
  });

  test("warns of labels of ids, and of paths into labels that have dots", async () => {
    const steps = (text: string) => saysOf(`${HEAD}    steps:\n      - ${text}\n`);
    expect(await steps("labels: { a: $line }")).toEqual([expect.stringContaining("labels.a: $line differs"), OK]);
    const many =
      /^f: warning: f:6:\d+ {2}pipelines\.p\.steps\[0\]\.labels\.[ab](\[1\])?: \S+ differs from record to record/;
    expect(await steps("labels: { a: trace_id, b: [x, fields.request_id] }")).toEqual([
      expect.stringMatching(many),
      expect.stringMatching(many),
      OK,
    ]);
    const dots = expect.stringContaining(
      'a: labels of Kubernetes are not nested, so kubernetes.labels.app.kubernetes.io/name leads to nothing: a name with dots in it is written kubernetes.labels["app.kubernetes.io/name"]',
    );
    expect(await steps("labels: { a: kubernetes.labels.app.kubernetes.io/name }")).toEqual([dots, OK]);
    expect(await steps("metadata: { a: kubernetes.labels.app.kubernetes.io/name, b: trace_id }")).toEqual([dots, OK]);
    const fine = `labels: { a: 'kubernetes.labels["app.kubernetes.io/name"]', b: kubernetes.labels.app, c: tid }`;
    expect(await steps(fine)).toEqual([OK]);
  });

  test("two names that become one", async () => {
    for (const step of ["labels", "metadata"]) {
      expect(await saysOf(`${HEAD}    steps:\n      - ${step}: { my-app: a, b: c, my_app: d }\n`)).toEqual([
        `f:6:${step.length + 38}  pipelines.p.steps[0].${step}.my_app: found "d": this and "my-app" are both stored as my_app: leave one out`,
      ]);
    }
  });

  test("two receivers of one address", async () => {
    const two = (a: string, b: string) =>
      saysOf(
        `receivers:\n  in: { type: forward, listen: [${a}] }\n  b: { type: forward, listen: [${b}] }\npipelines:\n  p: {}\n`,
      );
    const ok = [OK.replace("in,", "in, b,")];
    expect(await two("tcp://127.0.0.1:0", "tcp://127.0.0.1:0")).toEqual(ok);
    expect(await two("tcp://127.0.0.1:1, tcp://127.0.0.1:3", "tcp://127.0.0.1:2")).toEqual(ok);
    expect(await two('"tcp://[::1]:1"', '"tls://[::1]:1"')).toEqual([expect.stringContaining("tls: missing")]);
    expect(await two("tcp://a", "unix:///s, tcp://a:24224")).toEqual([
      "f:3:3  receivers.b: the address a:24224 is taken already, by in",
    ]);
    expect(await two("unix:///s", "unix:///s")).toEqual([
      "f:3:3  receivers.b: the address unix:///s is taken already, by in",
    ]);
  });

  test("pipelines/quickstart.yaml", async () => {
    expect(await run(register, ["check", "pipelines/quickstart.yaml"])).toMatchObject({ exitCode: 0, stderr: "" });
  });

  const VALUES: Record<string, string> = {
    "s3-endpoint": "http://127.0.0.1:9000",
    "s3-region": "eu-central-1",
    http: "0.0.0.0:1",
    forward: "0.0.0.0:2",
    "shared-key": "1234",
    "tls-cert": "a.pem",
    "tls-key": "b.pem",
    "receive-memory": "1048576",
    "intake-size": "1048577",
    workers: "3",
    intake: "kafka",
    "kafka-brokers": "kafka-1:9092,kafka-2:9092",
    "kafka-topic": "weir-intake",
    "flush-age": "1234",
    "store-memory": "1048578",
    "query-threads": "3",
    queriers: "querier-1:3101,http://10.0.0.7:3101",
    "querier-listen": "127.0.0.1:3101",
    "querier-key": "abcd",
    "log-level": "warn",
  };

  /** Settings that make sense together only. */
  const TOGETHER = [
    ["tls-cert", "tls-key"],
    ["intake", "kafka-brokers", "kafka-topic"],
  ];

  test.each(SETTINGS.filter(({ path }) => path !== null))(
    "--$flag reaches the option that it names",
    async ({ flag, path, toValue }) => {
      const value = VALUES[flag] ?? "";
      const overrides = (TOGETHER.find((flags) => flags.includes(flag)) ?? [flag]).map((name) => {
        const setting = SETTINGS.find((other) => other.flag === name);
        const text = VALUES[name] ?? "";
        return { path: setting?.path ?? "", value: setting?.toValue?.(text) ?? text, source: `--${name}` };
      });
      const config = await loadPipeline(good, { overrides });
      const document = {
        ...config.sections,
        log_level: config.log_level,
        receivers: Object.fromEntries(config.receivers.map(({ type, options }) => [`@${type}`, options])),
      };
      const found = (path ?? "")
        .split(".")
        .reduce<unknown>((part, key) => (part as Record<string, unknown>)[key], document);
      const wanted = toValue?.(value) ?? value;
      expect(typeof found === "number" ? String(found) : found).toEqual(wanted);
    },
  );

  test("a setting that can't be is named by its flag", async () => {
    await expect(
      loadPipeline(good, { overrides: [{ path: "http.listen", value: "nowhere", source: "--http" }] }),
    ).rejects.toThrow(/^--http {2}http\.listen: /);
  });
});
