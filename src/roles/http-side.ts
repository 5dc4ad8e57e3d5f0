import type { DeleteService } from "../api/delete-routes.ts";
import { type HttpServer, startHttp } from "../api/server.ts";
import { describeConfig, withoutSecrets } from "../config/describe-config.ts";
import { tenantIngestLimits } from "../push/options.ts";
import type { PushReceiver } from "../push/receivers.ts";
import type { Engine } from "../query/engine.ts";
import type { PartDeps, PartState, ProcessConfig } from "./process-config.ts";

/** What a process has to show by HTTP. */
export interface HttpParts extends PartDeps {
  readonly version: string;
  readonly engine: Engine;
  /** Absent where deletion requests can't be made. */
  readonly deletes?: DeleteService;
  readonly pushes: readonly PushReceiver[];
  ready(): PartState;
  /** Parts of the process, each with the word for its state. */
  services(): Readonly<Record<string, string>>;
  /** Commits what has arrived. */
  flush(): Promise<void>;
}

/** Starts the HTTP server of a process. Errors as startHttp. */
export function openHttpSide(config: ProcessConfig, parts: HttpParts): Promise<HttpServer> {
  const { engine, deletes, pushes, ready, services, flush, metrics, log, version } = parts;
  const { http, ingest, retention } = config.sections;
  return startHttp(http, {
    ...{ engine, ready, metrics, log, version },
    ...(deletes === undefined ? {} : { deletes }),
    push: { receivers: pushes, bodyBytesMax: ingest.body_bytes_max, memoryBytesMax: ingest.memory_bytes_max },
    info: {
      services,
      config: describeConfig(config),
      defaults: withoutSecrets(config.defaults),
      storeLimits: (tenant) => ({
        ...tenantIngestLimits(ingest, tenant),
        retention_period: retention.tenants[tenant]?.period ?? retention.period,
      }),
      flush,
    },
  });
}
