import { readdirSync, readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import envoy from "../../parsers/envoy.ts";
import istio from "../../parsers/istio.ts";
import { registries } from "../../src/cli/registries.ts";
import { documentSchema } from "../../src/config/document-schema.ts";
import { loadConfig } from "../../src/config/load.ts";
import { ConfigErrors } from "../../src/config/problem.ts";
import { agoNs, TestWeir } from "../push/weir.ts";
import { Random } from "../random.ts";
import { loadFile, message, runFile } from "./harness.ts";

const env = { WEIR_SHARED_KEY: "0123", ES_API_KEY: "a2V5" };
const FILES = readdirSync(new URL("../../pipelines", import.meta.url));
const fixture = (name: string) => readFileSync(new URL(`../fixtures/forward/${name}`, import.meta.url));

const KUBERNETES = {
  pod_name: "checkout-7d9f",
  namespace_name: "shop",
  pod_id: "3c1f3f0a-3a52-4c8e-9d51-5ad7f1c7a001",
  host: "node-a",
  container_name: "app",
  labels: { app: "checkout" },
};
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";

test("each file has a test below", () => {
  expect(FILES.sort()).toEqual([
    "cluster.yaml",
    "elasticsearch.yaml",
    "kubernetes.yaml",
    "mesh.yaml",
    "metrics.yaml",
    "quickstart.yaml",
  ]);
});

describe.each(FILES)("%s", (file) => {
  test("is right, and warns of nothing", () => {
    expect(loadFile(file, { env }).warnings).toEqual([]);
  });

  test("fits the JSON Schema for editors", () => {
    const ajv = new Ajv2020({ strict: true, allowUnionTypes: true });
    addFormats.default(ajv);
    const validate = ajv.compile(documentSchema(registries));
    const document: unknown = parse(readFileSync(new URL(`../../pipelines/${file}`, import.meta.url), "utf8"), {
      merge: true,
    });
    expect({ fits: validate(document), errors: validate.errors }).toEqual({ fits: true, errors: null });
  });

  test("keeps the lines of a Kubernetes agent in streams by namespace, app and container", () => {
    const stored = runFile(file, [fixture("kube-filter.bin")], { env });
    expect(stored).toHaveLength(10);
    expect(new Set(stored.map(({ labels }) => labels.replace(/, tag="[^"]*"/, "")))).toEqual(
      new Set(['{app="checkout", container="app", namespace="shop"}']),
    );
    expect(stored[0]).toMatchObject({
      line: '{"level":"info","msg":"server listening","port":8080}',
      metadata: { pod: "checkout-7d9f", node: "node-a", detected_level: "info" },
    });
  });

  test("keeps a record without any of its fields", () => {
    const [only, ...others] = runFile(file, [message("web", { log: "hello" })], { env });
    expect(others).toEqual([]);
    expect(only).toMatchObject({ labels: '{tag="web"}', line: "hello", sec: 1_700_000_000 });
  });

  test("finds trace ids and levels", () => {
    const line = `ERROR trace_id=${TRACE} payment failed`;
    const [only] = runFile(file, [message("kube.x", { log: line, kubernetes: KUBERNETES })], { env });
    expect(only?.metadata).toMatchObject({ trace_id: TRACE, detected_level: "error" });
  });
});

describe("quickstart.yaml", () => {
  test.each([
    { name: "the recommended label", labels: { "app.kubernetes.io/name": "a", app: "b", "k8s-app": "c" }, app: "a" },
    { name: "the usual label", labels: { app: "b", "k8s-app": "c" }, app: "b" },
    { name: "the system's label", labels: { "k8s-app": "c" }, app: "c" },
    { name: "the container", labels: {}, app: "app" },
  ])("the app is named by $name", ({ labels, app }) => {
    const [only] = runFile("quickstart.yaml", [message("k", { log: "x", kubernetes: { ...KUBERNETES, labels } })]);
    expect(only).toMatchObject({
      labels: `{app="${app}", container="app", namespace="shop"}`,
      metadata: { pod: "checkout-7d9f", pod_id: "3c1f3f0a-3a52-4c8e-9d51-5ad7f1c7a001", node: "node-a" },
    });
  });

  test("listens where the README says", () => {
    const { receivers, sections } = loadFile("quickstart.yaml");
    expect(receivers[0]).toMatchObject({ type: "forward", options: { listen: ["tcp://127.0.0.1:24224"] } });
    expect(receivers.slice(1).map(({ type }) => type)).toEqual(["push", "otlp"]);
    expect(sections.http.listen).toBe("127.0.0.1:3100");
  });
});

describe("elasticsearch.yaml", () => {
  test("sends to both, and to the cluster what is no debugging", () => {
    const { sinks, pipelines } = loadFile("elasticsearch.yaml", { env });
    expect(pipelines.map(({ to }) => to)).toEqual([["store", "search"]]);
    expect(sinks.find(({ type }) => type === "elasticsearch")?.options).toMatchObject({
      nodes: ["http://127.0.0.1:9200"],
      api_key: "a2V5",
      when: { $level: expect.not.arrayContaining(["debug", "trace"]) },
    });
  });
});

describe("kubernetes.yaml", () => {
  const cri = (text: string) =>
    message("kube.x", { log: `2026-03-02T10:15:30.5Z stdout F ${text}`, kubernetes: KUBERNETES });

  test("unwraps what an agent without a parser sends", () => {
    expect(runFile("kubernetes.yaml", [cri("hello  world")], { env })).toMatchObject([
      { line: "hello  world", sec: 1_772_446_530, metadata: { stream: "stdout", pod: "checkout-7d9f" } },
    ]);
    const lines = runFile("kubernetes.yaml", [fixture("kube-cri-no-parser.bin")], { env }).map(({ line }) => line);
    expect(lines[0]).toBe('{"level":"info","msg":"server listening","port":8080}');
    expect(lines).toHaveLength(12);
  });

  test("unwraps Docker's lines", () => {
    const log = JSON.stringify({ log: "hello\n", stream: "stderr", time: "2026-03-02T10:15:30.5Z" });
    expect(runFile("kubernetes.yaml", [message("kube.x", { log })], { env })).toMatchObject([
      { line: "hello", sec: 1_772_446_530, metadata: { stream: "stderr" } },
    ]);
  });

  test("drops the kubelet's probes", () => {
    const probe = '10.0.0.1 - - [02/Mar/2026:10:15:30 +0000] "GET /healthz HTTP/1.1" 200 2 "-" "kube-probe/1.33"';
    expect(runFile("kubernetes.yaml", [cri(probe), cri("kept")], { env }).map(({ line }) => line)).toEqual(["kept"]);
  });

  test("keeps units of systemd apart", () => {
    const record = { MESSAGE: "Started.", _SYSTEMD_UNIT: "kubelet.service", _HOSTNAME: "node-a" };
    expect(runFile("kubernetes.yaml", [message("host.systemd", record)], { env })).toMatchObject([
      { labels: '{tag="host.systemd", unit="kubelet.service"}', line: "Started.", metadata: { node: "node-a" } },
    ]);
  });

  test("takes its settings from the environment", () => {
    const { receivers, sections, log_level } = loadFile("kubernetes.yaml", {
      env: {
        ...env,
        WEIR_STREAMS_MAX: "7",
        WEIR_INTAKE_BYTES: "1073741824",
        WEIR_LOG_LEVEL: "warn",
        WEIR_TLS_CERT: "/c",
      },
    });
    expect(receivers[0]).toMatchObject({
      options: { shared_key: "0123", tls: { cert_file: "/c", key_file: "/etc/weir/tls/tls.key" } },
    });
    expect(sections.limits.streams_max).toBe(7);
    expect(sections.intake).toMatchObject({ size_max_bytes: 1 << 30 });
    expect(log_level).toBe("warn");
  });

  test("does not start without a key", () => {
    expect(() => loadFile("kubernetes.yaml")).toThrow(
      /kubernetes\.yaml:\d+:\d+ {2}receivers\.forward\.shared_key: the environment variable WEIR_SHARED_KEY is not set/,
    );
  });
});

describe("cluster.yaml", () => {
  test("has its intake log in Kafka, and listens for others than this machine", () => {
    const { receivers, sections } = loadFile("cluster.yaml");
    expect(receivers[0]).toMatchObject({ type: "forward", options: { listen: ["tcp://0.0.0.0:24224"] } });
    expect(sections.http.listen).toBe("0.0.0.0:3100");
    expect(sections.intake).toMatchObject({ type: "kafka", topic: "weir-intake" });
  });
});

describe("mesh.yaml", () => {
  const tag = `kube.var.log.containers.checkout-7d9f_shop_istio-proxy-${"a".repeat(64)}.log`;
  const sidecar = (log: string) => message(tag, { log, kubernetes: { ...KUBERNETES, container_name: "istio-proxy" } });
  const requestId = "84961386-6d84-929d-98bd-c5aee93b5c88";

  test.each([
    { name: "as it is", sec: 1_700_000_000, wrap: (line: string) => line },
    {
      name: "in CRI's envelope",
      sec: 1_772_446_530,
      wrap: (line: string) => `2026-03-02T10:15:30.5Z stdout F ${line}`,
    },
  ])("takes Istio's line apart, $name", ({ wrap, sec }) => {
    const { line } = istio.examples[0]!;
    const [only, ...others] = runFile("mesh.yaml", [sidecar(wrap(line))]);
    expect(others).toEqual([]);
    expect(only).toMatchObject({
      labels: '{app="checkout", container="istio-proxy", direction="outbound", namespace="shop"}',
      line,
      // When the line was written, not when the request began.
      sec,
      metadata: {
        method: "GET",
        authority: "httpbin:8000",
        response_code: "418",
        duration_ms: "4",
        upstream_cluster: "outbound|8000||httpbin.foo.svc.cluster.local",
        request_id: requestId.replaceAll("-", ""),
      },
    });
  });

  test("takes Envoy's line apart", () => {
    const { line } = envoy.examples[0]!;
    expect(runFile("mesh.yaml", [message("mesh.edge", { log: line })])).toMatchObject([
      { labels: '{tag="mesh.edge"}', line, metadata: { method: "POST", response_code: "204", duration_ms: "226" } },
    ]);
  });

  test("takes JSON with the same names apart", () => {
    const line = `{"start_time":"2020-11-25T21:26:18.409Z","method":"GET","path":"/","response_code":503,"response_flags":"UH","duration":4,"request_id":"${requestId}"}`;
    expect(runFile("mesh.yaml", [sidecar(line)])).toMatchObject([
      {
        line,
        metadata: {
          method: "GET",
          response_code: "503",
          response_flags: "UH",
          request_id: requestId.replaceAll("-", ""),
        },
      },
    ]);
  });

  test("keeps other lines of a sidecar", () => {
    const line = "2026-03-02T10:15:30.000000Z\tinfo\tEnvoy proxy is ready";
    expect(runFile("mesh.yaml", [sidecar(line)])).toMatchObject([{ line, metadata: { detected_level: "info" } }]);
  });
});

describe("metrics.yaml", () => {
  test("counts lines, bytes and the time of requests at /metrics", async () => {
    const text = readFileSync(new URL("../../pipelines/metrics.yaml", import.meta.url), "utf8");
    const weir = await TestWeir.start(
      `${text.replace("127.0.0.1:24224", "127.0.0.1:0")}\nhttp: { listen: "127.0.0.1:0" }\nquery: { threads: 0 }\n`,
    );
    try {
      const lines = ['{"level":"info","duration_ms":20}', "level=error msg=no duration_ms=700", "neither"];
      const stream = { namespace: "shop", app: "web" };
      await weir.push({ streams: [{ stream, values: lines.map((line, i) => [agoNs(5, i), line]) }] });
      await vi.waitFor(
        async () => {
          const { text: page } = await weir.get("/metrics");
          expect(page).toMatch(/^app_lines_total\{namespace="shop",app="web",level="error"\} 1$/m);
          expect(page).toMatch(/^app_line_bytes_total\{namespace="shop",app="web"\} 74$/m);
          expect(page).toMatch(/^app_request_seconds_bucket\{le="0.05",namespace="shop",app="web"\} 1$/m);
          expect(page).toMatch(/^app_request_seconds_count\{namespace="shop",app="web"\} 2$/m);
        },
        { timeout: 120_000, interval: 50 },
      );
    } finally {
      await weir.close();
    }
  });
});

test("a mutated file is right or refused with a place, never more than that", () => {
  const random = new Random();
  const texts = FILES.map((file) => readFileSync(new URL(`../../pipelines/${file}`, import.meta.url), "utf8"));
  const pieces = [
    "\n",
    "  ",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "&a ",
    "*a",
    "!x ",
    "|",
    ">",
    "#",
    "<<: *labels",
    "null",
    "5",
    "$",
    "\t",
    "type",
    "---\n",
    "\ud800",
  ];
  let refused = 0;
  for (let i = 0; i < 1500; i++) {
    const text = random.mutate(random.pick(texts), pieces);
    try {
      loadConfig(text, "x.yaml", registries, { env });
    } catch (error) {
      if (!(error instanceof ConfigErrors)) throw new Error(`file ${JSON.stringify(text)}`, { cause: error });
      refused++;
      for (const line of error.message.split("\n")) expect(line).toMatch(/^x\.yaml:[1-9]\d*:[1-9]\d* {2}\S/);
    }
  }
  expect(refused).toBeGreaterThan(100);
});
