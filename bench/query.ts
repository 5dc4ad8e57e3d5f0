import { STREAMS } from "./lines.ts";
import { median, row, section } from "./print.ts";
import type { SentReport } from "./sender.ts";
import { BenchServer } from "./server.ts";

const ROUNDS = 7;
/** The longest time for which the server's event loop took no events, as `monitorEventLoopDelay` has it. */
const LOOP_DELAY = "nodejs_eventloop_lag_max_seconds";

/** Five of the streams that write JSON. */
const JSON_APPS = "cart-api-00|user-api-03|stock-api-06|shipment-api-09|order-api-12";

interface Timed {
  readonly name: string;
  readonly paths: readonly string[];
}

/** Asks a Weir on `data`, which holds what `sent` says, the queries that people ask; prints warm wall times. */
export async function benchQuery(data: string, sent: SentReport): Promise<void> {
  section("queries over it, warm: median wall time (least, most)");
  const server = await BenchServer.start(data);
  const range = `start=${sent.firstMs - 60_000}000000&end=${sent.lastMs + 60_000}000000`;
  const logs = (query: string, limit: number) =>
    `/loki/api/v1/query_range?query=${encodeURIComponent(query)}&limit=${limit}&${range}`;
  const metric = (query: string) => `/loki/api/v1/query_range?query=${encodeURIComponent(query)}&step=60&${range}`;
  const cases: Timed[] = [
    {
      name: `an absent literal over all ${STREAMS} streams`,
      paths: [logs('{namespace=~".+"} |= "zzqy-is-absent"', 100)],
    },
    {
      name: "a trace by its id (other ids each time)",
      paths: sent.traceIds.slice(0, ROUNDS + 1).map((id) => `/api/v1/traces/${id}`),
    },
    { name: "one stream with a literal, limit 1000", paths: [logs('{app="invoice-gateway-02"} |= "slow call"', 1000)] },
    { name: "the last 100 lines of everything", paths: [logs('{namespace=~".+"}', 100)] },
    {
      name: "lines with a common literal per app and minute",
      paths: [metric('sum by (app) (count_over_time({namespace=~".+"} |= "ERROR" [1m]))')],
    },
    {
      name: "all lines per app and minute",
      paths: [metric('sum by (app) (count_over_time({namespace=~".+"}[1m]))')],
    },
    {
      name: "a regex without a literal over everything, per minute",
      paths: [metric('sum(count_over_time({namespace=~".+"} |~ "[0-9]{5,6}[^0-9]" [1m]))')],
    },
    {
      name: "rate by a JSON level on 5 of 100 streams",
      paths: [metric(`sum by (level) (rate({app=~"${JSON_APPS}"} | json [1m]))`)],
    },
    {
      name: "quantile_over_time with unwrap on the same",
      paths: [metric(`quantile_over_time(0.99, {app=~"${JSON_APPS}"} | json | unwrap duration_ms [1m]) by (app)`)],
    },
    {
      name: "json and a numeric filter on the same, limit 1000",
      paths: [logs(`{app=~"${JSON_APPS}"} | json | status >= 500`, 1000)],
    },
    {
      name: "rate of bytes and of lines by level in one query",
      paths: [
        metric(
          `sum by (level) (bytes_rate({app=~"${JSON_APPS}"} | json [1m])) / sum by (level) (rate({app=~"${JSON_APPS}"} | json [1m]))`,
        ),
      ],
    },
    { name: "labels", paths: [`/loki/api/v1/labels?${range}`] },
    { name: "series", paths: [`/loki/api/v1/series?${range}`] },
  ];
  for (const { name, paths } of cases) {
    const times: number[] = [];
    let cpu = 0;
    let bytes = 0;
    // Reading the metric starts its measurement anew.
    await server.metric(LOOP_DELAY);
    for (let i = 0; i <= ROUNDS; i++) {
      const before = server.cpuSeconds();
      const started = performance.now();
      const answer = await fetch(`http://${server.http}${paths[i % paths.length]}`);
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${name}: ${answer.status} ${text}`);
      bytes = text.length;
      if (i === 0) continue;
      times.push(performance.now() - started);
      cpu += (server.cpuSeconds() - before) / ROUNDS;
    }
    const delay = (await server.metric(LOOP_DELAY)) * 1000;
    row(
      name,
      `${median(times).toFixed(1)} ms (${Math.min(...times).toFixed(1)}, ${Math.max(...times).toFixed(1)}), ${(cpu * 1000).toFixed(0)} ms of CPU, answer ${bytes} bytes, event loop held ${delay.toFixed(1)} ms at most`,
    );
  }
  await server.stop();
}
