import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { z } from "zod";
import * as cat from "../../src/cli/cat.ts";
import * as check from "../../src/cli/check.ts";
import * as compact from "../../src/cli/compact.ts";
import * as dead from "../../src/cli/dead.ts";
import * as query from "../../src/cli/query.ts";
import * as rebuild from "../../src/cli/rebuild.ts";
import { registries } from "../../src/cli/registries.ts";
import * as run from "../../src/cli/run.ts";
import * as send from "../../src/cli/send.ts";
import { SETTINGS } from "../../src/cli/settings.ts";
import * as tail from "../../src/cli/tail.ts";
import * as verify from "../../src/cli/verify.ts";
import { loadConfig } from "../../src/config/load.ts";
import { fakeIo } from "../cli/harness.ts";
import { filesEndingIn, ROOT, read } from "./files.ts";

/*
 * What the pages name has to be there: metrics, environment variables, commands and their flags, options, paths of the API, files,
 * messages; and each example of a pipeline file has to be one. What is there has to be named, as far as somebody who runs Weir needs it.
 */

const PAGES = ["README.md", "CHANGELOG.md", ...filesEndingIn(["docs"], ".md")];
const pages = PAGES.map((page) => ({ page, text: read(page) }));
const allPages = pages.map(({ text }) => text).join("\n");
const CODE = filesEndingIn(["src", "sinks", "parsers"], ".ts").map(read).join("\n");

/** Everything that stands in code, by page: spans and lines of fences. */
function codeOf(text: string): string[] {
  const fences = [...text.matchAll(/^[ ]*```\w*\n([\s\S]*?)^[ ]*```$/gm)].flatMap(([, body]) =>
    // A command goes on behind a backslash.
    body.replace(/\\\n\s*/g, " ").split("\n"),
  );
  const spans = [...text.replace(/^[ ]*```\w*\n[\s\S]*?^[ ]*```$/gm, "").matchAll(/`([^`\n]+)`/g)].map(
    ([, span]) => span,
  );
  return [...fences, ...spans];
}

function named(pattern: RegExp, text: string): string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? match[0]))].sort();
}

/** What of `names` is not among `known`; an empty list is what a test wants. */
const unknown = (names: readonly string[], known: readonly string[]) => names.filter((name) => !known.includes(name));

const pipelines = named(/\bcounter\("((?!weir_)\w+)", "/g, read("src/pipeline/metrics.ts")).map(
  (name) => `weir_pipeline_${name}_total`,
);
const declared = [...named(/\b(?:counter|gauge|histogram)\(\s*"(weir_\w+)"/g, CODE), ...pipelines];

describe("metrics", () => {
  /** Names of other kinds: a header of messages, and a program in an example. */
  const OTHERS = ["weir_id", "weir_read"];

  test("are found", () => {
    expect(declared.length).toBeGreaterThan(100);
    expect(pipelines).toContain("weir_pipeline_records_total");
  });

  test("that the pages name are there", () => {
    const names = named(/\bweir_[a-z0-9_]+/g, allPages).map((name) => name.replace(/_(?:bucket|sum|count)$/, ""));
    expect(unknown(names, [...declared, ...OTHERS])).toEqual([]);
  });

  test("that are there stand in the pages", () => {
    expect(unknown(declared, named(/\bweir_[a-z0-9_]+/g, allPages))).toEqual([]);
  });
});

describe("alerts", () => {
  const rules = z
    .object({
      groups: z.array(
        z.object({
          rules: z.array(
            z.strictObject({
              alert: z.string().regex(/^Weir[A-Z]/),
              expr: z.string(),
              for: z
                .string()
                .regex(/^\d+m$/)
                .optional(),
              labels: z.strictObject({ severity: z.enum(["page", "ticket"]) }),
              annotations: z.strictObject({ summary: z.string() }),
            }),
          ),
        }),
      ),
    })
    .parse(parse(read("deploy/prometheus/weir.rules.yaml")))
    .groups.flatMap(({ rules }) => rules);

  test.each(rules)("$alert asks for metrics that are there, and stands in docs/operations.md", ({ alert, expr }) => {
    const names = named(/\b[a-z]+_[a-z0-9_]+/g, expr.replace(/"[^"]*"/g, ""));
    expect(names.length).toBeGreaterThan(0);
    expect(unknown(names, [...declared, "process_start_time_seconds"])).toEqual([]);
    expect(read("docs/operations.md")).toContain(`\`${alert}\``);
  });

  test("that docs/operations.md has are there", () => {
    const shown = named(/`(Weir[A-Z]\w+)`/g, read("docs/operations.md"));
    expect(
      unknown(
        shown,
        rules.map(({ alert }) => alert),
      ),
    ).toEqual([]);
  });
});

