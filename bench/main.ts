/*
 * npm run bench -- [--size BYTES] [--seed N] [--data FOLDER]
 *
 * Prints figures and asserts none. `--size` is the number of line bytes (default 1 GB). With `--data` the folder is kept.
 */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { benchCatalog } from "./catalog.ts";
import { benchCompact } from "./compact.ts";
import { benchFreshness } from "./freshness.ts";
import { benchIngest } from "./ingest.ts";
import { benchKafka, withKafka } from "./kafka.ts";
import { benchQueriers } from "./queriers.ts";
import { benchQuery } from "./query.ts";
import { benchScaling } from "./scaling.ts";
import { benchSinks } from "./sinks.ts";

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "1000000000" },
    seed: { type: "string", default: "1" },
    data: { type: "string" },
  },
});
const data = values.data ?? mkdtempSync(path.join(os.tmpdir(), "weir-bench-"));
try {
  process.stdout.write(
    `Node ${process.version}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? "unknown processor"}\n`,
  );
  const sent = await benchIngest(data, Number(values.size), Number(values.seed));
  await benchQuery(data, sent);
  await benchQueriers(data, sent);
  await benchScaling(Math.min(200_000_000, Number(values.size)), Number(values.seed));
  await benchFreshness();
  await benchCatalog(data, Math.max(1000, Math.min(100_000, Math.round(Number(values.size) / 10_000))));
  await benchCompact(Number(values.size), Number(values.seed));
  await withKafka(async (kafka) => {
    await benchKafka(kafka, Math.min(200_000_000, Number(values.size)), Number(values.seed));
    // As much as a second or so of each.
    await benchSinks(Math.min(50_000_000, Number(values.size)), Number(values.seed), kafka);
  });
} finally {
  if (values.data === undefined) rmSync(data, { recursive: true, force: true });
}
