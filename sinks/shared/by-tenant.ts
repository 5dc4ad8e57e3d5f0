import type { SinkRecord } from "../../src/core/sink.ts";
import { template } from "./template.ts";

/** The option of sinks whose destination tells tenants apart by a header. */
export const tenantTemplate = template
  .default("")
  .describe(
    "Sent as `X-Scope-OrgID`; `{tenant}` is each record's own, and labels may stand there too. Empty: no header, for a destination without tenants.",
  );

/** Places in the batch of each tenant's records. */
export function byTenant(
  batch: readonly SinkRecord[],
  tenantOf: (record: SinkRecord) => string,
): Map<string, number[]> {
  const tenants = new Map<string, number[]>();
  for (const [place, record] of batch.entries()) {
    const tenant = tenantOf(record);
    const places = tenants.get(tenant);
    if (places === undefined) tenants.set(tenant, [place]);
    else places.push(place);
  }
  return tenants;
}

export const scopeHeader = (tenant: string): Record<string, string> =>
  tenant === "" ? {} : { "x-scope-orgid": tenant };
