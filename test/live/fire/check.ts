import { setTimeout as sleep } from "node:timers/promises";
import { lineOf, type Sender } from "./sender.ts";

/** Lines asked for at one time. */
const PAGE_LINES = 20_000;
/** How long committed lines may take until a querier shows them, when nothing is being killed any more. */
const SETTLE_MS = 300_000;
const RETRY_MS = 500;

export interface Verdict {
  readonly found: number;
  readonly missing: number;
  readonly doubled: number;
  /** Lines that nobody sent. */
  readonly strange: number;
  /** The first of the lines that are wrong, for the failure's text. */
  readonly examples: readonly string[];
}

/** Asks the queriers, by turns, for every line that the senders had acknowledged. Waits for those that are not visible yet. */
export async function checkAll(senders: readonly Sender[], queriers: readonly string[]): Promise<Verdict> {
  const sum = { found: 0, missing: 0, doubled: 0, strange: 0, examples: [] as string[] };
  const deadline = Date.now() + SETTLE_MS;
  let page = 0;
  for (const sender of senders) {
    for (let from = 0; from < sender.acknowledged; from += PAGE_LINES) {
      const to = Math.min(sender.acknowledged, from + PAGE_LINES);
      const look = () => onePage(sender, from, to, queriers[page % queriers.length]);
      // What a busy machine has no time for now is asked for again, as are lines that are not visible yet.
      const lookAgain = () => look().catch((error: unknown) => (Date.now() < deadline ? null : Promise.reject(error)));
      let got = await lookAgain();
      while (got === null || (got.missing > 0 && Date.now() < deadline)) {
        await sleep(RETRY_MS);
        got = await lookAgain();
      }
      page++;
      sum.found += got.found;
      sum.missing += got.missing;
      sum.doubled += got.doubled;
      sum.strange += got.strange;
      if (sum.examples.length < 10) sum.examples.push(...got.examples.slice(0, 10));
    }
  }
  return sum;
}

async function onePage(sender: Sender, from: number, to: number, querier: string): Promise<Verdict> {
  const first = BigInt(sender.firstMs) * 1_000_000n;
  const parameters = new URLSearchParams({
    query: `{tag="${sender.name}"}`,
    start: `${first + BigInt(from) * 1000n}`,
    end: `${first + BigInt(to) * 1000n}`,
    // One more than there should be would be seen, and so would twice as many.
    limit: `${2 * PAGE_LINES}`,
    direction: "forward",
  });
  const response = await fetch(`${querier}/loki/api/v1/query_range?${parameters}`);
  if (!response.ok) throw new Error(`query: ${response.status} ${await response.text()}`);
  const body = (await response.json()) as {
    readonly data: { readonly result: readonly { readonly values: readonly [string, string][] }[] };
  };
  const counts = new Uint8Array(to - from);
  const examples: string[] = [];
  let strange = 0;
  for (const { values } of body.data.result) {
    for (const [time, line] of values) {
      const n = Number((BigInt(time) - first) / 1000n);
      if (n < from || n >= to || line !== lineOf(sender.name, n)) {
        strange++;
        examples.push(`strange: ${time} ${line}`);
      } else counts[n - from]++;
    }
  }
  let missing = 0;
  let doubled = 0;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] === 1) continue;
    if (counts[i] === 0) missing++;
    else doubled++;
    if (examples.length < 10) examples.push(`${counts[i]} times: ${lineOf(sender.name, from + i)}`);
  }
  return { found: counts.length - missing, missing, doubled, strange, examples };
}
