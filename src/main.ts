import { Command } from "commander";
import * as cat from "./cli/cat.ts";
import * as check from "./cli/check.ts";
import * as compact from "./cli/compact.ts";
import * as dead from "./cli/dead.ts";
import { processIo } from "./cli/io.ts";
import * as query from "./cli/query.ts";
import * as rebuild from "./cli/rebuild.ts";
import * as run from "./cli/run.ts";
import * as send from "./cli/send.ts";
import * as tail from "./cli/tail.ts";
import * as verify from "./cli/verify.ts";
import { VERSION } from "./cli/version.ts";

const program = new Command("weir")
  .description("A log pipeline and log store: Fluent Bit in, gzip files in object storage, Loki's query API out.")
  .version(VERSION);
const io = processIo();
for (const { register } of [run, send, query, tail, cat, check, compact, verify, rebuild, dead]) register(program, io);
await program.parseAsync();
