import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { CompressionTypes as VendorCompression } from "kafkajs";
import { inflateBounded } from "../codec/bounded-inflate.ts";
import { WeirError } from "../core/errors.ts";
import { frameSnappy, unframeSnappy } from "./snappy-frame.ts";
import { CompressionCodecs, CompressionTypes } from "./vendor.ts";

/** What one compressed batch of records may become. A broker takes batches of 1 MiB, unless somebody has raised that. */
const INFLATED_BYTES_MAX = 256 << 20;
/** As the sinks and the store at their fastest: what is gained beyond is little, and the receiver shall not wait. */
const GZIP_LEVEL = 1;

export type KafkaCompression = "none" | "gzip" | "snappy";

export function compressionType(compression: KafkaCompression): VendorCompression {
  if (compression === "gzip") return CompressionTypes.GZIP;
  return compression === "snappy" ? CompressionTypes.Snappy : CompressionTypes.None;
}

const deflate = promisify(gzip);

interface Codec {
  compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>;
  decompress(bytes: Buffer): Promise<Buffer>;
}

const codecs = {
  [CompressionTypes.GZIP]: {
    compress: ({ buffer }) => deflate(buffer, { level: GZIP_LEVEL }),
    decompress: (bytes) => inflateBounded(bytes, "gzip", INFLATED_BYTES_MAX),
  },
  [CompressionTypes.Snappy]: {
    compress: async ({ buffer }) => frameSnappy(buffer),
    decompress: async (bytes) => unframeSnappy(bytes, INFLATED_BYTES_MAX),
  },
  [CompressionTypes.LZ4]: {
    compress: () => Promise.reject(readOnly("lz4")),
    decompress: (bytes) => inflateBounded(bytes, "lz4", INFLATED_BYTES_MAX),
  },
  [CompressionTypes.ZSTD]: {
    compress: () => Promise.reject(readOnly("zstd")),
    decompress: (bytes) => inflateBounded(bytes, "zstd", INFLATED_BYTES_MAX),
  },
} as const satisfies Record<number, Codec>;

/** The library knows gzip alone, without a bound; it looks for codecs in a table of its own. */
export function registerCodecs(): void {
  CompressionCodecs[CompressionTypes.GZIP] = () => codecs[CompressionTypes.GZIP];
  CompressionCodecs[CompressionTypes.Snappy] = () => codecs[CompressionTypes.Snappy];
  CompressionCodecs[CompressionTypes.LZ4] = () => codecs[CompressionTypes.LZ4];
  CompressionCodecs[CompressionTypes.ZSTD] = () => codecs[CompressionTypes.ZSTD];
}

function readOnly(name: string): WeirError {
  return new WeirError("kafka_compression", `${name} can be read, not written: use gzip or snappy`);
}
