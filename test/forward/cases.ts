import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";

/** The captured bytes; test/fixtures/forward/README.md says what each file is. */
export const FIXTURES: string = path.resolve(import.meta.dirname, "../fixtures/forward");

export interface FrameInfo {
  readonly offset: number;
  readonly length: number;
  readonly mode: string;
  readonly tag?: string;
  readonly entries?: number;
  readonly events?: number;
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface CaseFile {
  readonly name: string;
  readonly bytes: Buffer;
  readonly frames: readonly FrameInfo[];
}

export interface Exchange {
  readonly conn: number;
  readonly dir: "client" | "server" | "event";
  readonly bytes: Buffer;
  readonly note: string;
}

export interface Case {
  readonly name: string;
  /** One for each connection, in order. */
  readonly files: readonly CaseFile[];
  readonly expected: readonly unknown[];
  readonly exchange: readonly Exchange[];
}

type FramesJson = Record<string, Record<string, { messages: FrameInfo[] }>>;

const FRAMES = JSON.parse(read("frames.json").toString()) as FramesJson;

export function read(name: string): Buffer {
  return readFileSync(path.join(FIXTURES, name));
}

/** The message with 81,915 entries. */
export function array32(): CaseFile {
  const bytes = gunzipSync(read("array32.bin.gz"));
  return { name: "array32.bin", bytes, frames: [{ offset: 0, length: bytes.length, mode: "Forward", events: 81_915 }] };
}

/** Every captured case but `array32`. */
export const CASES: readonly Case[] = Object.keys(FRAMES)
  .filter((name) => name !== "array32")
  .map((name) => ({
    name,
    files: Object.entries(FRAMES[name]).map(([file, { messages }]) => ({
      name: file,
      bytes: read(file),
      frames: messages,
    })),
    expected: JSON.parse(read(`${name}.expected.json`).toString()) as unknown[],
    exchange: readExchange(name),
  }));

function readExchange(name: string): Exchange[] {
  if (!readdirSync(FIXTURES).includes(`${name}.jsonl`)) return [];
  return read(`${name}.jsonl`)
    .toString()
    .trim()
    .split("\n")
    .map((line) => {
      const { conn, dir, b64 = "", note = "" } = JSON.parse(line) as Partial<Record<string, string>>;
      return { conn: Number(conn), dir: dir as Exchange["dir"], bytes: Buffer.from(b64, "base64"), note };
    });
}

export function caseNamed(name: string): Case {
  const found = CASES.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no case ${name}`);
  return found;
}
