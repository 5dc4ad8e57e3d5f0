import type { Refused, SinkRecord, WriteResult } from "../../src/core/sink.ts";
import { sendInHalves, sentLater, type Verdict } from "./bisect.ts";
import { isHeaderText } from "./http-options.ts";
import { template } from "./template.ts";

/** The option of sinks whose destination tells tenants apart by a header. */
export const tenantTemplate = template
  .default("")
  .describe(
    "Sent as `X-Scope-OrgID`; `{tenant}` is each record's own, and labels may stand there too. Empty: no header, for a destination without tenants.",
  );

/**
 * Sends each tenant's records on their own, as `sendInHalves` does. What a destination has taken of one tenant is not sent again
 * because of another. A tenant's name that no header can have is refused.
 */
export async function sendByTenant(
  batch: readonly SinkRecord[],
  tenantOf: (record: SinkRecord) => string,
  send: (part: readonly SinkRecord[], header: Record<string, string>) => Promise<Verdict>,
): Promise<WriteResult> {
  const failed: Refused[] = [];
  const todo = [...byTenant(batch, tenantOf)];
  let hasTaken = false;
  for (let next = todo.shift(); next !== undefined; next = todo.shift()) {
    const [tenant, places] = next;
    if (!isHeaderText(tenant)) {
      const reason = `the tenant ${JSON.stringify(tenant)} can't stand in a header: want printable ASCII`;
      for (const position of places) failed.push({ position, reason, retriable: false });
      continue;
    }
    const mine = places.map((place) => batch[place]);
    let result: WriteResult;
    try {
      result = await sendInHalves(mine, (part) => send(part, scopeHeader(tenant)));
    } catch (error) {
      const rest = [places, ...todo.map(([, others]) => others)].flat();
      return { failed: [...failed, ...sentLater(rest, error, hasTaken)] };
    }
    for (const refused of result.failed) failed.push({ ...refused, position: places[refused.position] });
    hasTaken = true;
  }
  return { failed };
}

/** Places in the batch of each tenant's records. */
function byTenant(batch: readonly SinkRecord[], tenantOf: (record: SinkRecord) => string): Map<string, number[]> {
  const tenants = new Map<string, number[]>();
  for (const [place, record] of batch.entries()) {
    const tenant = tenantOf(record);
    const places = tenants.get(tenant);
    if (places === undefined) tenants.set(tenant, [place]);
    else places.push(place);
  }
  return tenants;
}

const scopeHeader = (tenant: string): Record<string, string> => (tenant === "" ? {} : { "x-scope-orgid": tenant });
