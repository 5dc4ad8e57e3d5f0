import { describe, expect, test } from "vitest";
import envoy from "../../parsers/envoy.ts";
import istio from "../../parsers/istio.ts";
import { Random } from "../random.ts";
import { plain } from "./plain.ts";

const parseEnvoy = envoy.create({});
const parseIstio = istio.create({ split_cluster: false });
const ENVOY_LINE = envoy.examples[0]!.line;
const [ISTIO_LINE = "", ISTIO_TCP_LINE = ""] = istio.examples.map(({ line }) => line);

/*
 * The formats as regular expressions, which the parsers must agree with. Spaces are spaces here, where `\S` would
 * take other white space for the end of a word.
 */
const ENVOY =
  /^\[([^\]]+)\] "([^ ]+) (.*?) ([^ ]+)" (\d{1,3}|-) ([^ ]+) (\d+|-) (\d+|-) (\d+|-) ([^ ]+) "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)"$/s;
const ENVOY_NAMES =
  "start_time method path protocol response_code response_flags bytes_received bytes_sent duration upstream_service_time x_forwarded_for user_agent request_id authority upstream_host".split(
    " ",
  );
const ISTIO =
  /^\[([^\]]+)\] "([^ ]+) (.*?) ([^ ]+)" (\d{1,3}) ([^ ]+) ([^ ]+) (.+?) "([^"]*)" (\d+) (\d+) (\d+|-) ([^ ]+) "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)" "([^"]*)" ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)$/s;
const ISTIO_NAMES =
  "start_time method path protocol response_code response_flags response_code_details connection_termination_details upstream_transport_failure_reason bytes_received bytes_sent duration upstream_service_time x_forwarded_for user_agent request_id authority upstream_host upstream_cluster upstream_local_address downstream_local_address downstream_remote_address requested_server_name route_name".split(
    " ",
  );

function byRegex(pattern: RegExp, names: readonly string[], line: string): Record<string, string> | null {
  const match = pattern.exec(line);
  if (match === null) return null;
  const found = names.map((name, i) => [name, match[i + 1] ?? ""] as const);
  return Object.fromEntries(found.filter(([name, value]) => name === "start_time" || (value !== "-" && value !== "")));
}

describe.each([
  {
    name: "envoy",
    parse: parseEnvoy,
    pattern: ENVOY,
    names: ENVOY_NAMES,
    lines: [ENVOY_LINE],
    numbers: ["response_code", "bytes_received", "bytes_sent", "duration", "upstream_service_time"],
  },
  {
    name: "istio",
    parse: parseIstio,
    pattern: ISTIO,
    names: ISTIO_NAMES,
    lines: [ISTIO_LINE, ISTIO_TCP_LINE],
    numbers: ["response_code", "bytes_received", "bytes_sent", "duration", "upstream_service_time"],
  },
])("$name parser", ({ parse, pattern, names, lines, numbers }) => {
  const check = (line: string): boolean => {
    const want = byRegex(pattern, names, line);
    const got = plain(parse(line));
    if (JSON.stringify(got) !== JSON.stringify(want)) expect({ line, got }).toEqual({ line, got: want });
    return want !== null;
  };

  test("agrees with the format's regular expression on the examples", () => {
    for (const line of lines) expect(check(line)).toBe(true);
  });

  test.each([
    { what: "a space in the path", from: '"(?:GET|POST) \\S+ ', to: '"GET /a b?c=d e ' },
    { what: "a quote in the path", from: '"(?:GET|POST) \\S+ ', to: '"GET /a"b ' },
    { what: "a whole ending in the path", from: '"(?:GET|POST) \\S+ ', to: '"GET /a HTTP/1.1" 200 - - - ' },
    { what: "an empty path", from: '"(?:GET|POST) \\S+ ', to: '"GET  ' },
    { what: "brackets in the path", from: '"(?:GET|POST) \\S+ ', to: '"GET /[a] "[x] ' },
    { what: "no path", from: '"(?:GET|POST) \\S+ ', to: '"GET ' },
    { what: "a quote in the agent", from: '"(nsq2http|curl/7.73.0-DEV)"', to: '"a"b"' },
    { what: "an empty agent", from: '"(nsq2http|curl/7.73.0-DEV)"', to: '""' },
    { what: "spaces in the agent", from: '"(nsq2http|curl/7.73.0-DEV)"', to: '"Mozilla/5.0 (X11; Linux) \\x"' },
    { what: "a code of four digits", from: '" (204|418) ', to: '" 2040 ' },
    { what: "no code", from: '" (204|418) ', to: '" - ' },
    { what: "something at the end", from: "$", to: " x" },
    { what: "something at the start", from: "^", to: "x" },
    { what: "no bracket", from: "^\\[", to: "" },
    { what: "spaces in the details", from: " - via_upstream - ", to: ' UC upstream_reset{x} remote "reset" by peer ' },
  ])("agrees with it on $what", ({ from, to }) => {
    const line = lines[0]!.replace(new RegExp(from), () => to);
    if (line !== lines[0]) check(line);
  });

  test("agrees with it on 100,000 mutated lines", () => {
    const random = new Random();
    const alphabet = [" ", '"', '" ', ' "', "[", "]", "-", "0", "200 ", '" 200 - - - "', "a", "|"];
    let taken = 0;
    for (let i = 0; i < 100_000; i++) if (check(random.mutate(random.pick(lines), alphabet))) taken++;
    expect(taken).toBeGreaterThan(1000);
  });

  test("numbers are numbers", () => {
    const fields = parse(lines[0]!) ?? {};
    for (const [field, value] of Object.entries(fields)) {
      expect({ field, number: typeof value === "object" }).toEqual({ field, number: numbers.includes(field) });
    }
  });
});

describe("istio's cluster", () => {
  const parse = istio.create({ split_cluster: true });
  const line = (cluster: string) => ISTIO_LINE.replace(/outbound\S+/, () => cluster);

  test.each([
    {
      cluster: "outbound|8000|v1|httpbin.foo",
      gives: { cluster_direction: "outbound", cluster_port: "8000", cluster_subset: "v1", cluster_host: "httpbin.foo" },
    },
    { cluster: "inbound|80||", gives: { cluster_direction: "inbound", cluster_port: "80" } },
    { cluster: "PassthroughCluster", gives: {} },
    { cluster: "a|b|c", gives: {} },
    { cluster: "a|b|c|d|e", gives: {} },
  ])("$cluster", ({ cluster, gives }) => {
    const fields = Object.entries(plain(parse(line(cluster))) as object).filter(([name]) =>
      name.startsWith("cluster_"),
    );
    expect(Object.fromEntries(fields)).toEqual(gives);
  });
});

test("neither takes the other's lines", () => {
  expect(parseEnvoy(ISTIO_LINE)).toBeNull();
  expect(parseIstio(ENVOY_LINE)).toBeNull();
});
