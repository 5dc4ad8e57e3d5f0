import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const MAIN = fileURLToPath(new URL("../../dist/src/main.js", import.meta.url));
export const QUICKSTART = fileURLToPath(new URL("../../pipelines/quickstart.yaml", import.meta.url));

/** The program as a user runs it: `weir run` in a process of its own, on free ports. */
export class Program {
  readonly child: ChildProcess;
  http = "";
  forward = { host: "", port: 0 };
  stdout = "";
  stderr = "";

  constructor(args: readonly string[], env: Record<string, string> = {}, cwd = ".") {
    this.child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stdout?.on("data", (data: Buffer) => {
      this.stdout += data.toString();
    });
    this.child.stderr?.on("data", (data: Buffer) => {
      this.stderr += data.toString();
    });
  }

  /** Starts `weir run` and waits until it listens. */
  static async run(
    pipeline: string,
    data: string,
    extra: readonly string[] = [],
    env: Record<string, string> = {},
  ): Promise<Program> {
    const places = ["--data", data, "--http", "127.0.0.1:0", "--forward", "127.0.0.1:0"];
    const program = new Program(["run", pipeline, ...places, ...extra], env);
    for (;;) {
      const http = /http:\/\/(127\.0\.0\.1:\d+)/.exec(program.stdout)?.[1];
      const forward = /tcp:\/\/127\.0\.0\.1:(\d+)/.exec(program.stdout)?.[1];
      if (http !== undefined && forward !== undefined) {
        program.http = `http://${http}`;
        program.forward = { host: "127.0.0.1", port: Number(forward) };
        return program;
      }
      if (program.ended) throw new Error(`weir ended early: ${program.stdout}\n${program.stderr}`);
      await sleep(10);
    }
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Resolves to the exit code, or the signal's name. */
  async exit(): Promise<number | string> {
    if (!this.ended) await once(this.child, "exit");
    return this.child.exitCode ?? this.child.signalCode ?? "unknown";
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | string> {
    const exit = this.exit();
    this.child.kill(signal);
    return exit;
  }

  lines(query: string): Promise<string[]> {
    return pagedLines(this.http, query);
  }
}

const PAGE_SIZE = 5000;

/** Whether the workers of all partitions have taken what the intake log has. */
export function isTaken(metrics: string): boolean {
  const lags = [...metrics.matchAll(/^weir_worker_lag_entries\{[^}]*\} (\d+)$/gm)];
  return lags.length > 0 && lags.every(([, entries]) => entries === "0");
}

/** An acknowledged line is durable at once, and in queries when the worker has come to it: waits for that. */
async function whenTaken(http: string): Promise<void> {
  for (;;) {
    const text = await (await fetch(`${http}/metrics`)).text();
    if (isTaken(text)) return;
    await sleep(20);
  }
}

/** All lines that a log query gives, oldest first, however many: pages by time. */
export async function pagedLines(http: string, query: string): Promise<string[]> {
  await whenTaken(http);
  return committedLines(http, query);
}

/** The same, without waiting for anything: what is seen now. */
export async function committedLines(http: string, query: string): Promise<string[]> {
  const lines: string[] = [];
  const end = BigInt(Date.now() + 3_600_000) * 1_000_000n;
  let start = BigInt(Date.now() - 20 * 86_400_000) * 1_000_000n;
  // A page begins at the last time of the page before, since more lines may have that time; those already
  // taken are left out. Lines that stand in a page twice count twice: that is what tests look for.
  let atStart = new Set<string>();
  for (;;) {
    const page = await onePage(http, query, start, end);
    lines.push(...page.filter(({ time, key }) => time !== start || !atStart.has(key)).map(({ line }) => line));
    const last = page[page.length - 1];
    if (last === undefined || page.length < PAGE_SIZE) return lines;
    if (last.time === start) throw new Error(`more than ${PAGE_SIZE} lines have the time ${start}`);
    start = last.time;
    atStart = new Set(page.filter(({ time }) => time === start).map(({ key }) => key));
  }
}

async function onePage(http: string, query: string, start: bigint, end: bigint): Promise<Row[]> {
  const parameters = new URLSearchParams({
    query,
    start: `${start}`,
    end: `${end}`,
    limit: `${PAGE_SIZE}`,
    direction: "forward",
  });
  const response = await fetch(`${http}/loki/api/v1/query_range?${parameters}`);
  if (!response.ok) throw new Error(`query: ${response.status} ${await response.text()}`);
  const body = (await response.json()) as Answer;
  const rows = body.data.result.flatMap(({ stream, values }) =>
    values.map(([time, line]) => ({ time: BigInt(time), line, key: JSON.stringify([stream, time, line]) })),
  );
  return rows.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
}

interface Row {
  readonly time: bigint;
  readonly line: string;
  readonly key: string;
}

interface Answer {
  readonly data: {
    readonly result: readonly {
      readonly stream: Record<string, string>;
      readonly values: readonly [string, string][];
    }[];
  };
}
