import { describe, expect, test } from "vitest";
import { parseQuery } from "../../../src/query/syntax/parse.ts";
import { prettyQuery } from "../../../src/query/syntax/pretty.ts";

const LONG = '{namespace="production", app="checkout", container="server"}';

describe("a query of at most 100 bytes stays on its line", () => {
  test.each([
    ['{a="b"}|="x"', '{a="b"} |= "x"'],
    ['sum by(a)(rate({app="t1"}|="x"[5m]))', 'sum by (a)(rate({app="t1"} |= "x"[5m]))'],
    [`${LONG} |= "${"x".repeat(34)}"`, `${LONG} |= "${"x".repeat(34)}"`],
  ])("%s", (query, printed) => {
    expect(prettyQuery(parseQuery(query))).toBe(printed);
  });
});

describe("a longer one is broken over lines", () => {
  test.each([
    [
      `${LONG} |= "${"x".repeat(35)}"`,
      `${LONG}
  |= "${"x".repeat(35)}"`,
    ],
    [
      `${LONG} |= "ä${"x".repeat(33)}"`,
      `${LONG}
  |= "ä${"x".repeat(33)}"`,
    ],
    [
      `${LONG} | json | level="error" or status>=500 | line_format "{{.message}}"`,
      `${LONG}
  | json
  | ( level="error" or status>=500 )
  | line_format "{{.message}}"`,
    ],
    [
      `sum by (app, level) (count_over_time(${LONG} | json | level="error" [5m] offset 90m))`,
      `sum by (app, level)(
  count_over_time(
    ${LONG} | json | level="error" [5m] offset 1h30m
  )
)`,
    ],
    [
      `quantile_over_time(0.99, ${LONG} |= "took" | json | unwrap duration(took) | __error__="" [1m] offset -1h) by (app, pod)`,
      `quantile_over_time(
  0.99,
  ${LONG} |= "took" | json
    | unwrap duration(took)
    | __error__="" [1m] offset -1h
) by (app, pod)`,
    ],
    [
      `topk(5, sum without () (rate(${LONG} |= "a rather long literal" |= "and another one" [5m])))`,
      `topk(
  5,
  sum without ()(
    rate(
      ${LONG}
        |= "a rather long literal"
        |= "and another one" [5m]
    )
  )
)`,
    ],
    [
      `sum(rate(${LONG}[5m])) / on (app, pod) group_left (zone) sum(rate({namespace="production"}[5m])) * 100`,
      `  (
    sum(rate(${LONG}[5m]))
  / on (app,pod) group_left (zone)
    sum(rate({namespace="production"}[5m]))
  )
*
  100`,
    ],
    [
      `label_replace(rate(${LONG}[5m]), "service", "$1", "container", "(.*)-server")`,
      `label_replace(
  rate(${LONG}[5m]),
  "service",
  "$1",
  "container",
  "(.*)-server"
)`,
    ],
    [
      `sum_over_time(${LONG} | unwrap bytes_sent_to_the_client [5m] offset -25h)`,
      `sum_over_time(
  ${LONG}
    | unwrap bytes_sent_to_the_client [5m] offset -1d1h
)`,
    ],
    [
      `sum_over_time(${LONG} | unwrap bytes_sent_to_the_client [5m] offset 1us)`,
      `sum_over_time(
  ${LONG}
    | unwrap bytes_sent_to_the_client [5m] offset 1µs
)`,
    ],
  ])("%s", (query, printed) => {
    const expr = parseQuery(query);
    expect(prettyQuery(expr)).toBe(printed);
    expect(parseQuery(printed)).toEqual(expr);
  });
});

test.each([
  ["aggregations in each other", `${"sum(".repeat(450)}rate(${LONG}[5m])${")".repeat(450)}`],
  ["a chain", `rate(${LONG}[5m])${` + rate(${LONG}[5m])`.repeat(60)}`],
  // Laid out it would be too long to be read again.
  ["a long chain", `rate(${LONG}[5m])${` + rate(${LONG}[5m])`.repeat(150)}`],
])("%s can be read again", (_, query) => {
  const pretty = prettyQuery(parseQuery(query));
  expect(pretty.length).toBeLessThan(131_072);
  expect(parseQuery(pretty)).toEqual(parseQuery(query));
});
