import { readFile } from "node:fs/promises";
import type { ConnectionOptions } from "node:tls";
import type { SASLOptions, Kafka as VendorKafka } from "kafkajs";
import { messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { registerCodecs } from "./compression.ts";
import type { KafkaConnection } from "./options.ts";
import { Kafka, logLevel } from "./vendor.ts";

/** Tries of the library's own, for a leader or coordinator that has just changed; whoever uses a client tries on by itself. */
const RETRY = { retries: 3, initialRetryTime: 100, maxRetryTime: 1000 } as const;

/** The library's client for one Kafka. Opens no connection by itself. */
export type KafkaClient = VendorKafka;

/**
 * A client of the brokers that `connection` names. Its own log goes to ours at level debug: what fails is thrown as well,
 * and said there. Rejects with `kafka_options` for a file that can't be read.
 */
export async function openKafkaClient(connection: KafkaConnection, log: Logger): Promise<KafkaClient> {
  registerCodecs();
  const { brokers, client_id, tls, sasl, connect_timeout_ms, request_timeout_ms } = connection;
  const ssl = tls === undefined ? undefined : await tlsOptions(tls);
  return new Kafka({
    brokers: [...brokers],
    clientId: client_id,
    ...(ssl === undefined ? {} : { ssl }),
    ...(sasl === undefined ? {} : { sasl: { ...sasl } as SASLOptions }),
    connectionTimeout: connect_timeout_ms,
    authenticationTimeout: connect_timeout_ms,
    requestTimeout: request_timeout_ms,
    retry: RETRY,
    logLevel: logLevel.INFO,
    logCreator:
      () =>
      ({ namespace, log: { message, ...rest } }) =>
        log.debug({ kafka: namespace, ...plain(rest) }, `kafkajs: ${message}`),
  });
}

async function tlsOptions(tls: NonNullable<KafkaConnection["tls"]>): Promise<ConnectionOptions> {
  const [ca, cert, key] = await Promise.all([
    fileOf("ca_file", tls.ca_file),
    fileOf("cert_file", tls.cert_file),
    fileOf("key_file", tls.key_file),
  ]);
  return {
    rejectUnauthorized: tls.verify,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

async function fileOf(option: string, file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw new WeirError("kafka_options", `kafka: tls.${option}: can't read ${file}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Without the stacks that the library adds to each line. */
function plain({ stack: _, timestamp: __, logger: ___, ...rest }: Record<string, unknown>): Record<string, unknown> {
  return rest;
}
