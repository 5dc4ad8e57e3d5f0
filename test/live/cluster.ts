import { writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Role } from "../../src/roles/role.ts";
import { Program } from "./program.ts";

/** For a start on a machine that has much other work. */
const UP_MS = 240_000;

export interface ClusterPlaces {
  /** A temporary folder of the test's own. */
  readonly folder: string;
  readonly brokers: readonly string[];
  readonly topic: string;
  /** Folder or URL of the store. */
  readonly store: string;
  /** More receivers, each a line: `name: { type: … }`. */
  readonly receivers?: readonly string[];
  /** More lines of the pipeline file. */
  readonly more?: string;
  /** Sinks that records go to. */
  readonly to?: readonly string[];
  /** Options of the intake section. */
  readonly intake?: string;
  readonly flushAgeMs?: number;
  readonly args?: readonly string[];
}

/** Short times, so that a member that was killed or paused is missed soon. */
const INTAKE =
  "session_timeout_ms: 3000, handover_timeout_ms: 4000, request_timeout_ms: 3000, connect_timeout_ms: 2000";

/** One process with a role, on a free port. */
export class Member {
  readonly role: Role;
  readonly program: Program;
  http = "";
  forward = { host: "", port: 0 };

  private constructor(role: Role, program: Program) {
    this.role = role;
    this.program = program;
  }

  /** Starts it, and waits until it listens; and until it is ready, unless `whenReady` is false. */
  static async start(places: ClusterPlaces, role: Role, name: string, whenReady = true): Promise<Member> {
    const {
      folder,
      brokers,
      topic,
      store,
      receivers = [],
      more = "",
      to = ["store"],
      intake = INTAKE,
      flushAgeMs = 500,
      args = [],
    } = places;
    const file = path.join(folder, "weir.yaml");
    writeFileSync(
      file,
      `receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:0"] }
${receivers.map((one) => `  ${one}\n`).join("")}pipelines:
  all: { steps: [trace, level, { labels: { tag: $tag } }], to: [${to.join(", ")}] }
intake: { type: kafka, brokers: [${brokers.map((one) => JSON.stringify(one)).join(", ")}], topic: ${topic}, ${intake} }
store: { flush_age_ms: ${flushAgeMs} }
query: { threads: 1 }
compactor: { interval_ms: 1000 }
http: { listen: "127.0.0.1:0" }
log_level: info
${more}
`,
    );
    const program = new Program([
      "run",
      file,
      "--role",
      role,
      "--data",
      path.join(folder, name),
      "--store",
      store,
      ...args,
    ]);
    const member = new Member(role, program);
    const until = Date.now() + UP_MS;
    for (;;) {
      const http = /http:\/\/(127\.0\.0\.1:\d+)/.exec(program.stdout)?.[1];
      if (http !== undefined && program.stdout.endsWith("\n\n")) {
        member.http = `http://${http}`;
        const port = /tcp:\/\/127\.0\.0\.1:(\d+)/.exec(program.stdout)?.[1];
        if (port !== undefined) member.forward = { host: "127.0.0.1", port: Number(port) };
        break;
      }
      if (program.ended) throw new Error(`${role} ended early: ${program.stdout}\n${program.stderr}`);
      if (Date.now() > until) throw new Error(`${role} does not listen: ${program.stdout}\n${program.stderr}`);
      await sleep(10);
    }
    if (whenReady) await member.whenReady();
    return member;
  }

  async whenReady(ready = true): Promise<void> {
    const until = Date.now() + UP_MS;
    let said = "";
    while (Date.now() < until) {
      const answer = await fetch(`${this.http}/ready`).catch(() => null);
      said = (await answer?.text()) ?? "";
      if (answer?.ok === ready) return;
      if (this.program.ended) break;
      await sleep(50);
    }
    throw new Error(`${this.role}: want ready ${ready}, it says ${said}\n${this.program.stderr}`);
  }

  /** A metric's value, summed over its labels; 0 without it. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.http}/metrics`)).text();
    let sum = 0;
    for (const [, value] of text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([\\d.e+-]+)$`, "gm")))
      sum += Number(value);
    return sum;
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | string> {
    return this.program.kill(signal);
  }

  /** Stops it as a machine that hangs: it holds its connections and says nothing. */
  pause(): void {
    this.program.child.kill("SIGSTOP");
  }
  resume(): void {
    this.program.child.kill("SIGCONT");
  }
}
