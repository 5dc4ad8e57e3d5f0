import { z } from "zod";
import { NESTING_LIMIT } from "../codec/nesting.ts";
import { DEFAULT_TENANT } from "../core/labels.ts";
import { tenantName } from "../core/tenant.ts";
import { parseListenUrl } from "./listen-url.ts";

const MIB = 1024 * 1024;

const listenUrl = z.string().superRefine((text, context) => {
  const parsed = parseListenUrl(text);
  if (typeof parsed === "string") context.addIssue({ code: "custom", message: parsed });
});

const tls = z.strictObject({
  cert_file: z.string().min(1).describe("File with the server's certificate chain, PEM."),
  key_file: z.string().min(1).describe("File with the certificate's private key, PEM, without a passphrase."),
  client_ca_file: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File with the CA certificates, PEM, that agents' certificates must come from. Absent: agents need no certificate, as Fluent Bit sends none by default.",
    ),
});

const limits = z.strictObject({
  connections_max: z
    .int()
    .positive()
    .default(4096)
    .describe(
      "Most connections at once; a further one is closed at once. The default serves a thousand agents with two workers of two connections each; an open connection can hold 64 KiB that the memory limit does not see.",
    ),
  message_bytes_max: z
    .int()
    .min(1024)
    .default(32 * MIB)
    .describe(
      "Longest message. Fluent Bit sends about 2 MiB and has been seen to send 2.3; Fluentd sends its chunk_limit_size, 8 MiB from a memory buffer and up to 256 MiB from files: raise this, or lower that, where it does.",
    ),
  inflated_bytes_max: z
    .int()
    .min(1024)
    .default(64 * MIB)
    .describe(
      "Most bytes that the entries of one compressed message may inflate to, counted while inflating. Twice the longest message: agents compress chunks that are no longer than plain ones.",
    ),
  nesting_max: z
    .int()
    .min(1)
    .max(NESTING_LIMIT)
    .default(NESTING_LIMIT)
    .describe(
      "Deepest nesting of maps and arrays in a record. Far more than logs have; what takes a record apart later goes no deeper than the default, so it is also the most.",
    ),
  entries_max: z
    .int()
    .positive()
    .default(1_000_000)
    .describe(
      "Most entries in one message. The largest seen from Fluent Bit had 81,915; a million keep the pipeline busy for about a second.",
    ),
  message_timeout_ms: z
    .int()
    .positive()
    .default(60_000)
    .describe(
      "Longest time from the first byte of a message to its last, and from connecting to the end of the handshake. 2.3 MB take 20 seconds on a link of 1 Mbit/s. Time in which Weir itself does not read is not counted, unless unfinished messages alone are what fills `memory_bytes_max`.",
    ),
  idle_timeout_ms: z
    .int()
    .positive()
    .default(3_600_000)
    .describe(
      "Longest silence between messages. Long, because a logger that asks for no acknowledgement loses what it writes into a connection that Weir closes; TCP keepalive finds peers that are gone much sooner.",
    ),
  memory_bytes_max: z
    .int()
    .min(1024)
    .default(128 * MIB)
    .describe(
      "Bytes held for all connections together: unfinished messages, and whole ones that are not durable yet. Above it sockets are not read, so agents wait; only the oldest unfinished message is read to its end, so the limit can be passed by one message. The default leaves room for sixty chunks of Fluent Bit at once.",
    ),
});

export const forwardOptions = z
  .strictObject({
    listen: z
      .array(listenUrl)
      .min(1)
      .default(["tcp://127.0.0.1:24224"])
      .describe(
        "Where to listen: tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH, several at once. The default is the protocol's own port, for this machine only: without a key anybody who reaches it may write.",
      ),
    tls: tls.optional().describe("Certificate for the tls:// listeners. Has no default: a certificate is one's own."),
    shared_key: z
      .string()
      .optional()
      .describe(
        'Key that agents must prove to know before anything else is read (Fluent Bit\'s Shared_Key). "" asks for the handshake with the empty key (Empty_Shared_Key). Absent: no handshake, as agents do by default.',
      ),
    users: z
      .array(
        z.strictObject({
          name: z.string().min(1).describe("Username, as the agent has it."),
          password: z.string().describe("Password, as the agent has it."),
        }),
      )
      .default([])
      .describe("Users of whom an agent must be one, besides knowing the shared key. None by default."),
    self_hostname: z
      .string()
      .min(1)
      .max(255)
      .default("weir")
      .describe(
        "Name that Weir gives in the handshake. Must differ from the agents' names: Fluentd refuses a server that has its own.",
      ),
    udp_heartbeat: z
      .boolean()
      .default(true)
      .describe(
        "Answer heartbeats over UDP on the same host and port as each TCP and TLS listener: Fluentd with heartbeat_type udp takes a silent server for dead.",
      ),
    unix_permissions: z
      .string()
      .regex(/^[0-7]{3}$/, "want three octal digits, as in 660")
      .default("660")
      .describe("Permissions of Unix sockets, octal: by default their owner and group may write logs, others not."),
    tenant: tenantName
      .default(DEFAULT_TENANT)
      .describe(
        "Tenant that everything coming here belongs to: the protocol has no place for one. The default is Loki's name for the only one.",
      ),
    limits: limits.prefault({}).describe("Bounds on what agents can make Weir do. Each bounds something else."),
  })
  .superRefine((options, context) => {
    if (options.users.length > 0 && options.shared_key === undefined) {
      const message = 'users need the handshake: set shared_key as well ("" for the empty key)';
      context.addIssue({ code: "custom", path: ["users"], message });
    }
    if (options.tls === undefined && options.listen.some((url) => url.startsWith("tls:"))) {
      const message = "a tls:// listener needs a certificate: set cert_file and key_file";
      context.addIssue({ code: "custom", path: ["tls"], message });
    }
  });

export type ForwardOptions = z.output<typeof forwardOptions>;
export type ForwardLimits = ForwardOptions["limits"];
