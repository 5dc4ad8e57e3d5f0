import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { addSettings, misspeltVariables, readSettings, SETTINGS } from "../../src/cli/settings.ts";
import { read } from "../house/files.ts";

function settingsOf(argv: string[], env: Record<string, string> = {}) {
  const command = addSettings(new Command("run")).exitOverride();
  command.parse(argv, { from: "user" });
  return readSettings(command, env);
}

describe("settings", () => {
  const help = addSettings(new Command("run").configureHelp({ helpWidth: 1000 })).helpInformation();
  const operations = read("docs/operations.md");

  test.each(SETTINGS)("--$flag is in the help and in docs/operations.md", ({ flag, value, env, path }) => {
    const line = help.split("\n").find((text) => text.includes(`--${flag} <${value}>`)) ?? "";
    expect(line).toContain(env);
    const row = operations.split("\n").find((text) => text.startsWith(`| \`--${flag} ${value}\` |`)) ?? "";
    expect(row).toContain(`\`${env}\``);
    if (path !== null) {
      expect(line).toContain(path.replace("@", "<").replace(/<(\w+)/, "<$1>"));
      expect(row).toContain(path.replace(/@(\w+)/, "<$1>"));
    }
  });

  test("names are used once each", () => {
    for (const key of ["flag", "env", "path"] as const) {
      const values = SETTINGS.map((setting) => setting[key]).filter((value) => value !== null);
      expect(new Set(values).size).toBe(values.length);
    }
  });

  test("nothing set", () => {
    expect(settingsOf([])).toEqual({ role: "all", data: "data", store: null, overrides: [] });
  });

  test("a flag goes before its variable", () => {
    expect(settingsOf(["--http", "a:1", "--data", "/d"], { WEIR_HTTP: "b:2", WEIR_DATA: "/e" })).toEqual({
      role: "all",
      data: "/d",
      store: null,
      overrides: [{ path: "http.listen", value: "a:1", source: "--http" }],
    });
  });

  test("a variable alone, and an empty one", () => {
    expect(settingsOf([], { WEIR_HTTP: "b:2", WEIR_DATA: "/e", WEIR_STORE: "file:///s", WEIR_LOG_LEVEL: "" })).toEqual({
      role: "all",
      data: "/e",
      store: "file:///s",
      overrides: [{ path: "http.listen", value: "b:2", source: "WEIR_HTTP" }],
    });
  });

  test("a role, and one that there is not", () => {
    expect(settingsOf(["--role", "worker"], { WEIR_ROLE: "querier" }).role).toBe("worker");
    expect(() => settingsOf([], { WEIR_ROLE: "reader" })).toThrow(/got "reader", want one of all, receiver, worker/);
  });

  test("brokers of Kafka", () => {
    expect(settingsOf(["--kafka-brokers", "a:1, b:2"]).overrides).toEqual([
      { path: "intake.brokers", value: ["a:1", "b:2"], source: "--kafka-brokers" },
    ]);
  });

  test("an empty flag is meant: the empty shared key", () => {
    expect(settingsOf(["--shared-key", ""], { WEIR_SHARED_KEY: "x" }).overrides).toEqual([
      { path: "receivers.@forward.shared_key", value: "", source: "--shared-key" },
    ]);
  });

  test.each([
    { text: "0.0.0.0:24224", urls: ["tcp://0.0.0.0:24224"] },
    { text: "[::1]:24224", urls: ["tcp://[::1]:24224"] },
    { text: "tls://h:1, unix:///run/w.sock,h:2", urls: ["tls://h:1", "unix:///run/w.sock", "tcp://h:2"] },
  ])("--forward $text", ({ text, urls }) => {
    expect(settingsOf(["--forward", text]).overrides).toEqual([
      { path: "receivers.@forward.listen", value: urls, source: "--forward" },
    ]);
  });

  test("a variable that is nearly a setting is complained of", () => {
    const known = Object.fromEntries(SETTINGS.map(({ env }) => [env, "x"]));
    const service = { WEIR_SERVICE_HOST: "10.0.0.1", WEIR_PORT: "tcp://10.0.0.1:3100", WEIR_PORT_3100_TCP: "x" };
    const others = { WEIR_URL: "x", WEIR_REGION_OF_MY_OWN: "x", WEIR_KAFKA_LIBS: "x", WEIR_TEST_SEED: "1", HTTP: "x" };
    expect(misspeltVariables({ ...known, ...service, ...others })).toEqual([]);
    expect(misspeltVariables({ WEIR_STOER: "s3://logs", WEIR_FLUSHAGE: "1", weir_data: "x" })).toEqual([
      'the environment variable WEIR_STOER means nothing to Weir, did you mean "WEIR_STORE"?',
      'the environment variable WEIR_FLUSHAGE means nothing to Weir, did you mean "WEIR_FLUSH_AGE"?',
      'the environment variable weir_data means nothing to Weir, did you mean "WEIR_DATA"?',
    ]);
  });
});
