import { describe, expect, test } from "vitest";
import type { z } from "zod";
import { formatListenUrl, parseListenUrl } from "../../src/forward/listen-url.ts";
import { forwardOptions } from "../../src/forward/options.ts";

describe("options", () => {
  test("have defaults: one listener on this machine, no handshake", () => {
    const options = forwardOptions.parse({});
    expect(options.listen).toEqual(["tcp://127.0.0.1:24224"]);
    expect(options.shared_key).toBeUndefined();
    expect(options.limits.message_bytes_max).toBeGreaterThan(10 * 2_300_000);
    expect(options.limits.memory_bytes_max).toBeGreaterThan(options.limits.message_bytes_max);
  });

  test.each([
    { name: "an unknown key", value: { listn: [] }, says: "listn" },
    { name: "an unknown limit", value: { limits: { conections_max: 1 } }, says: "conections_max" },
    { name: "no listener", value: { listen: [] }, says: "listen" },
    { name: "a listener that is no URL", value: { listen: ["127.0.0.1:24224"] }, says: "want tcp://HOST:PORT" },
    { name: "a port that is none", value: { listen: ["tcp://a:70000"] }, says: "65535" },
    { name: "TLS without a certificate", value: { listen: ["tls://a:1"] }, says: "cert_file" },
    { name: "users without a key", value: { users: [{ name: "a", password: "b" }] }, says: "shared_key" },
    { name: "nesting beyond what anything reads", value: { limits: { nesting_max: 65 } }, says: "64" },
    { name: "permissions that are none", value: { unix_permissions: "rw" }, says: "octal" },
  ])("refuse $name", ({ value, says }) => {
    const result = forwardOptions.safeParse(value);
    expect(result.success).toBe(false);
    expect(JSON.stringify(result.error?.issues)).toContain(says);
  });

  test("each says what it is for", () => {
    const nameless: string[] = [];
    const look = (schema: z.ZodType, path: string): void => {
      const { def } = schema as unknown as {
        def: { innerType?: z.ZodType; element?: z.ZodType; shape?: Record<string, z.ZodType> };
      };
      if (def.innerType !== undefined) look(def.innerType, path);
      if (def.element !== undefined) look(def.element, path);
      for (const [name, inner] of Object.entries(def.shape ?? {})) {
        if ((inner.description ?? "").length < 20) nameless.push(`${path}${name}`);
        look(inner, `${path}${name}.`);
      }
    };
    look(forwardOptions, "");
    expect(nameless).toEqual([]);
  });
});

describe("listen URLs", () => {
  test.each([
    { url: "tcp://127.0.0.1:24224", gives: { scheme: "tcp", host: "127.0.0.1", port: 24_224 } },
    { url: "tcp://0.0.0.0", gives: { scheme: "tcp", host: "0.0.0.0", port: 24_224 } },
    { url: "tls://logs.example:0", gives: { scheme: "tls", host: "logs.example", port: 0 } },
    { url: "tcp://[::1]:1234", gives: { scheme: "tcp", host: "::1", port: 1234 } },
    { url: "unix:///run/weir.sock", gives: { scheme: "unix", path: "/run/weir.sock" } },
  ])("$url", ({ url, gives }) => {
    const address = parseListenUrl(url);
    expect(address).toEqual(gives);
    if (typeof address !== "string") expect(parseListenUrl(formatListenUrl(address))).toEqual(address);
  });

  test.each([
    "",
    "tcp://",
    "http://a:1",
    "tcp://a:b",
    "tcp://a:99999",
    "unix://relative",
    "tcp://a b:1",
    "tcp://::1:24224",
    "tcp://a:1/x",
  ])("%j is none", (url) => {
    expect(typeof parseListenUrl(url)).toBe("string");
  });
});
