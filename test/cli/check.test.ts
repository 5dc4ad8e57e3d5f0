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
