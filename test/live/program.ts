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
  private readonly closed: Promise<unknown>;

  constructor(args: readonly string[], env: Record<string, string> = {}, cwd = ".") {
    this.child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    // Not its exit: what it has said may come after that.
    this.closed = once(this.child, "close");
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
      // Its last line is an empty one; before that a port may be half there.
      if (http !== undefined && forward !== undefined && program.stdout.endsWith("\n\n")) {
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

  /** Resolves to the exit code, or the signal's name, when all that it said is there. */
  async exit(): Promise<number | string> {
    await this.closed;
    return this.child.exitCode ?? this.child.signalCode ?? "unknown";
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | string> {
    const exit = this.exit();
    this.child.kill(signal);
    return exit;
  }

  /** `count`: how many there should be. */
  lines(query: string, count = 0): Promise<string[]> {
    return pagedLines(this.http, query, count);
  }
}

const PAGE_SIZE = 5000;
/** How long lines may take that should be there. */
const ARRIVAL_MS = 120_000;

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

/**
 * All lines that a log query gives, oldest first, however many: pages by time. Waits until there are `count`, or it is in vain: of a worker
 * that is too busy to answer, the metrics say what it said last.
 */
export async function pagedLines(http: string, query: string, count = 0): Promise<string[]> {
  for (const end = Date.now() + ARRIVAL_MS; ; ) {
    await whenTaken(http);
    const lines = await committedLines(http, query);
    if (lines.length >= count || Date.now() > end) return lines;
    await sleep(100);
  }
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
