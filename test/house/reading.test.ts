import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canonicalLabels, DEFAULT_TENANT, type Labels } from "../../src/core/labels.ts";
import { ID_ABSENT, ID_ELSEWHERE, Line, TRACE_ID } from "../../src/core/line.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { openFolderStore } from "../../src/objects/folder.ts";
import { openCatalog } from "../../src/store/catalog.ts";
import { storeOptions } from "../../src/store/options.ts";
import type { BlockView } from "../../src/store/view.ts";
import { walkSegmentFile } from "../../src/store/walk.ts";
import { openStreamWriter } from "../../src/store/writer.ts";
import { fromRoot, ROOT, read } from "./files.ts";

/*
 * Runs what docs/reading-without-weir.md shows, on a real store, and compares the output. `UPDATE_READING=1 npx vitest run
 * test/house/reading.test.ts` writes the output that it got into the page. A command whose tool is not here is skipped: set
 * WEIR_DUCKDB_PYTHON to a Python that has DuckDB, if `python3` has not.
 */
const PAGE = "docs/reading-without-weir.md";

interface Shown {
  readonly command: string;
  readonly output: string;
}

/** Each `sh` block, with the `text` block that follows it. */
function shownIn(markdown: string): Shown[] {
  return [...markdown.matchAll(/^```sh\n([\s\S]*?)^```\n\n^```text\n([\s\S]*?)^```$/gm)].map(
    ([, command = "", output = ""]) => ({ command, output }),
  );
}

interface Sample {
  readonly app: string;
  readonly ms: number;
  readonly text: string;
  readonly level: string;
  readonly pod?: string;
  readonly trace?: string;
}

const DAY = Date.UTC(2024, 4, 1, 10);
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
/** What was received between one flush and the next. */
const FLUSHES: readonly (readonly Sample[])[] = [
  [
    { app: "web", ms: DAY + 250, text: "GET /cart 200 12ms", level: "info", pod: "web-1" },
    { app: "api", ms: DAY + 900, text: "order 17 paid", level: "info", trace: TRACE },
    {
      app: "web",
      ms: DAY + 1000,
      text: "GET /pay 504 30000ms upstream timeout",
      level: "error",
      pod: "web-2",
      trace: TRACE,
    },
    { app: "api", ms: DAY + 2000, text: '{"msg":"timeout","order":18}', level: "error" },
  ],
  [{ app: "api", ms: DAY + 3000, text: "Error: payment failed\n    at pay.ts:9", level: "error" }],
  [{ app: "api", ms: DAY + 86_400_000, text: "order 19 paid", level: "info" }],
];

const line = new Line();

function fill({ ms, text, level, pod, trace }: Sample): Line {
  line.clear();
  line.sec = Math.floor(ms / 1000);
  line.nsec = (ms % 1000) * 1e6;
  line.bytes = Buffer.from(text);
  line.start = 0;
  line.end = line.bytes.length;
  line.level = level;
  if (pod !== undefined) line.addExtra("pod", pod);
  line.idAt.fill(ID_ABSENT);
  if (trace !== undefined) {
    line.ids.set(Buffer.from(trace, "hex"), TRACE_ID * 16);
    line.idAt[TRACE_ID] = ID_ELSEWHERE;
  }
  return line;
}

async function writeSample(folder: string): Promise<void> {
  const objects = await openFolderStore(folder);
  const metrics = new Metrics();
  const catalog = await openCatalog(objects, metrics, silentLogger);
  const deps = { objects, catalog, metrics, log: silentLogger, partition: 0, now: Date.now };
  const writer = openStreamWriter(storeOptions.parse({}), deps);
  let count = 0;
  for (const [i, samples] of FLUSHES.entries()) {
    for (const sample of samples) {
      const labels: Labels = { app: sample.app, namespace: "shop" };
      writer.append(writer.stream(DEFAULT_TENANT, labels, canonicalLabels(labels)), fill(sample));
      count++;
    }
    await writer.flush(count);
    // So that the reader finds segments in the manifest as well as behind it.
    if (i === 0) await catalog.fold();
  }
  writer.discard();
  await objects.close();
}

