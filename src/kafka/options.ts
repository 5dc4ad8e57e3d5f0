import { z } from "zod";

const tls = z.strictObject({
  ca_file: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File with the CA certificates, PEM, that the brokers' certificates come from. Absent: the well-known ones.",
    ),
  cert_file: z
    .string()
    .min(1)
    .optional()
    .describe("File with the client's certificate chain, PEM, where brokers want one."),
  key_file: z.string().min(1).optional().describe("File with the client certificate's private key, PEM."),
  verify: z
    .boolean()
    .default(true)
    .describe(
      "Whether a broker's certificate must be valid for its name. false lets anybody in between read and write.",
    ),
});

const sasl = z.strictObject({
  mechanism: z
    .enum(["plain", "scram-sha-256", "scram-sha-512"])
    .describe("How the password is proven. plain shows it to the broker, so it wants TLS."),
  username: z.string().min(1).describe("User name."),
  password: z
    .string()
    .describe("Password. Better by reference to an environment variable, where other users don't see it."),
});

/** Where a Kafka is and how it is spoken to: the same for intake, receiver and sink, each of which spreads it into its options. */
export const kafkaConnectionShape = {
  brokers: z
    .array(z.string().regex(/^(?:\[[0-9A-Fa-f:.]+\]|[^\s:/[\]]+):\d{1,5}$/, "want HOST:PORT, as in kafka-1:9092"))
    .min(1)
    .describe("Brokers to ask first, as HOST:PORT; they name the others. Two or three, so that one may be away."),
  client_id: z.string().min(1).max(255).default("weir").describe("Name under which brokers log and limit this client."),
  tls: tls
    .optional()
    .describe("TLS to the brokers. Absent: none; `tls: {}` takes the well-known certificate authorities."),
  sasl: sasl.optional().describe("User and password for the brokers. Absent: none."),
  connect_timeout_ms: z
    .int()
    .min(100)
    .max(600_000)
    .default(5000)
    .describe("Longest wait for a connection to a broker, its TLS and its SASL included."),
  request_timeout_ms: z
    .int()
    .min(1000)
    .max(600_000)
    .default(30_000)
    .describe("Longest wait for a broker's answer. After it a send counts as failed, and is made again."),
};

export const kafkaConnection = z.strictObject(kafkaConnectionShape);

export type KafkaConnection = z.output<typeof kafkaConnection>;

/** For those who write. */
export const kafkaCompression = z
  .enum(["none", "gzip", "snappy"])
  .default("gzip")
  .describe(
    "How batches are compressed on their way to Kafka, and in it. gzip (level 1) makes log text about three times smaller for 13 CPU seconds a GB; snappy less so, and it is plain JavaScript here. Chunks that agents compress already gain nothing. lz4 and zstd are read as well.",
  );
