import { STREAMS } from "./lines.ts";
import { median, row, section } from "./print.ts";
import type { SentReport } from "./sender.ts";
import { BenchServer } from "./server.ts";

const ROUNDS = 7;
/** The longest time for which the server's event loop took no events, as `monitorEventLoopDelay` has it. */
const LOOP_DELAY = "nodejs_eventloop_lag_max_seconds";

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
    { name: "labels", paths: [`/loki/api/v1/labels?${range}`] },
    { name: "series", paths: [`/loki/api/v1/series?${range}`] },
  ];
  for (const { name, paths } of cases) {
    const times: number[] = [];
    let bytes = 0;
    // Reading the metric starts its measurement anew.
    await server.metric(LOOP_DELAY);
    for (let i = 0; i <= ROUNDS; i++) {
      const started = performance.now();
      const answer = await fetch(`http://${server.http}${paths[i % paths.length]}`);
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${name}: ${answer.status} ${text}`);
      bytes = text.length;
      if (i > 0) times.push(performance.now() - started);
    }
    const delay = (await server.metric(LOOP_DELAY)) * 1000;
    row(
      name,
      `${median(times).toFixed(1)} ms (${Math.min(...times).toFixed(1)}, ${Math.max(...times).toFixed(1)}), answer ${bytes} bytes, event loop held ${delay.toFixed(1)} ms at most`,
    );
  }
  await server.stop();
}
