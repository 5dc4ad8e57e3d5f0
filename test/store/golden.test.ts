import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../src/objects/memory.ts";
import { walkSegment } from "../../src/store/walk.ts";
import { metadataBytesOf } from "./compact-support.ts";
import { explain } from "./explain.ts";
import { inOrder, type Row, rowOf, rowsOf, type TestLine, TestStore, testLine } from "./support.ts";

/*
 * Segments that were written when their format version was new. They are kept for good: every later reader has to read
 * them. A new version adds a file and its lines; WEIR_WRITE_GOLDEN=1 writes a file that is not there yet.
 */
const folder = new URL("../golden/", import.meta.url);
const FORMAT_PAGE = fileURLToPath(new URL("../../docs/format.md", import.meta.url));

const id = (text: string) => Buffer.from(text.replaceAll("-", ""), "hex");
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const REQUEST = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

const POD = { pairs: [["pod", "web-1"]] as const };

/** The example of docs/format.md: a stream of two lines. */
const EXAMPLE: TestLine[] = [
  testLine(`{"trace_id":"${TRACE}","msg":"paid"}`, {
    sec: 1_714_554_000,
    nsec: 250_000_000,
    level: "info",
    shared: POD,
    ids: [{ id: id(TRACE), at: 13 }, null, null, null],
  }),
  testLine("two\nlines", { sec: 1_714_554_001, level: "", shared: POD }),
];

function goldenLines(): TestLine[] {
  const pods = [0, 1, 2].map((n) => ({
    pairs: [
      ["pod", `web-${n}`],
      ["node", "node-7"],
    ] as const,
  }));
  const out: TestLine[] = [];
  for (let i = 0; i < 60; i++) {
    const trace = Buffer.from(Array.from({ length: 16 }, (_, n) => (i * 31 + n * 7) & 0xff));
    const inLine = i % 3 !== 0;
    out.push(
      testLine(inLine ? `request ${i} trace=${trace.toString("hex")} done` : `request ${i} done`, {
        labels: { app: "web", namespace: "shop" },
        sec: 1_714_554_000 + ((i * 7) % 60),
        nsec: i * 1_000_000 + (i % 2),
        level: ["info", "warn", ""][i % 3],
        shared: pods[i % 3],
        ids: [
          i % 5 === 0 ? null : { id: trace, at: inLine ? `request ${i} trace=`.length : -1 },
          i % 4 === 0 ? { id: trace.subarray(0, 8), at: -1 } : null,
          null,
          i % 7 === 0 ? { id: id(REQUEST), at: -1 } : null,
        ],
        extra:
          i % 10 === 0
            ? [
                ["user", `u-${i}`],
                ["user", "twice"],
              ]
            : i % 2 === 0
              ? [["path", `/p/${i}`]]
              : [],
      }),
    );
  }
  for (const [i, bytes] of [
    Buffer.from("fffe000d0a61", "hex"),
    Buffer.alloc(0),
    Buffer.from("\n\n"),
    Buffer.from("plain"),
  ].entries()) {
    out.push(testLine(bytes, { labels: { app: "odd", žluť: '"\\' }, sec: -i, nsec: 5 }));
  }
  out.push(testLine("much metadata", { labels: { app: "wide" }, extra: [["blob", "0123456789abcdef".repeat(4200)]] }));
  out.push(testLine("far away", { labels: { app: "wide" }, sec: 9_000_000_000_000_000, nsec: 1 }));
  return out;
}

async function written(lines: readonly TestLine[]): Promise<Buffer> {
  const store = await TestStore.open(new MemoryStore(), { level: 6 });
  await store.writer.flush(120);
  store.append(lines);
  await store.writer.flush(180);
  return (await store.segmentBytes())[0];
}

async function golden(name: string, lines: readonly TestLine[]): Promise<Buffer> {
  const file = fileURLToPath(new URL(name, folder));
  if (!existsSync(file) && process.env.WEIR_WRITE_GOLDEN === "1") writeFileSync(file, await written(lines));
  return readFileSync(file);
}

/** The headers of all members without what depends on the compressed bytes: lengths and checks. */
function headersOf(bytes: Buffer): string[] {
  const out: string[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 20)) {
    const end = at + 12 + bytes.readUInt16LE(at + 10);
    out.push(bytes.toString("hex", at, at + 20) + bytes.toString("hex", at + 28, end));
  }
  return out;
}

describe.each([
  { name: "v1.gz", lines: goldenLines() },
  { name: "v1-example.gz", lines: EXAMPLE },
  // With the sizes of metadata in its index.
  { name: "v1-metadata.gz", lines: goldenLines(), hasSizes: true },
])("golden segment $name", ({ name, lines, hasSizes = false }) => {
  test("is read as it was written, by its index and by walking", async () => {
    const bytes = await golden(name, lines);
    const store = await TestStore.open(new MemoryStore());
    await store.objects.put("golden.gz", [bytes]);
    const info = await store.reader.describe("golden.gz");
    expect(info).toMatchObject({
      tenant: "fake",
      partition: 0,
      firstOffset: 120,
      nextOffset: 180,
      lines: lines.length,
    });
    const index = await store.reader.index(info);
    const byIndex: Row[] = [];
    for (const block of index.blocks) {
      const view = await store.reader.openBlock(info, block);
      expect(block.metadataBytes).toBe(hasSizes ? metadataBytesOf(view) : 0);
      byIndex.push(...rowsOf(view));
    }
    const byWalk: Row[] = [];
    for (const part of walkSegment(bytes, "golden.gz")) if (part.kind === "block") byWalk.push(...rowsOf(part.block));
    expect(inOrder(byIndex)).toEqual(inOrder(lines.map(rowOf)));
    expect(inOrder(byWalk)).toEqual(inOrder(lines.map(rowOf)));
  });

  test("is what the writer writes today, compressed bytes aside", async () => {
    const now = headersOf(await written(lines));
    const then = headersOf(await golden(name, lines));
    // The index and the footer tell lengths of compressed blocks, so only their number is compared.
    const blocks = (headers: string[]) => headers.filter((header) => /^.{24}57(42|58)/.test(header));
    expect(blocks(now)).toEqual(blocks(then));
    if (hasSizes) expect(now).toHaveLength(then.length);
  });
});

test("docs/format.md explains the example's bytes", async () => {
  const text = explain(await golden("v1-example.gz", EXAMPLE));
  const page = readFileSync(FORMAT_PAGE, "utf8");
  const found = /<!-- example begin -->\n```text\n([\s\S]*?)```\n<!-- example end -->/.exec(page);
  if (process.env.WEIR_WRITE_DOCS === "1" && found !== null) {
    writeFileSync(
      FORMAT_PAGE,
      page.replace(found[0], () => found[0].replace(/```text\n[\s\S]*?```/, () => `\`\`\`text\n${text}\`\`\``)),
    );
    return;
  }
  expect(found?.[1]).toBe(text);
});
