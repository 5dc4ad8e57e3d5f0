import type { Random } from "../../../bench/lines.ts";
import { compileLogText } from "../../../src/query/compile.ts";
import type { DeleteFilter } from "../../../src/query/deletes.ts";
import type { HiddenScope } from "../../../src/query/deletes-hide.ts";
import type { PlainEntry } from "../plain/metric.ts";
import { SECOND, T0 } from "./harness.ts";

/** What is hidden of `randomEntries`, for the store and, the plain way, for each entry by itself. */
export function randomHidden(random: Random): { scope: HiddenScope; hides: (entry: PlainEntry) => boolean } {
  const time = () => T0 + BigInt(random.below(320)) * SECOND + BigInt(random.pick([0, 0, 1]));
  const cutoffs = new Map([["mail", time() - 200n * SECOND]]);
  const deletes = Array.from({ length: random.below(3) }, (): DeleteFilter => {
    const startNs = time();
    const query = random.pick([
      '{app="web"}',
      '{app=~".+"} |= "warn"',
      '{env="p"} | pod="pod-1"',
      '{app="db"} |~ "v=[0-4]"',
    ]);
    return { query, startNs, endNs: startNs + BigInt(random.below(150)) * SECOND };
  });
  const scope = {
    floorNs: null,
    cutoffNs: (_: string, { app }: { app?: string }) => cutoffs.get(app ?? "") ?? null,
    deletes,
  };
  const tests = deletes.map(({ query, startNs, endNs }) => {
    const compiled = compileLogText(query);
    return ({ labels, metadata, ns, text }: PlainEntry) => {
      if (ns < startNs || ns > endNs || !compiled.matchesStream(labels)) return false;
      const bytes = Buffer.concat([Buffer.from(text), Buffer.from("\n")]);
      compiled.entry.openBlock(bytes, labels, { metadata: () => Object.entries(metadata) });
      compiled.entry.openLine(0, bytes.length - 1);
      return compiled.process();
    };
  });
  return {
    scope,
    hides: (entry) => entry.ns < (cutoffs.get(entry.labels.app) ?? 0n) || tests.some((test) => test(entry)),
  };
}
