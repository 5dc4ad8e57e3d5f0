import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { compileLogText } from "../../../src/query/compile.ts";
import type { LogRequest } from "../../../src/query/engine.ts";
import { sortedJson } from "../../../src/query/stages/label-text.ts";
import { SEED } from "../../random.ts";
import { givenOf, randomEntries, randomLog } from "../metric/random-metric.ts";
import type { PlainEntry } from "../plain/metric.ts";
import { entriesOf, type Found, makeStore, SECOND, type TestStore } from "./harness.ts";
import { randomHidden } from "./random-hidden.ts";

const LINES = 600;
const QUERIES = 100;

/** An entry that is to be found, with the stream that it came from and its place in order of arrival. */
interface Wanted extends Found {
  readonly stream: string;
  readonly arrival: number;
}

/** What a query gives of all entries, the plain way: each line in a block of its own, found by nothing but its stages. */
function wantedOf(
  { query, startNs, endNs, backward, categorize }: LogRequest,
  entries: readonly PlainEntry[],
): Wanted[] {
  const sign = backward ? -1 : 1;
  const compiled = compileLogText(query);
  const { entry } = compiled;
  return entries
    .flatMap(({ labels, metadata, ns, text }, arrival) => {
      if (ns < startNs || ns >= endNs) return [];
      if (!compiled.matchesStream(labels)) return [];
      const bytes = Buffer.concat([Buffer.from(text), Buffer.from("\n")]);
      entry.openBlock(bytes, labels, { metadata: () => Object.entries(metadata) });
      entry.openLine(0, bytes.length - 1);
      if (!compiled.process()) return [];
      const { stream, structuredMetadata, parsed } = entry.labelClasses();
      const parts = Object.entries({ structuredMetadata, parsed }).filter(([, part]) => Object.keys(part).length > 0);
      const detail = parts.map(([name, part]) => `"${name}":${sortedJson(part)}`).join(",");
      return [
        {
          ns,
          group: sortedJson(categorize ? stream : entry.labels()),
          detail: categorize && detail !== "" ? `{${detail}}` : "",
          text: entry.line.toString("latin1"),
          stream: sortedJson(labels),
          arrival,
        },
      ];
    })
    .sort((a, b) => sign * (a.ns < b.ns ? -1 : a.ns > b.ns ? 1 : a.arrival - b.arrival));
}

describe("log queries give what looking at each line by itself gives", () => {
  const stores: TestStore[] = [];
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
  });

  test.each([0, 1, 2])("random streams and queries (%i)", async (round) => {
    const seed = SEED + round;
    const random = new Random(seed);
    const { scope, hides } = randomHidden(random);
    const store = await makeStore({ store: { block_bytes: random.pick([4096, 16_384]) }, hidden: () => scope });
    stores.push(store);
    const entries = randomEntries(random, LINES);
    const visible = entries.filter((entry) => !hides(entry));
    let flushing: Promise<void> = Promise.resolve();
    for (let i = 0; i < entries.length; i++) {
      store.append(givenOf(entries[i]));
      if (i === 150 || i === 250) await store.flush();
      if (i === 400) flushing = store.flush();
    }
    let found = 0;
    for (let i = 0; i < QUERIES; i++) {
      const startNs =
        (1_700_000_000n + BigInt(random.below(320) - 20)) * SECOND + BigInt(random.pick([0, 1, 999_999_999]));
      const request: LogRequest = {
        query: randomLog(random),
        startNs,
        endNs: startNs + BigInt(random.pick([1, 30, 200, 400])) * SECOND + BigInt(random.below(2)),
        limit: random.pick([1, 3, 20, 100, 5000]),
        backward: random.below(2) === 0,
        categorize: random.below(2) === 0,
      };
      const about = `seed ${seed}, ${JSON.stringify(request, (_, v) => (typeof v === "bigint" ? String(v) : v))}`;
      const wanted = wantedOf(request, visible);
      const { limit, categorize } = request;
      const result = await store.engine.queryRange(request);
      await flushing;
      const lines = [...result.entries].map(({ line }) => line.toString("latin1"));
      const got = entriesOf(result).map((one, at) => ({ ...one, text: lines[at] }));
      found += got.length;
      expect(
        got.map(({ ns }) => ns),
        about,
      ).toEqual(wanted.slice(0, limit).map(({ ns }) => ns));
      expect(result.warnings, about).toEqual([]);
      // Of lines of different streams at one time any may come first, and beyond the limit any may be missing.
      if (limit < 5000) {
        const texts = new Set(wanted.map((one) => shown(one)));
        for (const one of got) expect(texts, about).toContain(shown(one));
        continue;
      }
      expect(got.map(shown).sort(), about).toEqual(wanted.map(shown).sort());
      // Those of one stream come in order of arrival.
      const left = [...wanted];
      const streams = new Map<string, number>();
      const sign = request.backward ? -1 : 1;
      let ns = -1n;
      for (const one of got) {
        if (one.ns !== ns) streams.clear();
        ns = one.ns;
        const alike = left.filter((other) => shown(other) === shown(one));
        const [{ stream, arrival }] = left.splice(left.indexOf(alike[0]), 1);
        if (alike.some((other) => other.stream !== stream)) continue;
        const last = streams.get(stream);
        if (last !== undefined) expect(sign * (arrival - last), about).toBeGreaterThan(0);
        streams.set(stream, arrival);
      }
      expect(categorize || got.every(({ detail }) => detail === "")).toBe(true);
    }
    expect(found).toBeGreaterThan(QUERIES);
  });
});

function shown({ ns, group, detail, text }: Found): string {
  return `${ns} ${group} ${detail} ${text}`;
}