/** Why a command can't be run here, or "". */
function missing(command: string): string {
  for (const [tool, ask] of [
    ["zgrep", ["zgrep", "--version"]],
    ["zcat", ["zcat", "--version"]],
    ["python3", ["python3", "--version"]],
  ] as const) {
    if (command.includes(tool) && spawnSync(ask[0], ask.slice(1)).status !== 0) return `${tool} is not here`;
  }
  if (command.includes("duckdb") && spawnSync(PYTHON, ["-c", "import duckdb"]).status !== 0) {
    return "DuckDB is not here: pip install duckdb";
  }
  return "";
}

const PYTHON = process.env.WEIR_DUCKDB_PYTHON ?? "python3";

describe(PAGE, () => {
  const page = read(PAGE);
  const shown = shownIn(page);
  const folder = mkdtempSync(join(tmpdir(), "weir-reading-"));
  const reader = /^```python\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? "";
  const actual: Shown[] = [];

  beforeAll(async () => {
    mkdirSync(join(folder, "data"));
    writeFileSync(join(folder, "weir_read.py"), reader);
    await writeSample(join(folder, "data/store"));
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
    if (process.env.UPDATE_READING !== "1") return;
    let text = page;
    for (const [i, { command, output }] of actual.entries()) {
      text = text.replace(
        `${command}\`\`\`\n\n\`\`\`text\n${shown[i].output}`,
        () => `${command}\`\`\`\n\n\`\`\`text\n${output}`,
      );
    }
    writeFileSync(join(ROOT, PAGE), text);
  });

  test("shows commands and the reader", () => {
    expect(shown.length).toBeGreaterThanOrEqual(8);
    expect(page.match(/^```sh$/gm)?.length).toBe(shown.length);
    expect(reader).toContain("def segment(path)");
  });

  test.for(shown)("$command", ({ command, output }, context) => {
    const why = missing(command);
    if (why !== "") {
      actual.push({ command, output });
      context.skip(why);
    }
    const runs = command.includes("duckdb") ? command.replaceAll("python3 -c", `${PYTHON} -c`) : command;
    const got = execFileSync("bash", ["-c", runs], {
      cwd: folder,
      encoding: "utf8",
      env: { ...process.env, LC_ALL: "C.UTF-8" },
    });
    actual.push({ command, output: got });
    if (process.env.UPDATE_READING !== "1") expect(got).toBe(output);
  });
});

describe("the reader of that page", () => {
  const reader = /^```python\n([\s\S]*?)^```$/m.exec(read(PAGE))?.[1] ?? "";
  const hasPython = spawnSync("python3", ["--version"]).status === 0;

  test.skipIf(!hasPython).each(["v1-example.gz", "v1.gz"])("reads of %s what Weir reads", async (name) => {
    const folder = mkdtempSync(join(tmpdir(), "weir-reading-"));
    const file = join(ROOT, "test/golden", name);
    try {
      writeFileSync(join(folder, "weir_read.py"), reader);
      const out = execFileSync("python3", ["weir_read.py", file], {
        cwd: folder,
        encoding: "utf8",
        maxBuffer: 2 ** 28,
      });
      const got = out
        .trimEnd()
        .split("\n")
        .map((text) => text.replace(/"time_ns": (-?\d+)/, '"time_ns": "$1"'))
        .map((text): unknown => JSON.parse(text));
      const want: unknown[] = [];
      for await (const part of walkSegmentFile(file)) {
        if (part.kind !== "block") continue;
        for (let row = 0; row < part.block.rows; row++) want.push(rowOf(part.block, row));
      }
      expect(want.length, fromRoot(file)).toBeGreaterThan(1);
      expect(got).toEqual(want);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

function rowOf(block: BlockView, row: number): unknown {
  const start = block.lineStarts[row];
  return {
    time_ns: `${BigInt(block.sec[row]) * 1_000_000_000n + BigInt(block.nsec[row])}`,
    labels: block.labels,
    metadata: Object.fromEntries(block.metadata(row)),
    line: block.text.toString("utf8", start, block.lineStarts[row + 1] - 1),
  };
}
