import type { ComponentConfig } from "../config/config.ts";
import { WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { PipelineConfig } from "../pipeline/compile.ts";
import { takesPushed } from "../pipeline/takes.ts";
import type { Ingest } from "../push/ingest.ts";
import type { OtlpOptions, PushOptions } from "../push/options.ts";
import { lokiReceiver, otlpReceiver, type PushReceiver } from "../push/receivers.ts";

interface Deps {
  readonly pipelines: readonly PipelineConfig[];
  readonly ingest: Ingest;
  readonly log: Logger;
}

/**
 * The receivers of pushes that are switched on. One whose lines no pipeline would take is left out, so that nothing is acknowledged
 * and then dropped. Throws `bad_receivers` for two with one path.
 */
export function openPushReceivers(configs: readonly ComponentConfig[], deps: Deps): PushReceiver[] {
  const receivers = configs.flatMap((config) => openReceiver(config, deps) ?? []);
  const owners = new Map<string, string>();
  for (const { name, path, aliases } of receivers) {
    for (const url of [path, ...aliases]) {
      const other = owners.get(url);
      if (other !== undefined) {
        throw new WeirError("bad_receivers", `receivers.${name}.path: found ${url}, which is that of ${other} already`);
      }
      owners.set(url, name);
    }
  }
  return receivers;
}

function openReceiver({ name, type, options }: ComponentConfig, { pipelines, ingest, log }: Deps): PushReceiver | null {
  if (type !== "push" && type !== "otlp") return null;
  // The options are what the schema of the type gave.
  const wanted = options as PushOptions | OtlpOptions;
  if (!wanted.enabled) return null;
  if (!takesPushed(pipelines, name)) {
    log.info({ receiver: name, path: wanted.path }, "no pipeline takes what is pushed here, so the path is not there");
    return null;
  }
  if (type === "otlp") return otlpReceiver(name, wanted, ingest, Date.now);
  return lokiReceiver(name, wanted, ingest);
}
