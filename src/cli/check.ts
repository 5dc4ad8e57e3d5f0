import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import type { Config, SectionsOf } from "../config/config.ts";
import { type LoadOptions, loadConfig } from "../config/load.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import { checkTopics } from "../roles/check-topics.ts";
import { type CliIo, runCommand } from "./io.ts";
import { registries } from "./registries.ts";

/** `weir check`: says whether `weir run` would take a pipeline file. */
export function register(program: Command, io: CliIo): void {
  program
    .command("check")
    .summary("check pipeline files")
    .description("Checks pipeline files as weir run does, without starting anything; exit code 1 when one has errors.")
    .argument("<files...>", "pipeline files")
    .action((files: string[]) =>
      runCommand(io, async (out) => {
        for (const file of files) await check(file, io, (line) => out.write(`${line}\n`));
      }),
    );
}

async function check(file: string, io: CliIo, print: (line: string) => Promise<void>): Promise<void> {
  try {
    const config = await loadPipeline(file, { env: io.env });
    const { receivers, pipelines, sinks, warnings } = config;
    for (const warning of warnings) await print(`${file}: warning: ${warning}`);
    checkTopics(config);
    const names = (parts: readonly { readonly name: string }[]) => parts.map(({ name }) => name).join(", ");
    await print(`${file}: ok (receivers: ${names(receivers)}; pipelines: ${names(pipelines)}; sinks: ${names(sinks)})`);
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    // What is wrong with a file is the command's result. The next file is looked at all the same.
    await print(error.code === "bad_receivers" ? `${file}: ${error.message}` : error.message);
    io.exitCode = 1;
  }
}

export type PipelineFile = Config<SectionsOf<typeof registries>>;

/**
 * Reads and checks a pipeline file against everything that there is. Errors: `config_unreadable`; ConfigErrors with a line
 * for each fault, `file:line:column  path: what was found, what was wanted`.
 */
export async function loadPipeline(file: string, options: LoadOptions): Promise<PipelineFile> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new WeirError("config_unreadable", `cannot read the pipeline file ${file}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return loadConfig(text, file, registries, options);
}
