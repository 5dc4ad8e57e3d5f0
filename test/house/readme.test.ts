import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isTaken } from "../live/program.ts";
import { ROOT, read } from "./files.ts";

/*
 * Runs what the README shows, as a user would, on the built program, and compares the output: times, rates and ports
 * aside. `UPDATE_README=1 npx vitest run test/house/readme.test.ts` writes the output that it got into the README.
 */

interface Shown {
  readonly command: string;
  readonly output: string;
}

/** The commands of the README's `console` blocks: what follows `$ `, and the lines after it. */
function shownIn(markdown: string): Shown[] {
  return [...markdown.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap((block) =>
    (block[1] ?? "")
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const end = part.indexOf("\n");
        return { command: part.slice(0, end), output: part.slice(end + 1) };
      }),
  );
}

/** Times of today (the sample's own are of 2024), rates, and the random end of a segment's name become one text each. */
function masked(text: string): string {
  return text
    .replace(/\b20(?:2[5-9]|[3-9]\d)-\d\d-\d\dT[\d:.]+Z/g, "<time>")
    .replace(/"time_ns":"\d+"|"\d{19}"/g, "<time>")
    .replace(/in [\d.]+ s \([\d,]+ lines\/s\)/g, "in <time> (<rate>)");
}

const DEFAULT_HTTP = "http://127.0.0.1:3100";
const DEFAULT_FORWARD = "tcp://127.0.0.1:24224";

