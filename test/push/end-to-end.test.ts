import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { agoNs, TestWeir } from "./weir.ts";

describe("a push", () => {
  let weir: TestWeir;
  beforeAll(async () => {
    weir = await TestWeir.start();
  });
  afterAll(() => weir.close());

  test("is in query results as it came", async () => {
    const ns = agoNs(5, 7);
    const sent = await weir.push({
      streams: [{ stream: { app: "web" }, values: [[ns, "level=warn hello", { user: "u1", trace_id: "abc" }]] }],
    });
    expect(sent).toMatchObject({ status: 204, text: "" });
    expect(await weir.rows('{app="web"}')).toEqual([
      {
        stream: { app: "web", service_name: "web", detected_level: "warn", user: "u1", trace_id: "abc" },
        ns,
        line: "level=warn hello",
      },
    ]);
  });
});