describe("environment variables", () => {
  /** They are the tests' own, and the page says so where it names them. */
  const OF_TESTS = ["WEIR_FIRE_LINES"];

  test("that the pages name are there, and the other way round", () => {
    const used = named(/\bWEIR_[A-Z0-9_]+\b/g, CODE);
    const shown = named(/\bWEIR_[A-Z0-9_]+\b/g, allPages);
    expect(unknown(shown, [...used, ...OF_TESTS])).toEqual([]);
    expect(unknown(used, shown)).toEqual([]);
  });

  test("of a deployment stand in docs/operations.md with their flags and places in the file", () => {
    for (const { flag, env, path } of SETTINGS) {
      const row =
        read("docs/operations.md")
          .split("\n")
          .find((line) => new RegExp(`^\\| \`--${flag} [A-Z]{2}`).test(line)) ?? "";
      expect(row, flag).toContain(`\`${env}\``);
      if (path !== null) expect(row).toContain(`\`${path.replace("@forward", "<forward>")}\``);
    }
  });
});

describe("commands", () => {
  const program = new Command("weir");
  for (const { register } of [run, send, query, tail, cat, check, compact, verify, rebuild, dead])
    register(program, fakeIo());

  /** The command that `words` begin with, such as `dead list`, and the words after it. */
  function find(words: readonly string[]): { command: Command | undefined; rest: readonly string[] } {
    let command = program.commands.find((one) => one.name() === words[0]);
    let at = 1;
    while (command !== undefined && command.commands.length > 0 && at < words.length) {
      command = command.commands.find((one) => one.name() === words[at]);
      at++;
    }
    return { command, rest: words.slice(at) };
  }

  const lines = pages.flatMap(({ page, text }) =>
    codeOf(text).flatMap((code) => {
      const words = /^(?:.*\| )?(?:\$ )?(?:[A-Z_]+=\S+ )*(?:npx )?weir ((?:[a-z]|--).*)$/.exec(
        code.trim().replace(/ {2,}#.*| # .*/, ""),
      )?.[1];
      // What stands in quotes is one word, and none of them a flag.
      return words === undefined ? [] : [{ page, words: words.replace(/'[^']*'|"[^"]*"/g, "TEXT") }];
    }),
  );

  test("are found", () => {
    expect(lines.length).toBeGreaterThan(40);
  });

  test.each(lines)("$page: weir $words", ({ words }) => {
    const [line = ""] = words.split(/ [|>&] ?/);
    const { command, rest } = find(line.split(/\s+/));
    if (line.startsWith("help") || line.startsWith("--")) return;
    expect(command, "is a command").toBeDefined();
    const flags = rest.flatMap((word) => /^--?[a-z][a-z0-9-]*/.exec(word)?.[0] ?? []);
    const known = command?.options.flatMap(({ long, short }) => [long ?? "", short ?? ""]) ?? [];
    expect(unknown(flags, [...known, "--help"])).toEqual([]);
  });

  test("flags that stand alone are some command's", () => {
    const known = [...program.commands, ...program.commands.flatMap(({ commands }) => commands)].flatMap(
      ({ options }) => options.map(({ long }) => long ?? ""),
    );
    const alone = named(/`(--[a-z][a-z0-9-]*)[^`]*`/g, allPages);
    expect(alone.length).toBeGreaterThan(20);
    // Of Node, of npm, and of LogQL's parsers.
    const OTHERS = [
      "--ignore-scripts",
      "--initial-old-space-size",
      "--enable-experimental-regexp-engine-on-excessive-backtracks",
      "--strict",
      "--keep-empty",
    ];
    expect(unknown(alone, [...known, ...OTHERS])).toEqual([]);
  });
});

describe("options", () => {
  const reference = read("docs/configuration.md");
  const sections = named(/^## (\w+) settings$/gm, reference);
  const optionsOf = (section: string) =>
    named(/^\| `([\w.]+)(?:\[\])?` \|/gm, reference.split(`## ${section} settings`)[1]?.split("\n## ")[0] ?? "");
  /** `limits.x` is also an option of receivers. */
  const ofReceivers = named(/^\| `(limits\.\w+)` \|/gm, reference);
  const mentions = pages
    .filter(({ page }) => page !== "docs/configuration.md")
    .flatMap(({ page, text }) =>
      named(new RegExp(`\`((?:${sections.join("|")})\\.\\w[\\w.]*)(?::[^\`]*)?\``, "g"), text).map((option) => ({
        page,
        option,
      })),
    )
    // Settings of Kafka's topics, and a file.
    .filter(({ option }) => !/^(?:retention\.(?:ms|bytes)|\w+\.yaml)$/.test(option));

  test("are found", () => {
    expect(sections.length).toBeGreaterThan(10);
    expect(mentions.length).toBeGreaterThan(60);
  });

  test.each(mentions)("$page: $option", ({ option }) => {
    const [section = "", ...rest] = option.split(".");
    expect([...optionsOf(section), ...ofReceivers.map((name) => name.slice(7))]).toContain(rest.join("."));
  });
});

describe("examples of pipeline files", () => {
  const SECTIONS = [
    "receivers",
    "pipelines",
    "sinks",
    "x-\\w+",
    ...named(/^## (\w+) settings$/gm, read("docs/configuration.md")),
  ];
  const isPipelineFile = new RegExp(`^(?:#.*\\n|\\s*\\n)*(?:${SECTIONS.join("|")}):`);
  // Ends of lines that stand in a list are indented.
  const examples = pages.flatMap(({ page, text }) =>
    [...text.matchAll(/^( *)```yaml\n([\s\S]*?)^ *```$/gm)].flatMap(([, indent = "", body = ""], i) => {
      const yaml = body.replace(new RegExp(`^${indent}`, "gm"), "");
      // A sink alone, as it stands below `sinks`.
      const whole = /^ {2}\w+:\n {4}type: /.test(yaml) ? `sinks:\n${yaml}` : yaml;
      // Vector and others have sections of these names as well, with what Weir doesn't know.
      return isPipelineFile.test(whole) && !whole.includes("inputs: [") ? [{ page, number: i + 1, yaml: whole }] : [];
    }),
  );

  test("are found", () => {
    expect(examples.length).toBeGreaterThan(14);
  });

  test.each(examples)("$page, number $number", ({ page, yaml }) => {
    const has = (section: string) => new RegExp(`^${section}:`, "m").test(yaml);
    const receivers = has("receivers") ? [] : [stringify({ receivers: { in: { type: "forward" } } })];
    const sinks = named(/^ {2}(\w+):(?: |$)/gm, yaml.split(/^sinks:\n/m)[1] ?? "");
    const pipelines = has("pipelines")
      ? []
      : [stringify({ pipelines: { all: sinks.length === 0 ? {} : { to: sinks } } })];
    const env = { KAFKA_PASSWORD: "secret" };
    const { warnings } = loadConfig([...receivers, ...pipelines, yaml].join("\n"), page, registries, { env });
    expect(warnings).toEqual([]);
  });
});

describe("paths", () => {
  test("of the API are there", () => {
    const routes = named(
      /["'`](\/(?:loki|api|otlp|prometheus|ready|metrics|config|services|log_level|flush)\b[\w/:.-]*)/g,
      CODE,
    );
    const shown = named(
      /(?:\b(?:GET|POST|PUT|DELETE) |127\.0\.0\.1:3100|`)(\/(?:loki|api|otlp|prometheus|ready|metrics)\b[\w/<>.-]*)/g,
      allPages,
    );
    expect(shown.length).toBeGreaterThan(12);
    // `<name>` and an id in an example stand for a parameter; a path that ends in a slash for all below it.
    const fits = (path: string) =>
      routes.some((route) => {
        const pattern = route.replace(/:\w+/g, "[^/]+").replace(/\/$/, "/[^/]*");
        return new RegExp(`^${pattern}$`).test(path) || (path.endsWith("/") && route.startsWith(path));
      });
    expect(shown.filter((path) => !fits(path))).toEqual([]);
  });

  test("of the project are there", () => {
    const FOLDERS = "src|test|bench|pipelines|parsers|sinks|deploy|bin";
    const shown = named(new RegExp(`(?:^|[\\s\`(])((?:${FOLDERS})/[\\w./-]*\\w)`, "gm"), allPages);
    expect(shown.length).toBeGreaterThan(20);
    // Made-up names in examples of messages.
    const OTHERS = ["pipelines/web.yaml", "pipelines/x.yaml"];
    expect(shown.filter((path) => !OTHERS.includes(path) && !existsSync(join(ROOT, path)))).toEqual([]);
    const compiled = named(/\bdist\/([\w/.-]+)\.js\b/g, allPages);
    expect(compiled.filter((path) => !existsSync(join(ROOT, `${path}.ts`)))).toEqual([]);
  });
});

describe("messages of the table of troubles", () => {
  const table = /\nBy message:\n([\s\S]*)$/.exec(read("docs/operations.md"))?.[1] ?? "";
  const rows = [...table.matchAll(/^\| (.*?) \| /gm)]
    .slice(1)
    .flatMap(([, cell = ""]) => [...cell.matchAll(/`([^`]+)`/g)]);
  /** Texts that are put together from parts, and the part that says it. */
  const PUT_TOGETHER: Record<string, string> = {
    "is in use by process": "is in use by",
    "got byte 0x16 (TLS? this listener is plain)": "(TLS? this listener is plain)",
    "metrics are acknowledged and dropped, as only logs are stored":
      "are acknowledged and dropped, as only logs are stored",
  };
  /** Names and numbers stand for any; what is left has to be in the code, piece by piece. */
  const pieces = (message: string) =>
    message
      .split(/…|\b\d+(?:\.\d+)*(?::\d+)*\b|https?:\/\/\S*|tcp:\/\/\S*|^\S+(?= {2})|http\.listen: found|E[A-Z]{5,}/)
      .map((piece) => piece.replace(/^[\s:,;]+|[\s:,;]+$/g, ""))
      .filter((piece) => piece.length > 6);
  const messages = rows
    .map(([, message = ""]) => message)
    .filter((message) => !message.startsWith("weir ") && pieces(message).length > 0);

  test("are found", () => {
    expect(messages.length).toBeGreaterThan(20);
  });

  test.each(messages)("%s", (message) => {
    for (const piece of pieces(message)) expect(CODE).toContain(PUT_TOGETHER[piece] ?? piece);
  });
});
