import { type Command, Option } from "commander";
import type { Override } from "../config/overrides.ts";
import { didYouMean } from "../config/suggest.ts";
import { WeirError } from "../core/errors.ts";
import { isRole, ROLES, type Role } from "../roles/role.ts";
import type { CliIo } from "./io.ts";

/**
 * The settings of a deployment: where one process runs, apart from what it does with logs. Each can be given by a
 * flag, by an environment variable, or in the pipeline file; the first of these wins over the next, and that over the
 * default. This table is all there is: the help of `weir run`, the parsing and the order come from it.
 */
export interface Setting {
  /** Long flag without its dashes. */
  readonly flag: string;
  /** What the flag takes, for the help. */
  readonly value: string;
  readonly env: string;
  /**
   * Where it stands in the pipeline file, as `Override.path` has it. Null for what has no place there: folders are
   * the machine's matter alone.
   */
  readonly path: string | null;
  readonly description: string;
  /** From the text given to what the file would hold. */
  readonly toValue?: (text: string) => string | readonly string[];
}

export const DEFAULT_DATA = "data";

export const SETTINGS: readonly Setting[] = [
  {
    flag: "role",
    value: "ROLE",
    env: "WEIR_ROLE",
    path: null,
    description: `what this process does: ${ROLES.join(", ")}; receiver, worker and querier want the intake log in Kafka (default: all)`,
  },
  {
    flag: "data",
    value: "DIR",
    env: "WEIR_DATA",
    path: null,
    description: `folder for everything that has to survive: intake log and segments (default: ${DEFAULT_DATA})`,
  },
  {
    flag: "store",
    value: "URL",
    env: "WEIR_STORE",
    path: null,
    description: "where segments are kept: a folder, or s3://BUCKET/PREFIX (default: store in the data folder)",
  },
  {
    flag: "s3-endpoint",
    value: "URL",
    env: "WEIR_S3_ENDPOINT",
    path: "s3.endpoint",
    description: "S3 server for a store at s3://, where it is not AWS",
  },
  {
    flag: "s3-region",
    value: "REGION",
    env: "WEIR_S3_REGION",
    path: "s3.region",
    description: "region of the bucket; AWS_REGION does as well",
  },
  {
    flag: "http",
    value: "HOST:PORT",
    env: "WEIR_HTTP",
    path: "http.listen",
    description: "where queries are answered",
  },
  {
    flag: "forward",
    value: "HOST:PORT",
    env: "WEIR_FORWARD",
    path: "receivers.@forward.listen",
    description: "where logs arrive; also tcp://, tls:// or unix:///PATH, several with commas between",
    toValue: listenUrls,
  },
  {
    flag: "shared-key",
    value: "KEY",
    env: "WEIR_SHARED_KEY",
    path: "receivers.@forward.shared_key",
    description: "key that agents must know; better in the environment, where other users don't see it",
  },
  {
    flag: "tls-cert",
    value: "FILE",
    env: "WEIR_TLS_CERT",
    path: "receivers.@forward.tls.cert_file",
    description: "certificate chain for tls:// listeners, PEM",
  },
  {
    flag: "tls-key",
    value: "FILE",
    env: "WEIR_TLS_KEY",
    path: "receivers.@forward.tls.key_file",
    description: "the certificate's private key, PEM",
  },
  {
    flag: "receive-memory",
    value: "BYTES",
    env: "WEIR_RECEIVE_MEMORY",
    path: "receivers.@forward.limits.memory_bytes_max",
    description: "most memory for messages that are not safe on disk yet",
  },
  {
    flag: "intake-size",
    value: "BYTES",
    env: "WEIR_INTAKE_SIZE",
    path: "intake.size_max_bytes",
    description: "most that the intake log may take on disk; beyond it agents have to wait",
  },
  {
    flag: "workers",
    value: "COUNT",
    env: "WEIR_WORKERS",
    path: "workers.threads",
    description: "threads that take logs to the store, or auto for one a core but one; 0: the main thread does it",
  },
  {
    flag: "intake",
    value: "TYPE",
    env: "WEIR_INTAKE",
    path: "intake.type",
    description: "where the intake log is: disk or kafka",
  },
  {
    flag: "kafka-brokers",
    value: "HOST:PORT,…",
    env: "WEIR_KAFKA_BROKERS",
    path: "intake.brokers",
    description: "brokers to ask first, for an intake log in Kafka, with commas between",
    toValue: (text) => text.split(",").map((part) => part.trim()),
  },
  {
    flag: "kafka-topic",
    value: "TOPIC",
    env: "WEIR_KAFKA_TOPIC",
    path: "intake.topic",
    description: "topic of an intake log in Kafka",
  },
  {
    flag: "flush-age",
    value: "MS",
    env: "WEIR_FLUSH_AGE",
    path: "store.flush_age_ms",
    description: "age at which lines are written from memory to a segment, in milliseconds",
  },
  {
    flag: "store-memory",
    value: "BYTES",
    env: "WEIR_STORE_MEMORY",
    path: "store.memory_bytes",
    description: "memory for lines that are not in a segment yet",
  },
  {
    flag: "query-threads",
    value: "COUNT",
    env: "WEIR_QUERY_THREADS",
    path: "query.threads",
    description: "threads that scan for queries, or auto for one a core",
  },
  {
    flag: "queriers",
    value: "HOST:PORT",
    env: "WEIR_QUERIERS",
    path: "query.queriers",
    description:
      "other queriers that queries are spread over, several with commas between; each address of a name is one",
    toValue: byCommas,
  },
  {
    flag: "querier-listen",
    value: "HOST:PORT",
    env: "WEIR_QUERIER_LISTEN",
    path: "query.querier_listen",
    description: "where other queriers may ask for parts of their queries",
  },
  {
    flag: "querier-key",
    value: "KEY",
    env: "WEIR_QUERIER_KEY",
    path: "query.querier_key",
    description: "key that queriers show each other; better in the environment, where other users don't see it",
  },
  {
    flag: "log-level",
    value: "LEVEL",
    env: "WEIR_LOG_LEVEL",
    path: "log_level",
    description: "what weir says about itself: trace, debug, info, warn, error, fatal, silent",
  },
];

