import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../../../bench/lines.ts";
import type { Victim } from "./cluster.ts";

/** Pause between two blows, and how long a victim stays down, in milliseconds, at least and at most. */
const BETWEEN_MS = [300, 3000] as const;
const DOWN_MS = [100, 2500] as const;
/** A pause is at times longer than a worker's session, so that it wakes up as one whose work another has. */
const PAUSED_MS = [300, 11_000] as const;
/** Victims that may be down at one time: brokers have a majority of their own. */
const DOWN_MAX = 3;

export interface ChaosReport {
  readonly kills: Record<string, number>;
  readonly pauses: Record<string, number>;
}

/**
 * Kills (SIGKILL) and pauses (SIGSTOP) victims at random until the signal, and leaves all of them running. Of brokers one at a time
 * is down: with two of three away nothing can be acknowledged, and nothing is learned from that.
 */
export async function harass(victims: readonly Victim[], random: Random, until: AbortSignal): Promise<ChaosReport> {
  const report: ChaosReport = { kills: {}, pauses: {} };
  const down = new Map<Victim, Promise<void>>();
  while (!until.aborted) {
    await sleep(between(random, BETWEEN_MS));
    const victim = random.pick(victims);
    const isBroker = victim.name.startsWith("broker");
    const brokerDown = [...down.keys()].some(({ name }) => name.startsWith("broker"));
    const kills = random.below(2) === 0;
    const ms = between(random, kills ? DOWN_MS : PAUSED_MS);
    if (until.aborted || down.has(victim) || down.size >= DOWN_MAX || (isBroker && brokerDown)) continue;
    const kind = victim.name.replace(/ \d+$/, "");
    const counts = kills ? report.kills : report.pauses;
    counts[kind] = (counts[kind] ?? 0) + 1;
    const blow = (kills ? killed(victim, ms) : paused(victim, ms)).finally(() => down.delete(victim));
    down.set(victim, blow);
    blow.catch(() => {}); // Awaited below.
  }
  await Promise.all(down.values());
  return report;
}

async function killed(victim: Victim, ms: number): Promise<void> {
  await victim.kill();
  await sleep(ms);
  await victim.restart();
}

async function paused(victim: Victim, ms: number): Promise<void> {
  victim.pause();
  await sleep(ms);
  victim.resume();
}

const between = (random: Random, [least, most]: readonly [number, number]) => least + random.below(most - least);
