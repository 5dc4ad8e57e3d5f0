import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../bin/weir.js", import.meta.url));
/** What is measured unless a bench says otherwise. */
export const PIPELINE = fileURLToPath(new URL("../../pipelines/quickstart.yaml", import.meta.url));
/** The options of Node that the program's first line has. */
function nodeFlags(): string[] {
  const [first] = readFileSync(MAIN, "utf8").split("\n", 1);
  return first.split(" ").filter((word) => word.startsWith("--"));
}

/** Ticks a second of /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS = 100;

/** A Weir process under measurement, on free ports and a folder of its own. Linux: reads /proc. */
export class BenchServer {
  readonly http: string;
  /** "" for a role that receives nothing. */
  readonly forward: string;
  /** Where other queriers may ask; "" for nowhere. */
  readonly queriers: string;
  private readonly child: ChildProcess;
  private cpu = 0;
  private peak = 0;

  private constructor(child: ChildProcess, banner: string) {
    this.child = child;
    this.http = /http:\/\/([\d.]+:\d+)/.exec(banner)?.[1] ?? "";
    this.forward = /tcp:\/\/([\d.]+:\d+)/.exec(banner)?.[1] ?? "";
    this.queriers = /queriers +([\d.]+:\d+)/.exec(banner)?.[1] ?? "";
  }

  static async start(data: string, extra: readonly string[] = [], pipeline = PIPELINE): Promise<BenchServer> {
    const child = spawn(
      process.execPath,
      [
        ...nodeFlags(),
        MAIN,
        "run",
        pipeline,
        "--data",
        data,
        "--http",
        "127.0.0.1:0",
        "--forward",
        "127.0.0.1:0",
        "--log-level",
        "warn",
        ...extra,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    for (;;) {
      if (text.endsWith("\n\n")) return new BenchServer(child, text);
      if (child.exitCode !== null) throw new Error(`weir ended with code ${child.exitCode}: ${text}`);
      await sleep(20);
    }
  }

  /** CPU seconds (user and system) that the process has used so far. */
  cpuSeconds(): number {
    try {
      this.cpu = cpuSecondsOf(this.child.pid);
      this.peak =
        Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${this.child.pid}/status`, "utf8"))?.[1] ?? this.peak / 1024) *
        1024;
    } catch (error) {
      // The process is gone between two looks: what was read last stands.
      if (this.child.exitCode === null && this.child.signalCode === null) throw error;
    }
    return this.cpu;
  }

  /** The most memory that was resident at once, in bytes. */
  peakRssBytes(): number {
    this.cpuSeconds();
    return this.peak;
  }

  /** The sum over all labels; NaN when there is no such metric. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`http://${this.http}/metrics`)).text();
    const lines = text.split("\n").filter((l) => l.startsWith(`${name} `) || l.startsWith(`${name}{`));
    if (lines.length === 0) return Number.NaN;
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
  }

  /** Waits until the worker has taken every entry of the intake log. */
  async whenTaken(): Promise<void> {
    while ((await this.metric("weir_worker_lag_entries")) > 0) await sleep(50);
  }

  /** SIGTERM, and CPU seconds until the end. Rejects when the exit code is not 0. */
  async stop(): Promise<number> {
    const ended = once(this.child, "exit");
    this.child.kill("SIGTERM");
    while (this.child.exitCode === null && this.child.signalCode === null) {
      this.cpuSeconds();
      await sleep(10);
    }
    await ended;
    if (this.child.exitCode !== 0) throw new Error(`weir ended with ${this.child.exitCode ?? this.child.signalCode}`);
    return this.cpu;
  }
}

/** CPU seconds (user and system) that a process has used so far. Throws when there is none with that number. */
export function cpuSecondsOf(pid: number | undefined): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Bytes of all files below a folder. */
export function folderBytes(folder: string): number {
  let sum = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) sum += statSync(path.join(entry.parentPath, entry.name)).size;
  }
  return sum;
}