/** What a deployment has set. */
export interface Deployment {
  readonly role: Role;
  readonly data: string;
  /** Where segments are kept, as given; null for a folder in `data`. */
  readonly store: string | null;
  /** For `loadConfig`: flags and environment variables, each with the name that messages about it use. */
  readonly overrides: readonly Override[];
}

/** Gives `command` a flag for each setting; its environment variable and place in the file are in the help. */
export function addSettings(command: Command): Command {
  for (const { flag, value, env, path, description } of SETTINGS) {
    const names = path === null ? `env: ${env}` : `env: ${env}, file: ${path.replace("@forward", "<forward>")}`;
    command.addOption(new Option(`--${flag} <${value}>`, `${description} (${names})`));
  }
  return command;
}

/**
 * What is set, by flag before environment variable. An empty environment variable counts as not set, as Compose files
 * and service managers make them; an empty flag is meant.
 */
export function readSettings(command: Command, env: CliIo["env"]): Deployment {
  const own: Record<string, string> = {};
  const overrides: Override[] = [];
  for (const { flag, env: variable, path, toValue = (text: string) => text } of SETTINGS) {
    const byFlag: unknown = command.getOptionValue(camelCase(flag));
    const byEnv = env[variable];
    const text = typeof byFlag === "string" ? byFlag : byEnv;
    if (text === undefined || (text === "" && byFlag === undefined)) continue;
    if (path === null) own[flag] = given(flag, text);
    else overrides.push({ path, value: toValue(text), source: byFlag === undefined ? variable : `--${flag}` });
  }
  const role = own.role ?? "all";
  if (!isRole(role))
    throw new WeirError("bad_role", `--role (WEIR_ROLE): got ${JSON.stringify(role)}, want one of ${ROLES.join(", ")}`);
  return { role, data: own.data ?? DEFAULT_DATA, store: own.store ?? null, overrides };
}

/** Variables that are no settings: of other commands, and of the codec. */
const OTHER_VARIABLES = ["WEIR_INFLATE", "WEIR_URL", "WEIR_TENANT", "WEIR_TO", "WEIR_PASSWORD"];
/** Kubernetes sets such for each service, which may well be named weir. */
const SERVICE_VARIABLE = /_SERVICE_(?:HOST|PORT)|_PORT(?:_|$)/;

const PREFIX = "WEIR_";

/** A complaint about each variable that looks like a misspelt setting. Others may be meant for the pipeline file. */
export function misspeltVariables(env: CliIo["env"]): string[] {
  const known = [...SETTINGS.map((setting) => setting.env), ...OTHER_VARIABLES];
  // What all have in common makes none of them alike.
  const own = known.map((name) => name.slice(PREFIX.length));
  return Object.keys(env).flatMap((name) => {
    if (!/^WEIR_/i.test(name) || known.includes(name) || SERVICE_VARIABLE.test(name)) return [];
    const meant = didYouMean(name.slice(PREFIX.length), own).replace('"', `"${PREFIX}`);
    return meant === "" ? [] : [`the environment variable ${name} means nothing to Weir${meant}`];
  });
}

/** What the environment sets of one section of the pipeline file, for the commands that have no flags for it. */
export function environmentOverrides(env: CliIo["env"], section: string): Override[] {
  return SETTINGS.flatMap(({ env: variable, path, toValue = (text: string) => text }) => {
    const text = env[variable] ?? "";
    if (text === "" || path?.startsWith(`${section}.`) !== true) return [];
    return [{ path, value: toValue(text), source: variable }];
  });
}

/** A shell makes an empty text of a variable that is not set; taken as a folder it would be the one that the process happens to be in. */
function given(flag: string, text: string): string {
  if (text === "")
    throw new WeirError("bad_setting", `--${flag}: got an empty text; leave the flag out for its default`);
  return text;
}

/** The name under which commander keeps a flag's value. */
function camelCase(flag: string): string {
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** `a:3101, b:3101` as the options have lists. */
function byCommas(text: string): string[] {
  return text.split(",").flatMap((part) => (part.trim() === "" ? [] : [part.trim()]));
}

/** `0.0.0.0:24224,unix:///run/weir.sock` as the receiver's option has it. */
function listenUrls(text: string): string[] {
  return text.split(",").map((part) => (part.includes("://") ? part.trim() : `tcp://${part.trim()}`));
}
