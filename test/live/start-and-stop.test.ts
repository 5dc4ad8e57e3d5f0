import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Agent } from "./agent.ts";
import { Program, QUICKSTART } from "./program.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "weir-start-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const data = () => path.join(folder, "data");

describe("weir run", () => {
  test("says where it listens, where data goes, and what to try first", async () => {
    const program = await Program.run(QUICKSTART, data());
    try {
      expect(program.stdout).toContain(`tcp://127.0.0.1:${program.forward.port}`);
      expect(program.stdout).toContain(program.http);
      expect(program.stdout).toContain(data());
      expect(program.stdout).toContain("npx weir send");
      expect(await (await fetch(`${program.http}/ready`)).text()).toBe("ready\n");
    } finally {
      expect(await program.kill("SIGTERM")).toBe(0);
    }
  });

  test("runs the pipeline that came with it, where nobody names one", async () => {
    const program = new Program(["run", ...onFreePorts()], {}, folder);
    while (!program.stdout.endsWith("\n\n") && !program.ended) await sleep(10);
    expect(program.stdout).toContain(`  pipeline   ${QUICKSTART}\n`);
    expect(await program.kill("SIGTERM")).toBe(0);
  });

  /** Ends with a code that is not 0, and one clear line. */
  async function refusal(args: readonly string[], env: Record<string, string> = {}): Promise<string> {
    const program = new Program(["run", ...args], env);
    expect(await program.exit()).toBe(1);
    const lines = program.stderr.trim().split("\n");
    expect(lines, program.stderr).toHaveLength(1);
    return lines[0];
  }

  const onFreePorts = () => [
    "--data",
    data(),
    "--http",
    "127.0.0.1:0",
    "--forward",
    "127.0.0.1:0",
    "--log-level",
    "error",
  ];

  test.each(["--http", "--forward"])("says which address is in use: %s", async (flag) => {
    const taken = net.createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as net.AddressInfo;
    try {
      expect(await refusal([QUICKSTART, ...onFreePorts(), flag, `127.0.0.1:${port}`])).toMatch(
        new RegExp(`^weir: .*127\\.0\\.0\\.1:${port}.*in use`),
      );
    } finally {
      taken.close();
    }
  });

  test("says which folder it can't write", async () => {
    writeFileSync(data(), "a file where the folder should be");
    expect(await refusal([QUICKSTART, ...onFreePorts()])).toContain(data());
  });

  // Where nobody can make a folder, not even root. Other systems than Linux have no such place in common.
  test.each(["/proc/weir", "/dev/null/weir"].filter(() => existsSync("/proc/self")))(
    "says that it can't make the folder %s",
    async (folder) => {
      const line = await refusal([QUICKSTART, ...onFreePorts(), "--data", folder]);
      expect(line).toMatch(/^weir: can't use the folder /);
      expect(line).toContain(folder);
    },
  );

  test("says that another process has the folder", async () => {
    const first = await Program.run(QUICKSTART, data());
    try {
      expect(await refusal([QUICKSTART, ...onFreePorts()])).toContain(path.join(data(), "intake"));
    } finally {
      await first.kill("SIGTERM");
    }
  });

  test.each(["--data", "--store"])(
    "takes no empty text for a folder, as a shell makes of a variable that is not set: %s",
    async (flag) => {
      expect(await refusal([QUICKSTART, ...onFreePorts(), flag, ""])).toMatch(
        new RegExp(`^weir: ${flag}: got an empty text`),
      );
    },
  );

  test("names a bucket that can't be one as it was written", async () => {
    const line = await refusal([QUICKSTART, ...onFreePorts(), "--store", "s3://x"]);
    expect(line).toMatch(/^weir: object store "s3:\/\/x": the bucket's name "x" is not/);
  });

  test("stops in order when its terminal is closed", async () => {
    const program = await Program.run(QUICKSTART, data());
    expect(await program.kill("SIGHUP")).toBe(0);
    expect(program.stdout).toContain("Stopping");
  });

  test("says what is wrong in the YAML, and where", async () => {
    const file = path.join(folder, "bad.yaml");
    writeFileSync(file, "receivers: { f: { type: forward } }\npipelines: { a: { steps: [parze] } }\n");
    expect(await refusal([file, ...onFreePorts()])).toMatch(
      /bad\.yaml:2:27 {2}pipelines\.a\.steps\[0\]: unknown step "parze"/,
    );
  });

  test("takes settings from flags before the environment, and from that before the file", async () => {
    const file = path.join(folder, "p.yaml");
    writeFileSync(
      file,
      'receivers: { f: { type: forward } }\npipelines: { a: {} }\nhttp: { listen: "127.0.0.1:1" }\nlog_level: fatal\n',
    );
    const program = new Program(["run", file, "--forward", "127.0.0.1:0"], {
      WEIR_DATA: data(),
      WEIR_HTTP: "127.0.0.1:0",
      WEIR_FORWARD: "127.0.0.1:1",
    });
    while (!program.stdout.endsWith("\n\n") && !program.ended) await sleep(10);
    expect(program.stderr).toBe("");
    expect(await program.kill("SIGTERM")).toBe(0);
  });

  test("exits at once at the second signal, and has lost nothing at the next start", async () => {
    const program = await Program.run(QUICKSTART, data());
    let running = program;
    const agent = new Agent("agent", "twice", () => running.forward);
    agent.start();
    await sleep(500);
    program.child.kill("SIGTERM");
    program.child.kill("SIGINT");
    const code = await program.exit();
    // Either the first had finished by then, or the second cut it short.
    expect([0, 130, 143]).toContain(code);
    const again = await Program.run(QUICKSTART, data());
    running = again;
    await agent.finish();
    const { acknowledged } = agent;
    expect((await again.lines('{tag="twice"}', acknowledged.length)).toSorted()).toEqual(acknowledged.toSorted());
    expect(await again.kill("SIGINT")).toBe(0);
  });
});