describe("README.md", () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-readme-"));
  const shown = shownIn(read("README.md"));
  const actual: Shown[] = [];
  let server: ChildProcess;
  let banner = "";
  let metrics = "";
  let exit: Promise<unknown>;
  let http = "";
  let forward = "";

  beforeAll(async () => {
    // A folder that looks like a checkout, and an `npx` that runs the built program of this one.
    for (const name of ["bin", "dist", "pipelines", "deploy", "README.md"])
      symlinkSync(join(ROOT, name), join(folder, name));
    mkdirSync(join(folder, "path"));
    const npx = join(folder, "path", "npx");
    writeFileSync(npx, `#!/bin/sh\nshift\nexec "${process.execPath}" "${join(ROOT, "bin/weir.js")}" "$@"\n`);
    chmodSync(npx, 0o755);

    // `npm start`, but on free ports, for which there are settings.
    const { scripts } = JSON.parse(read("package.json")) as { scripts: { start: string } };
    server = spawn("sh", ["-c", `exec ${scripts.start}`], {
      cwd: folder,
      env: { ...process.env, WEIR_HTTP: "127.0.0.1:0", WEIR_FORWARD: "127.0.0.1:0" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    exit = once(server, "exit");
    server.stdout?.on("data", (data: Buffer) => {
      banner += data.toString();
    });
    while (!banner.includes("--since 1h") && server.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 10));
    http = /http:\/\/127\.0\.0\.1:\d+/.exec(banner)?.[0] ?? "";
    forward = /tcp:\/\/127\.0\.0\.1:\d+/.exec(banner)?.[0] ?? "";

    for (const { command } of shown) actual.push({ command, output: await outputOf(command) });
    if (process.env.UPDATE_README === "1") update(actual);
  }, 600_000);

  afterAll(async () => {
    if (server.exitCode === null && server.kill("SIGKILL")) await exit;
    rmSync(folder, { recursive: true });
  });

  async function outputOf(command: string): Promise<string> {
    // What was acknowledged is in queries a moment later.
    while (server.exitCode === null && !isTaken(await (await fetch(`${http}/metrics`)).text()))
      await new Promise((resolve) => setTimeout(resolve, 20));
    if (command === "npm ci && npm start") return asDefault(banner);
    if (command.startsWith("zcat ") && server.exitCode === null) {
      // The README stops the server here, and a stop writes what is in memory to a segment.
      metrics = await (await fetch(`${http}/metrics`)).text();
      server.kill("SIGINT");
      await exit;
    }
    const env = {
      ...process.env,
      PATH: `${join(folder, "path")}:${process.env.PATH}`,
      WEIR_URL: http,
      WEIR_TO: forward,
    };
    const script = command.replaceAll(DEFAULT_HTTP, http);
    if (command.startsWith("npx weir tail")) return `${await untilFirstLine(script, env)}^C\n`;
    const { stdout } = await promisify(execFile)("bash", ["-o", "pipefail", "-c", script], { cwd: folder, env });
    return stdout;
  }

  /** Follows until a line has come, and ends it with Ctrl-C, which must be exit code 0. */
  async function untilFirstLine(script: string, env: NodeJS.ProcessEnv): Promise<string> {
    const child = spawn("bash", ["-c", `exec ${script}`], { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit");
    let text = "";
    child.stdout.on("data", (data: Buffer) => {
      text += data.toString();
    });
    while (!text.includes("\n") && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill("SIGINT");
    expect(await ended).toEqual([0, null]);
    return text;
  }

  /** The banner as it is on the default ports. */
  function asDefault(text: string): string {
    const [shownPart = ""] = text.split("\n\n\n");
    return `${shownPart
      .replaceAll(` --to ${forward}`, "")
      .replaceAll(` --url ${http}`, "")
      .replaceAll(http, DEFAULT_HTTP)
      .replaceAll(forward, DEFAULT_FORWARD)
      .trimEnd()}\n`;
  }

  function update(got: readonly Shown[]): void {
    let i = 0;
    const text = read("README.md").replace(/^```console\n([\s\S]*?)^```$/gm, (block) => {
      const count = shownIn(block).length;
      const body = got.slice(i, i + count).map(({ command, output }) => `$ ${command}\n${output}`);
      i += count;
      return `\`\`\`console\n${body.join("")}\`\`\``;
    });
    writeFileSync(join(ROOT, "README.md"), text);
  }

  test("has commands to run", () => {
    expect(shown.map(({ command }) => command.split(" ").slice(0, 3).join(" "))).toEqual([
      "npm ci &&",
      "npx weir send",
      "npx weir query",
      "npx weir query",
      "curl -s -H",
      "npx weir tail",
      "zcat data/store/segments/*/*/*.gz |",
      "npx weir cat",
    ]);
  });

  test.each(shown.map(({ command }, place) => ({ command, place })))("$command", ({ place }) => {
    expect(actual[place]?.output.trim()).not.toBe("");
    expect(masked(actual[place]?.output ?? "")).toBe(masked(shown[place]?.output ?? ""));
  });

  test("the server ended with exit code 0", () => {
    expect(server.exitCode).toBe(0);
  });

  test("the examples of docs/operations.md read the segments without Weir", async () => {
    const section = /## Reading segments without Weir\n([\s\S]*?)\n## /.exec(read("docs/operations.md"))?.[1] ?? "";
    const code = (language: string) =>
      new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "m").exec(section)?.[1] ?? "";
    const lines = read("deploy/fluent-bit/sample.log").trimEnd().split("\n");
    const refused = lines.filter((line) => line.includes("connection refused"));
    expect(refused.length).toBeGreaterThan(5);

    const [zcat = "", zgrep = ""] = code("sh").trimEnd().split("\n");
    const run = (file: string, args: string[]) => promisify(execFile)(file, args, { cwd: folder });
    expect((await run("bash", ["-c", zcat])).stdout.trimEnd().split("\n")).toEqual(refused);
    expect((await run("bash", ["-c", zgrep])).stdout.trim()).toBe(
      String(lines.filter((line) => line.includes("ERROR")).length),
    );
    expect((await run("python3", ["-c", code("python")])).stdout.trimEnd().split("\n")).toEqual(refused);
  });

  test("the metrics that it has are those of docs/operations.md", () => {
    const running = [...metrics.matchAll(/^# TYPE (weir_\w+)/gm)].map((match) => match[1]);
    const documented = [...read("docs/operations.md").matchAll(/^\| `(weir_\w+)/gm)].map((match) => match[1]);
    expect(running.length).toBeGreaterThan(20);
    expect(documented.toSorted()).toEqual(running.toSorted());
  });

  test("its Fluent Bit configuration asks Weir's port for acknowledgements", () => {
    const output = /^```\n(\[OUTPUT\]\n[\s\S]*?)^```$/m.exec(read("README.md"))?.[1] ?? "";
    const settings = Object.fromEntries(
      [...output.matchAll(/^ {4}(\S+) +(.+)$/gm)].map((match) => [match[1]?.toLowerCase(), match[2]]),
    );
    expect(settings).toMatchObject({
      name: "forward",
      port: new URL(DEFAULT_FORWARD).port,
      require_ack_response: "on",
    });
  });
});
