import { PassThrough, Writable } from "node:stream";
import { Command } from "commander";
import type { CliIo } from "../../src/cli/io.ts";

export interface Ran {
  stdout: string;
  stderr: string;
  exitCode: number;
}

export interface FakeIo extends CliIo {
  /** Everything written so far. */
  readonly out: () => Buffer;
  readonly err: () => string;
  interrupt(): void;
}

/** A world of its own for one command: what it writes is kept, and Ctrl-C is a method. */
export function fakeIo({
  env = {},
  stdin = Buffer.alloc(0),
  tty = false,
  stdout,
}: {
  env?: Record<string, string>;
  stdin?: Buffer;
  tty?: boolean;
  stdout?: Writable;
} = {}): FakeIo {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const listeners = new Set<() => void>();
  const input = new PassThrough();
  input.end(stdin);
  return {
    stdin: input,
    stdout: stdout ?? sink(out),
    stderr: sink(err),
    env,
    isTTY: { stdout: tty, stderr: tty },
    exitCode: 0,
    onInterrupt(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    out: () => Buffer.concat(out),
    err: () => Buffer.concat(err).toString(),
    interrupt: () => {
      for (const listener of listeners) listener();
    },
  };
}

function sink(into: Buffer[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      into.push(Buffer.from(chunk));
      done();
    },
  });
}

/** Runs one registered command as main does, but throws commander's own exits. */
export async function run(
  register: (program: Command, io: CliIo) => void,
  argv: readonly string[],
  io: FakeIo = fakeIo(),
): Promise<Ran> {
  const program = new Command("weir").exitOverride().configureOutput({
    writeOut: (text) => void io.stdout.write(text),
    writeErr: (text) => void io.stderr.write(text),
  });
  register(program, io);
  for (const command of program.commands) command.copyInheritedSettings(program);
  await program.parseAsync([...argv], { from: "user" });
  return { stdout: io.out().toString(), stderr: io.err(), exitCode: io.exitCode };
}

/** Waits until `done()`; the time limit is the test's own. */
export async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 2));
}
