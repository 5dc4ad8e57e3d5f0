import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { FluentClient, FluentSocketEvent } from "@fluent-org/logger";
import fluentLogger from "fluent-logger";
import { afterEach, describe, expect, test } from "vitest";
import { eventsOf } from "../forward/events.ts";
import { eventually, type Receiver, startReceiver, stopAll } from "../forward/harness.ts";

/*
 * Loggers that people really use, against the receiver. Those in other languages are built by clients/prepare.sh, which
 * says in environment variables where they are; without them their tests are skipped, and counted as such.
 */

afterEach(stopAll);

const COUNT = 100;
const KEY = { shared_key: "live key", users: [{ name: "agent", password: "secret" }] };

interface Event {
  readonly tag: string;
  readonly time_ns: string;
  readonly record: { readonly message: string; readonly n: number };
}

function events({ recorder }: Receiver): Event[] {
  return recorder.stored.flatMap(({ payload }) => eventsOf(payload) as Event[]);
}

/** Every event once, with the right tag, text and about the right time, and no complaint from the receiver. */
async function expectAll(receiver: Receiver, tag: string, acked: boolean): Promise<void> {
  await eventually("all events", () => events(receiver).length >= COUNT);
  const got = events(receiver).sort((a, b) => a.record.n - b.record.n);
  expect(got.map(({ record }) => [record.n, record.message])).toEqual(
    Array.from({ length: COUNT }, (_, n) => [n, `line ${n}`]),
  );
  expect(new Set(got.map((event) => event.tag))).toEqual(new Set([tag]));
  for (const { time_ns } of got) {
    expect(Math.abs(Number(BigInt(time_ns) / 1_000_000n) - Date.now())).toBeLessThan(600_000);
  }
  // Some send chunk ids also when nobody waits for the ack.
  if (acked) expect(receiver.recorder.stored.every(({ dedupeKey }) => dedupeKey !== undefined)).toBe(true);
  expect(receiver.lines.warnings).toEqual([]);
}

describe("@fluent-org/logger", () => {
  const modes = ["Message", "Forward", "PackedForward", "CompressedPackedForward"] as const;
  const cases = modes.flatMap((eventMode) => [
    { name: `${eventMode} with acks`, eventMode, ack: true, security: false },
    { name: `${eventMode} without acks`, eventMode, ack: false, security: false },
    { name: `${eventMode} with acks, key and user`, eventMode, ack: true, security: true },
  ]);
  test.each(cases)("$name", async ({ eventMode, ack, security }) => {
    const receiver = await startReceiver(security ? KEY : {});
    const client = new FluentClient("live", {
      eventMode,
      socket: { host: "127.0.0.1", port: receiver.port, timeout: 60_000 },
      milliseconds: true,
      ...(ack ? { ack: { ackTimeout: 60_000 } } : {}),
      ...(security
        ? {
            security: { clientHostname: "agent.example", sharedKey: "live key", username: "agent", password: "secret" },
          }
        : {}),
    });
    const sent = Array.from({ length: COUNT }, (_, n) => client.emit("node", { message: `line ${n}`, n }));
    await Promise.all(sent); // With acks, these are the acks.
    await expectAll(receiver, "live.node", ack);
    await client.shutdown();
  });

  test("a wrong key does not get in", async () => {
    const receiver = await startReceiver(KEY);
    const client = new FluentClient("live", {
      socket: { host: "127.0.0.1", port: receiver.port, disableReconnect: true },
      security: { clientHostname: "agent.example", sharedKey: "wrong", username: "agent", password: "secret" },
    });
    client.socketOn(FluentSocketEvent.ERROR, () => undefined); // It hears of the refusal, which the receiver has logged by then.
    client.connect().catch(() => undefined);
    await eventually("the refusal", () => receiver.lines.warnings.length > 0);
    expect(receiver.lines.warnings[0].fields.reason).toBe("handshake");
    expect(receiver.recorder.calls).toBe(0);
    await client.disconnect();
  });
});

describe("fluent-logger", () => {
  const modes = ["Message", "PackedForward", "CompressedPackedForward"];
  const cases = modes.flatMap((eventMode) => [
    { name: `${eventMode} with acks`, eventMode, ack: true, security: false },
    { name: `${eventMode} without acks`, eventMode, ack: false, security: false },
    { name: `${eventMode} with acks, key and user`, eventMode, ack: true, security: true },
  ]);
  test.each(cases)("$name", async ({ eventMode, ack, security }) => {
    const receiver = await startReceiver(security ? KEY : {});
    const sender = fluentLogger.createFluentSender<object>("live", {
      host: "127.0.0.1",
      port: receiver.port,
      eventMode,
      timeout: 60,
      flushInterval: 20,
      requireAckResponse: ack,
      ackResponseTimeout: 60_000,
      ...(security
        ? {
            security: { clientHostname: "agent.example", sharedKey: "live key", username: "agent", password: "secret" },
          }
        : {}),
    });
    const sent = Array.from(
      { length: COUNT },
      (_, n) =>
        new Promise<void>((resolve, reject) => {
          sender.emit("node", { message: `line ${n}`, n }, (error) => (error ? reject(error) : resolve()));
        }),
    );
    await Promise.all(sent);
    await expectAll(receiver, "live.node", ack);
    await new Promise<void>((resolve) => sender.end("node", { message: "the end", n: COUNT }, () => resolve()));
  });
});

interface Outside {
  /** Also the tag behind "live." */
  readonly client: string;
  readonly variable: string;
  readonly acked: boolean;
  readonly options: Record<string, unknown>;
}

const OUTSIDE: readonly Outside[] = [
  { client: "python", variable: "WEIR_TEST_PYTHON_CLIENT", acked: false, options: {} },
  { client: "python-nanoseconds", variable: "WEIR_TEST_PYTHON_CLIENT", acked: false, options: {} },
  { client: "fluent-logger-golang", variable: "WEIR_TEST_GO_LOGGER", acked: true, options: {} },
  { client: "fluent-forward-go", variable: "WEIR_TEST_GO_CLIENT", acked: true, options: {} },
  {
    client: "fluent-forward-go-key",
    variable: "WEIR_TEST_GO_CLIENT",
    acked: true,
    options: { shared_key: "live key" },
  },
  { client: "fluency", variable: "WEIR_TEST_JAVA_CLIENT", acked: true, options: {} },
];

describe("in other languages", () => {
  test.for(OUTSIDE)("$client", { timeout: 240_000 }, async ({ client, variable, acked, options }, context) => {
    const command = process.env[variable];
    if (command === undefined || command === "") {
      context.skip(`${variable} is not set: see test/live/clients/prepare.sh`);
      return;
    }
    const receiver = await startReceiver(options);
    const [program, ...args] = command.split(" ");
    const child = spawn(program, [...args, String(receiver.port), client, String(COUNT)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
    expect(`${code} ${code === 0 ? "" : said}`).toBe("0 ");
    await expectAll(receiver, `live.${client}`, acked);
  });
});
