import path from "node:path";
import type { Command } from "commander";
import { inflateBy } from "../codec/inflate.ts";
import { createLogger } from "../core/log.ts";
import { Metrics } from "../core/metrics.ts";
import type { RunningProcess } from "../roles/running.ts";
import { loadPipeline } from "./check.ts";
import { type CliIo, runCommand } from "./io.ts";
import { DEFAULT_PIPELINE_HELP, defaultPipeline } from "./package-folder.ts";
import { addSettings, type Deployment, misspeltVariables, readSettings } from "./settings.ts";
import { firstSignal } from "./signals.ts";
import { VERSION } from "./version.ts";

/** `weir run`: the server. */
export function register(program: Command, io: CliIo): void {
  const command = program
    .command("run")
    .argument("[pipeline]", `pipeline file (${DEFAULT_PIPELINE_HELP})`)
    .description("receive, store and answer: everything in one process, or with --role one part of it");
  addSettings(command).action(async (pipeline: string = defaultPipeline()) => {
    await runCommand(io, () => run(pipeline, readSettings(command, io.env), io));
  });
}

async function run(file: string, deployment: Deployment, io: CliIo): Promise<void> {
  const config = await loadPipeline(file, { env: io.env, overrides: deployment.overrides });
  const log = createLogger(config.log_level);
  for (const warning of [...config.warnings, ...misspeltVariables(io.env)]) log.warn(warning);
  // Blocks are inflated long after the start; what would fail then is to be said now.
  inflateBy(io.env.WEIR_INFLATE);
  const metrics = new Metrics();
  metrics.collectProcess();
  const storeUrl = deployment.store ?? path.join(deployment.data, "store");
  // Loaded here alone: the other commands need nothing of the server, and start in half the time without it.
  const { startProcess } = await import("../roles/running.ts");
  // A second one ends it at once. Nothing that was acknowledged is lost by that: it is in the intake log, as after a crash.
  const signal = firstSignal();
  const places = { dataDir: deployment.data, storeUrl };
  const weir = await startProcess(deployment.role, config, places, { metrics, log, version: VERSION });
  io.stdout.write(banner(weir, deployment, storeUrl, file));
  await signal;
  io.stdout.write("Stopping: committing what has arrived.\n");
  await weir.stop();
  // Whatever a library may still hold open must not keep the process: all that matters is committed and closed.
  process.exit(0);
}

function banner(weir: RunningProcess, deployment: Deployment, storeUrl: string, file: string): string {
  const { data, role } = deployment;
  const http = `http://${weir.httpAddress}`;
  if (role !== "all") return roleBanner(weir, role, storeUrl, file);
  const at = weir.httpAddress === "127.0.0.1:3100" ? "" : ` --url ${http}`;
  const [forward = ""] = weir.forwardAddresses;
  const to = forward === "tcp://127.0.0.1:24224" ? "" : ` --to ${forward}`;
  return [
    `Weir ${VERSION} is running`,
    `  logs in    ${weir.forwardAddresses.join(", ")}  (Fluent Bit's forward protocol)`,
    `  queries    ${http}  (Loki's API)`,
    ...queriersLine(weir),
    `  data       ${data}${storeUrl === path.join(data, "store") ? "" : `, segments in ${storeUrl}`}`,
    `  pipeline   ${file}`,
    "",
    "Try, in another terminal:",
    `  npx weir send README.md --tag web${to}`,
    `  npx weir query '{tag="web"}' --since 1h${at}`,
    "",
    "",
  ].join("\n");
}

function queriersLine({ querierAddress }: RunningProcess): string[] {
  return querierAddress === "" ? [] : [`  queriers   ${querierAddress}  (parts of others' queries)`];
}

/** What one process of several says: who starts them knows what they are for. */
function roleBanner(weir: RunningProcess, role: string, storeUrl: string, file: string): string {
  const [forward] = weir.forwardAddresses;
  return [
    `Weir ${VERSION} is running as ${role}`,
    ...(forward === undefined
      ? []
      : [`  logs in    ${weir.forwardAddresses.join(", ")}  (Fluent Bit's forward protocol)`]),
    `  http       http://${weir.httpAddress}`,
    ...queriersLine(weir),
    ...(role === "receiver" ? [] : [`  segments   ${storeUrl}`]),
    `  pipeline   ${file}`,
    "",
    "",
  ].join("\n");
}
