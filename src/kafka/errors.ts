import { codeOf, messageOf, WeirError } from "../core/errors.ts";

/** What a user has to be allowed for a request, by Kafka's name. `Read` and `Write` of a topic include `Describe`. */
export type KafkaRight = "Describe" | "Read" | "Write";

/** What brokers refuse for good, by the protocol's name, with what to do about it. */
const REFUSALS: Readonly<Record<string, string | ((right: KafkaRight) => string)>> = {
  TOPIC_AUTHORIZATION_FAILED: (right) => `allow the user ${right} on the topic`,
  GROUP_AUTHORIZATION_FAILED: (right) => `allow the user ${right} on the group`,
  CLUSTER_AUTHORIZATION_FAILED:
    "allow the user Write on the topic (and IdempotentWrite on the cluster, where brokers are older than Kafka 3)",
  INVALID_TOPIC_EXCEPTION: "choose another topic name",
  UNSUPPORTED_FOR_MESSAGE_FORMAT: "the broker is too old: Weir wants Kafka 2.1 or newer",
  UNSUPPORTED_VERSION: "the broker does not speak a version of the protocol that this client does",
  POLICY_VIOLATION: "a policy of the cluster forbids it",
};

/**
 * What the library has thrown, as a WeirError: `kafka_too_large`, `kafka_login` and `kafka_refused` are not mended by trying
 * again, `kafka_unavailable` may be. Wrapped retries are unpacked, so that the message names the cause. `right`: what a user needs
 * for it.
 */
export function kafkaError(what: string, error: unknown, right: KafkaRight = "Describe"): WeirError {
  if (error instanceof WeirError) return error;
  const cause = rootOf(error);
  const type = typeof cause === "object" && cause !== null && "type" in cause ? String(cause.type) : "";
  const say = (code: string, why: string, retriable: boolean) =>
    new WeirError(code, `kafka: ${what}: ${why}`, { retriable, cause: error, context: { type } });
  if (type === "MESSAGE_TOO_LARGE" || type === "RECORD_LIST_TOO_LARGE")
    return say("kafka_too_large", `the broker takes no batch of that size (${type})`, false);
  if (isLogin(cause, type))
    return say("kafka_login", `the broker refused the login: ${messageOf(cause)}; see sasl and tls`, true);
  const advice = REFUSALS[type];
  if (advice !== undefined) {
    const what = typeof advice === "string" ? advice : advice(right);
    return say("kafka_refused", `the broker refused it (${type}): ${what}`, true);
  }
  // The library does not say why: brokers that refuse the user look to it like a coordinator that is not there.
  if (cause instanceof Error && cause.name === "KafkaJSGroupCoordinatorNotFound")
    return say(
      "kafka_unavailable",
      `${messageOf(cause)}: it is away, or the user is not allowed Read on the group`,
      true,
    );
  const code = codeOf(cause);
  return say(
    "kafka_unavailable",
    `${messageOf(cause)}${code === "" || messageOf(cause).includes(code) ? "" : ` (${code})`}`,
    true,
  );
}

/** Deepest nesting of causes that is looked into. */
const CAUSES_MAX = 8;

function rootOf(error: unknown): unknown {
  let cause = error;
  for (let i = 0; i < CAUSES_MAX; i++) {
    if (!(cause instanceof Error) || cause.cause === undefined || cause.cause === cause) return cause;
    cause = cause.cause;
  }
  return cause;
}

function isLogin(error: unknown, type: string): boolean {
  const name = error instanceof Error ? error.name : "";
  return (
    name === "KafkaJSSASLAuthenticationError" || type === "SASL_AUTHENTICATION_FAILED" || type === "ILLEGAL_SASL_STATE"
  );
}
