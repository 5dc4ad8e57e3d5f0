import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { SEED } from "../../random.ts";
import { KAFKA_LIBS, KAFKA_SKIPPED } from "../kafka-server.ts";
import { S3_PROGRAM, S3_SKIPPED } from "../s3-server.ts";
import { harass } from "./chaos.ts";
import { checkAll } from "./check.ts";
import { Cluster } from "./cluster.ts";
import { CHUNK_LINES, Sender } from "./sender.ts";

/*
 * The whole of several processes under fire: every line that was acknowledged is returned by a query exactly once.
 *
 *   WEIR_FIRE_LINES=5000000 npx vitest run test/live/fire
 *
 * sends so many lines; without it a short run. WEIR_FIRE_BROKERS=1 takes one broker instead of three.
 */
const LINES = Number(process.env.WEIR_FIRE_LINES ?? 200_000);
const BROKERS = Number(process.env.WEIR_FIRE_BROKERS ?? 3);
const SENDERS = 6;
/** A short run is stretched to this, so that there is time for some thirty blows. */
const SECONDS_MIN = 75;
/** More lines take longer than that anyway. */
const LINES_FAST = 1_000_000;
/** A line takes this long at most, all pauses and restarts included: generous, because what is proven is not speed. */
const MS_A_LINE = 1.5;

if (KAFKA_LIBS === "") console.warn(KAFKA_SKIPPED);
if (S3_PROGRAM === "") console.warn(S3_SKIPPED);

describe.skipIf(KAFKA_LIBS === "" || S3_PROGRAM === "")("a cluster under fire", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ receivers: 3, workers: 3, queriers: 2, brokers: BROKERS, partitions: 6 });
  }, 900_000);
  afterAll(async () => cluster?.stop());

  test("returns every acknowledged line exactly once", { timeout: 900_000 + LINES * MS_A_LINE }, async () => {
    console.log(`cluster: WEIR_TEST_SEED=${SEED}, ${LINES} lines, ${BROKERS} brokers`);
    const firstMs = Date.now() - 3_600_000;
    const receivers = () => cluster.receivers.map(({ forwardPort }) => ({ host: "127.0.0.1", port: forwardPort }));
    const lines = Math.ceil(LINES / SENDERS);
    // A fast machine sends a chunk in a few milliseconds; what is sent again takes the rest of the time.
    const pauseMs = LINES > LINES_FAST ? 0 : (SECONDS_MIN * 1000) / Math.ceil(lines / CHUNK_LINES);
    const senders = Array.from(
      { length: SENDERS },
      (_, i) => new Sender(`load.s${i}`, { lines, firstMs, receivers, at: i, pauseMs }),
    );
    const over = new AbortController();
    const began = performance.now();
    const chaos = harass(cluster.victims, new Random(SEED), over.signal);
    await Promise.all(senders.map((sender) => sender.run()));
    const sentS = (performance.now() - began) / 1000;
    over.abort();
    const { kills, pauses } = await chaos;
    await Promise.all(cluster.roles.map((one) => one.whenReady()));
    const acknowledged = senders.reduce((sum, sender) => sum + sender.acknowledged, 0);
    const repeated = senders.reduce((sum, sender) => sum + sender.repeated, 0);
    const verdict = await checkAll(
      senders,
      cluster.queriers.map(({ http }) => http),
    );
    const allS = (performance.now() - began) / 1000;
    console.log(
      `${acknowledged} lines acknowledged in ${sentS.toFixed(0)} s, ${repeated} chunks sent again; all read back after ${allS.toFixed(0)} s\n` +
        `killed ${JSON.stringify(kills)}, paused ${JSON.stringify(pauses)}`,
    );
    // A proof in which nothing happened is none.
    expect(Object.keys({ ...kills, ...pauses }).length).toBeGreaterThan(3);
    expect(repeated).toBeGreaterThan(0);
    expect(verdict, verdict.examples.join("\n")).toMatchObject({
      found: acknowledged,
      missing: 0,
      doubled: 0,
      strange: 0,
    });
  });
});
