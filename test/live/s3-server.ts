import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./free-port.ts";

/** The program of an S3 server (versitygw), where test/live/servers/prepare.sh has built one. */
export const S3_PROGRAM = process.env.WEIR_VERSITYGW ?? "";
export const S3_SKIPPED = "no S3 server: build one with test/live/servers/prepare.sh and set WEIR_VERSITYGW";

export const ACCESS_KEY = "weirtest";
export const SECRET_KEY = "weirtest-secret";
export const BUCKET = "weir-test";

/** For a process that is to use the server. */
export const S3_KEYS = { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY } as const;

/** A real S3 server on a free port of this machine, with its data in a temporary folder and one empty bucket. */
export class S3Server {
  readonly port: number;
  child: ChildProcess;
  private readonly folder: string;
  private output = "";

  private constructor(port: number) {
    this.port = port;
    this.folder = mkdtempSync(path.join(os.tmpdir(), "weir-s3-"));
    mkdirSync(path.join(this.folder, "data", BUCKET), { recursive: true });
    this.child = this.spawn();
  }

  private spawn(): ChildProcess {
    const child = spawn(
      S3_PROGRAM,
      ["--port", `127.0.0.1:${this.port}`, "--quiet", "posix", path.join(this.folder, "data")],
      {
        cwd: this.folder,
        env: { PATH: process.env.PATH, HOME: this.folder, ROOT_ACCESS_KEY: ACCESS_KEY, ROOT_SECRET_KEY: SECRET_KEY },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    child.stdout?.on("data", (data: Buffer) => this.keep(data));
    child.stderr?.on("data", (data: Buffer) => this.keep(data));
    return child;
  }

  static async start(): Promise<S3Server> {
    // Another process may take the port between the look and the start; then there is another one.
    for (let tries = 0; ; tries++) {
      const server = new S3Server(await freePort());
      try {
        await server.whenUp();
        return server;
      } catch (error) {
        await server.stop();
        if (tries >= 2) throw error;
      }
    }
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** A folder on disk that holds the bucket's objects as files. */
  get bucketFolder(): string {
    return path.join(this.folder, "data", BUCKET);
  }

  /** Ends it at once. Its data stay. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exit;
  }

  /** Starts it again after `kill`, on the same port and data. */
  async restart(): Promise<void> {
    this.child = this.spawn();
    await this.whenUp();
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private keep(data: Buffer): void {
    this.output = (this.output + data.toString()).slice(-4000);
  }

  private async whenUp(): Promise<void> {
    const deadline = Date.now() + 120_000;
    while (Date.now() < deadline) {
      if (this.child.exitCode !== null) break;
      // Any answer will do: a request without a signature is refused.
      const answer = await fetch(this.endpoint).catch(() => null);
      await answer?.body?.cancel();
      if (answer !== null && this.child.exitCode === null) return;
      await sleep(20);
    }
    throw new Error(`the S3 server does not answer: ${this.output}`);
  }
}
