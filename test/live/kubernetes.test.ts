import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { loadPipeline } from "../../src/cli/check.ts";
import { environmentOverrides } from "../../src/cli/settings.ts";
import { checkRole } from "../../src/roles/check-role.ts";
import { isRole } from "../../src/roles/role.ts";

/** A validator with the schemas of Kubernetes' API, where test/live/servers/prepare.sh has installed it. */
const VALIDATE = process.env.WEIR_KUBERNETES_VALIDATE ?? "";
const FOLDER = fileURLToPath(new URL("../../deploy/kubernetes/", import.meta.url));
const SINGLE = fileURLToPath(new URL("../../deploy/kubernetes-single/weir.yaml", import.meta.url));
const files = readdirSync(FOLDER).filter((name) => name.endsWith(".yaml"));

if (VALIDATE === "") console.warn("no validator of Kubernetes manifests: see test/live/servers/prepare.sh");

const run = promisify(execFile);
const validate = (file: string) => run(VALIDATE, ["--strict", "--quiet", file]);

describe.skipIf(VALIDATE === "")("manifests, by Kubernetes' own schemas", () => {
  test.each(files)("%s", async (name) => {
    await validate(path.join(FOLDER, name));
  });

  test("the one process on a volume", async () => {
    await validate(SINGLE);
  });

  test("which do refuse a misspelt key", async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), "weir-k8s-"));
    const file = path.join(folder, "wrong.yaml");
    writeFileSync(
      file,
      readFileSync(path.join(FOLDER, "worker.yaml"), "utf8").replace("readinessProbe:", "readynessProbe:"),
    );
    try {
      await expect(validate(file)).rejects.toThrow();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

const object = z.looseObject({ kind: z.string(), metadata: z.looseObject({ name: z.string() }) });
const objectsOf = (file: string) =>
  parseAllDocuments(readFileSync(file, "utf8")).map((document) => object.parse(document.toJS()));
const objects = files.flatMap((name) => objectsOf(path.join(FOLDER, name)));
const named = (kind: string, name: string) => {
  const found = objects.find((one) => one.kind === kind && one.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
};
const workload = z.looseObject({
  spec: z.looseObject({
    template: z.looseObject({
      metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
      spec: z.looseObject({
        containers: z.array(
          z.looseObject({
            args: z.array(z.string()),
            readinessProbe: z.object({ httpGet: z.object({ path: z.string() }) }).loose(),
            livenessProbe: z.object({}).loose(),
            resources: z.object({ requests: z.object({}).loose(), limits: z.object({}).loose() }),
          }),
        ),
      }),
    }),
  }),
});

describe("what the manifests say to Weir", () => {
  const { data } = z.object({ data: z.record(z.string(), z.string()) }).parse(named("ConfigMap", "weir-pipeline"));
  const places = z.object({ data: z.record(z.string(), z.string()) }).parse(named("ConfigMap", "weir-places"));

  test.each([
    { kind: "Deployment", role: "receiver" },
    { kind: "StatefulSet", role: "worker" },
    { kind: "Deployment", role: "querier" },
    { kind: "Deployment", role: "compactor" },
  ])("the $role has a role, probes, resources, and a configuration that Weir takes", async ({ kind, role }) => {
    const [container] = workload.parse(named(kind, `weir-${role}`)).spec.template.spec.containers;
    expect(container?.args).toEqual(["run", "/etc/weir/weir.yaml", "--role", role]);
    expect(container?.readinessProbe.httpGet.path).toBe("/ready");
    const folder = mkdtempSync(path.join(os.tmpdir(), "weir-k8s-"));
    try {
      const file = path.join(folder, "weir.yaml");
      writeFileSync(file, data["weir.yaml"] ?? "");
      const overrides = environmentOverrides(places.data, "intake");
      const config = await loadPipeline(file, { env: places.data, overrides });
      if (!isRole(role)) throw new Error(`${role} is no role`);
      checkRole(role, config);
      expect(config.sections.intake).toMatchObject({ type: "kafka", brokers: [places.data.WEIR_KAFKA_BROKERS] });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("the pipeline is the ready one for several processes", () => {
    const ready = readFileSync(new URL("../../pipelines/cluster.yaml", import.meta.url), "utf8");
    expect(parse(data["weir.yaml"] ?? "")).toEqual(parse(ready));
  });

  test("what has more than one pod has a disruption budget that selects them", () => {
    for (const role of ["receiver", "worker", "querier"]) {
      const budget = z
        .looseObject({ spec: z.looseObject({ selector: z.object({ matchLabels: z.record(z.string(), z.string()) }) }) })
        .parse(named("PodDisruptionBudget", `weir-${role}`));
      const of = workload.parse(named(role === "worker" ? "StatefulSet" : "Deployment", `weir-${role}`));
      expect(of.spec.template.metadata.labels).toEqual(budget.spec.selector.matchLabels);
    }
  });

  test("a pod has time to be forgotten by others, then to stop in order, before it is killed", () => {
    const grace = z.looseObject({
      spec: z.looseObject({
        template: z.looseObject({ spec: z.looseObject({ terminationGracePeriodSeconds: z.int() }) }),
      }),
    });
    const stop = z.looseObject({
      lifecycle: z.object({ preStop: z.object({ exec: z.object({ command: z.array(z.string()) }) }) }).optional(),
    });
    for (const role of ["receiver", "worker", "querier", "compactor"]) {
      const of = named(role === "worker" ? "StatefulSet" : "Deployment", `weir-${role}`);
      const [container] = workload.parse(of).spec.template.spec.containers;
      const [, pause = "0"] = stop.parse(container).lifecycle?.preStop.exec.command ?? [];
      expect(grace.parse(of).spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(Number(pause) + 10);
      // Who is asked by others over a service.
      expect(Number(pause) > 0, role).toBe(role === "receiver" || role === "querier");
    }
  });

  test("one process on a volume has the services' names of the parts, its data on the volume, and one replica", () => {
    const one = objectsOf(SINGLE);
    const services = (list: readonly z.output<typeof object>[]) =>
      list.flatMap(({ kind, metadata, spec }) =>
        kind === "Service" && metadata.name !== "weir-worker"
          ? [{ name: metadata.name, ports: z.looseObject({ ports: z.array(z.unknown()) }).parse(spec).ports }]
          : [],
      );
    expect(new Set(services(one))).toEqual(new Set(services(objects)));
    const set = one.find(({ kind }) => kind === "StatefulSet");
    expect(set?.spec).toMatchObject({ replicas: 1, volumeClaimTemplates: [{ metadata: { name: "data" } }] });
    const [container] = workload.parse(set).spec.template.spec.containers;
    expect(container?.args).toEqual(["run", "pipelines/quickstart.yaml"]);
    expect(container?.volumeMounts).toContainEqual({ name: "data", mountPath: "/data" });
  });

  test("agents send to the receivers' service, with acknowledgements, for ever", () => {
    const config = z.object({ data: z.record(z.string(), z.string()) }).parse(named("ConfigMap", "fluent-bit")).data;
    const { pipeline } = z
      .object({ pipeline: z.object({ outputs: z.array(z.record(z.string(), z.unknown())) }) })
      .parse(parse(config["fluent-bit.yaml"] ?? ""));
    expect(pipeline.outputs).toEqual([
      expect.objectContaining({
        host: "weir-receiver.weir.svc",
        port: 24224,
        require_ack_response: true,
        retry_limit: "no_limits",
      }),
    ]);
    named("Service", "weir-receiver");
    named("DaemonSet", "fluent-bit");
  });
});
