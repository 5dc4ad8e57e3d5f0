import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { beforeEach, expect } from "vitest";
import { Random, SEED } from "./random.ts";

/*
 * Runs before each file of tests: what Weir draws for itself, ids of objects and times between tries, comes from the seed too, for
 * each test anew, so that a run can be repeated. Ports (`randomInt`) and what processes that a test starts draw stay as they are.
 */
function randomFor(what: string): Random {
  return new Random(crypto.createHash("sha256").update(`${SEED} ${what}`).digest().readUInt32LE());
}

let random = randomFor(expect.getState().testPath?.replace(/^.*\/test\//, "") ?? "");
beforeEach(({ task }) => {
  // It says the file, and the place of the test in it.
  random = randomFor(task.id);
});

Math.random = () => random.fraction();
const randomBytes = (length: number): Buffer => random.bytes(length);
Object.assign(crypto, { randomBytes, randomUUID: () => uuid(random.bytes(16)) });
syncBuiltinESMExports();

function uuid(bytes: Buffer): string {
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
