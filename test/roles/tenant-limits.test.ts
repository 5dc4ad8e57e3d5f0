import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PIPELINE, TestWeir } from "../push/weir.ts";

const FILE = `${PIPELINE.replace("http: {", "http: { auth_enabled: true,")}
retention:
  period: 30d
  tenants: { short: { period: 7d } }
`;

describe("what a process says of a tenant's limits", () => {
  let weir: TestWeir;
  beforeAll(async () => {
    weir = await TestWeir.start(FILE);
  });
  afterAll(async () => {
    await weir.stop();
  });

  test.each([
    { tenant: "short", period: "7d" },
    { tenant: "other", period: "30d" },
  ])("$tenant keeps lines for $period, by which Logs Drilldown limits its time picker", async ({ tenant, period }) => {
    const headers = { "x-scope-orgid": tenant };
    const drilldown = await fetch(`${weir.base}/loki/api/v1/drilldown-limits`, { headers });
    expect(await drilldown.json()).toMatchObject({ limits: { retention_period: period, max_query_series: 500 } });
    const limits = await fetch(`${weir.base}/config/tenant/v1/limits`, { headers });
    expect(await limits.text()).toMatch(new RegExp(`^retention_period: "?${period}"?$`, "m"));
  });
});
