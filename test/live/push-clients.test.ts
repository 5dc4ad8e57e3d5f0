import { SeverityNumber } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-proto";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { pino } from "pino";
import { pinoLoki } from "pino-loki";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../forward/harness.ts";
import { PIPELINE, type Row, TestWeir } from "../push/weir.ts";

/*
 * Loggers that people really use, pushing to a running Weir.
 */

const COUNT = 200;
let weir: TestWeir;
beforeAll(async () => {
  weir = await TestWeir.start(PIPELINE);
});
afterAll(() => weir.close());

async function rowsOf(query: string): Promise<Row[]> {
  let rows: Row[] = [];
  await eventually(`${COUNT} lines of ${query}`, async () => {
    rows = await weir.rows(query);
    return rows.length >= COUNT;
  });
  return rows;
}

describe("pino-loki", () => {
  test.each([
    { name: "in batches", batching: { interval: 0.05 } },
    { name: "line by line", batching: false as const },
  ])("$name", async ({ name, batching }) => {
    const stream = pinoLoki({
      host: weir.base,
      batching,
      labels: { app: "pino", mode: name },
      propsToLabels: ["part"],
      silenceErrors: false,
      structuredMetaKey: "meta",
    });
    const logger = pino({ level: "debug" }, stream);
    for (let n = 0; n < COUNT; n++) logger[n % 2 === 0 ? "info" : "error"]({ n, part: (n % 3) + 1 }, `line ${n}`);
    const rows = await rowsOf(`{app="pino", mode="${name}"}`);
    stream.destroy();
    const numbers = rows.map(({ line }) => (JSON.parse(line) as { n: number }).n).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: COUNT }, (_, n) => n));
    for (const { stream: labels, line } of rows) {
      const { n } = JSON.parse(line) as { n: number };
      // Label values may be numbers.
      expect(labels).toMatchObject({
        part: String((n % 3) + 1),
        service_name: "pino",
        detected_level: n % 2 === 0 ? "info" : "error",
      });
    }
  });
});

describe("@opentelemetry/exporter-logs-otlp-proto", () => {
  test.each([{ compression: "none" as const }, { compression: "gzip" as const }])(
    "with compression $compression",
    async ({ compression }) => {
      const exporter = new OTLPLogExporter({
        url: `${weir.base}/otlp/v1/logs`,
        // The enumeration's values are these texts.
        compression: compression as never,
      });
      const provider = new LoggerProvider({
        processors: [new BatchLogRecordProcessor({ exporter, maxExportBatchSize: 50, scheduledDelayMillis: 20 })],
      });
      const logger = provider.getLogger("shop", "1.2.3");
      for (let n = 0; n < COUNT; n++) {
        logger.emit({
          body: n % 2 === 0 ? `line ${n}` : { n, text: "structured" },
          severityNumber: SeverityNumber.WARN,
          severityText: "WARN",
          attributes: { n, compression, "http.route": "/cart" },
          eventName: "test",
        });
      }
      await provider.forceFlush();
      const rows = await rowsOf(`{service_name=~".*node.*"} | compression="${compression}"`);
      await provider.shutdown();
      expect(rows.map(({ stream }) => Number(stream.n)).sort((a, b) => a - b)).toEqual(
        Array.from({ length: COUNT }, (_, n) => n),
      );
      for (const { stream, line } of rows) {
        const n = Number(stream.n);
        expect(line).toBe(n % 2 === 0 ? `line ${n}` : `{"n":${n},"text":"structured"}`);
        expect(stream).toMatchObject({
          detected_level: "warn",
          severity_text: "WARN",
          severity_number: "13",
          http_route: "/cart",
          scope_name: "shop",
          scope_version: "1.2.3",
          event_name: "test",
        });
      }
    },
  );
});
