import { z } from "zod";
import { parsers } from "../../parsers/index.ts";
import { lineSinks } from "../../sinks/index.ts";
import type { Registries } from "../../src/config/config.ts";
import { parserRefs } from "../../src/core/parser-refs.ts";

const forward = z.strictObject({
  listen: z.array(z.string().regex(/^tcp:/)).min(1).default(["tcp://127.0.0.1:24224"]).describe("Addresses."),
  shared_key: z.string().min(1).optional().describe("Key that agents have."),
  connections_max: z.int().min(1).default(1000).describe("Most connections."),
  tls: z.strictObject({ cert: z.string(), key: z.string() }).optional().describe("Certificate."),
});

/** Small stand-ins with the shapes that real ones have; the parsers and sinks are the real ones. */
export const registries = {
  receivers: { forward: { name: "forward", summary: "Receives.", options: forward } },
  sinks: lineSinks,
  parsers,
  steps: {
    parse: {
      name: "parse",
      summary: "Parses.",
      options: z.strictObject({
        with: parserRefs.describe("Parsers."),
        keep: z.boolean().default(true).describe("Keeps."),
      }),
    },
    level: { name: "level", summary: "Finds the level.", options: z.strictObject({}) },
    labels: {
      name: "labels",
      summary: "Labels.",
      options: z.record(z.string().min(1), z.union([z.string().min(1), z.array(z.string().min(1)).min(1)])),
    },
    drop: {
      name: "drop",
      summary: "Drops.",
      options: z.strictObject({ when: z.enum(["debug", "trace"]).describe("Which level.") }),
    },
  },
  sections: {
    store: z.strictObject({ block_bytes: z.int().positive().default(262_144).describe("Size of a block.") }),
    intake: z.strictObject({}),
    query: z.strictObject({
      threads: z
        .union([z.literal("auto"), z.int().min(0)])
        .default("auto")
        .describe("Threads."),
    }),
    http: z.strictObject({
      listen: z.string().min(1).default("127.0.0.1:3100").describe("Address."),
      port: z.int().min(0).max(65_535).default(3100).describe("Port."),
      ratio: z.number().min(0).max(1).default(0.5).describe("A ratio."),
      cors: z.boolean().default(false).describe("Other origins."),
    }),
  },
} satisfies Registries;
