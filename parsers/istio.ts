import { z } from "zod";
import { defineParser, type Fields } from "../src/core/component.ts";
import {
  addNumber,
  addText,
  FromEnd,
  isDigits,
  isDigitsOrDash,
  type Request,
  readRequest,
  readStart,
} from "./access-line.ts";

const options = z.strictObject({
  split_cluster: z
    .boolean()
    .default(true)
    .describe(
      "Adds the parts of `upstream_cluster` (`outbound|8000|v1|httpbin.foo.svc.cluster.local`) as `cluster_direction`, `cluster_port`, `cluster_subset` and `cluster_host`, because the direction tells the caller's line from the server's.",
    ),
});

/** What stands between the request line and the upstream's failure. */
interface Response {
  readonly request: Request;
  readonly code: string;
  readonly flags: string;
  readonly details: string;
  readonly termination: string;
}

/**
 * `[START_TIME] "METHOD PATH PROTOCOL" CODE FLAGS DETAILS TERMINATION "FAILURE" RECEIVED SENT DURATION UPSTREAM_TIME
 * "XFF" "AGENT" "REQUEST_ID" "AUTHORITY" "UPSTREAM_HOST" CLUSTER UPSTREAM_LOCAL DOWNSTREAM_LOCAL DOWNSTREAM_REMOTE
 * SERVER_NAME ROUTE`. Sizes in bytes, durations in milliseconds, the time in UTC. TCP has `- - -` for the request.
 * Source: Istio, "Envoy Access Logs", default format string (since 1.9).
 */
function parse(line: string, splitCluster: boolean): Fields | null {
  const start = readStart(line);
  if (start === undefined) return null;
  const rest = new FromEnd(line);
  const routeName = rest.word();
  const serverName = rest.word();
  const downstreamRemote = rest.word();
  const downstreamLocal = rest.word();
  const upstreamLocal = rest.word();
  const cluster = rest.word();
  const upstreamHost = rest.quoted();
  const authority = rest.quoted();
  const requestId = rest.quoted();
  const userAgent = rest.quoted();
  const forwardedFor = rest.quoted();
  const upstreamTime = rest.word();
  const duration = rest.word();
  const sent = rest.word();
  const received = rest.word();
  const failure = rest.quoted();
  if (
    routeName === undefined ||
    serverName === undefined ||
    downstreamRemote === undefined ||
    downstreamLocal === undefined ||
    upstreamLocal === undefined ||
    cluster === undefined ||
    upstreamHost === undefined ||
    authority === undefined ||
    requestId === undefined ||
    userAgent === undefined ||
    forwardedFor === undefined ||
    upstreamTime === undefined ||
    duration === undefined ||
    sent === undefined ||
    received === undefined ||
    failure === undefined
  ) {
    return null;
  }
  if (!isDigits(received) || !isDigits(sent) || !isDigitsOrDash(duration)) return null;
  const response = readResponse(line, start.requestAt, rest.end);
  if (response === undefined) return null;

  const { request } = response;
  const fields: Fields = { start_time: start.time };
  addText(fields, "method", request.method);
  addText(fields, "path", request.path);
  addText(fields, "protocol", request.protocol);
  addNumber(fields, "response_code", response.code);
  addText(fields, "response_flags", response.flags);
  addText(fields, "response_code_details", response.details);
  addText(fields, "connection_termination_details", response.termination);
  addText(fields, "upstream_transport_failure_reason", failure);
  addNumber(fields, "bytes_received", received);
  addNumber(fields, "bytes_sent", sent);
  addNumber(fields, "duration", duration);
  addNumber(fields, "upstream_service_time", upstreamTime);
  addText(fields, "x_forwarded_for", forwardedFor);
  addText(fields, "user_agent", userAgent);
  addText(fields, "request_id", requestId);
  addText(fields, "authority", authority);
  addText(fields, "upstream_host", upstreamHost);
  addText(fields, "upstream_cluster", cluster);
  if (splitCluster) addCluster(fields, cluster);
  addText(fields, "upstream_local_address", upstreamLocal);
  addText(fields, "downstream_local_address", downstreamLocal);
  addText(fields, "downstream_remote_address", downstreamRemote);
  addText(fields, "requested_server_name", serverName);
  addText(fields, "route_name", routeName);
  return fields;
}

/**
 * The request line and what follows it up to `end`. Neither the path nor the termination details, which may hold
 * spaces and quotes, has a fixed end, so the first `" CODE FLAGS DETAILS ` after which something is left decides.
 * Each candidate looks ahead three spaces, and a candidate has one of its own, so all of them together are one pass.
 */
function readResponse(line: string, requestAt: number, end: number): Response | undefined {
  for (let quote = line.indexOf('" ', requestAt); quote !== -1 && quote < end; quote = line.indexOf('" ', quote + 1)) {
    const codeAt = quote + 2;
    const afterCode = line.indexOf(" ", codeAt);
    const afterFlags = line.indexOf(" ", afterCode + 1);
    const afterDetails = line.indexOf(" ", afterFlags + 1);
    // No three spaces here means none further on.
    if (afterCode === -1 || afterFlags === -1 || afterDetails === -1 || afterDetails + 1 >= end) return undefined;
    if (afterCode - codeAt > 3 || afterFlags === afterCode + 1 || afterDetails === afterFlags + 1) continue;
    const code = line.slice(codeAt, afterCode);
    const request = isDigits(code) ? readRequest(line, requestAt, quote) : undefined;
    if (request === undefined) continue;
    return {
      request,
      code,
      flags: line.slice(afterCode + 1, afterFlags),
      details: line.slice(afterFlags + 1, afterDetails),
      termination: line.slice(afterDetails + 1, end),
    };
  }
  return undefined;
}

/** `direction|port|subset|host`; anything else (`PassthroughCluster`) has no parts. */
function addCluster(fields: Fields, cluster: string): void {
  const parts = cluster.split("|", 5);
  if (parts.length !== 4) return;
  const [direction = "", port = "", subset = "", host = ""] = parts;
  addText(fields, "cluster_direction", direction);
  addNumber(fields, "cluster_port", port);
  addText(fields, "cluster_subset", subset);
  addText(fields, "cluster_host", host);
}

export default defineParser({
  name: "istio",
  summary: "Takes an access log line in Istio's default text format apart. `-` means absent.",
  options,
  examples: [
    {
      title: "A request, from the caller's sidecar",
      line: '[2020-11-25T21:26:18.409Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 4 4 "-" "curl/7.73.0-DEV" "84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "10.44.1.27:80" outbound|8000||httpbin.foo.svc.cluster.local 10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default',
      gives: {
        start_time: "2020-11-25T21:26:18.409Z",
        method: "GET",
        path: "/status/418",
        protocol: "HTTP/1.1",
        response_code: "418",
        response_code_details: "via_upstream",
        bytes_received: "0",
        bytes_sent: "135",
        duration: "4",
        upstream_service_time: "4",
        user_agent: "curl/7.73.0-DEV",
        request_id: "84961386-6d84-929d-98bd-c5aee93b5c88",
        authority: "httpbin:8000",
        upstream_host: "10.44.1.27:80",
        upstream_cluster: "outbound|8000||httpbin.foo.svc.cluster.local",
        cluster_direction: "outbound",
        cluster_port: "8000",
        cluster_host: "httpbin.foo.svc.cluster.local",
        upstream_local_address: "10.44.1.23:37652",
        downstream_local_address: "10.0.45.184:8000",
        downstream_remote_address: "10.44.1.23:46520",
        route_name: "default",
      },
    },
    {
      title: "A TCP connection",
      line: '[2020-11-25T21:26:18.409Z] "- - -" 0 UF,URX - - "connection_timeout" 0 0 10001 - "-" "-" "-" "-" "10.44.1.30:3306" outbound|3306||mysql.db.svc.cluster.local - 10.0.9.9:3306 10.44.1.23:39000 - -',
      options: { split_cluster: false },
      gives: {
        start_time: "2020-11-25T21:26:18.409Z",
        response_code: "0",
        response_flags: "UF,URX",
        upstream_transport_failure_reason: "connection_timeout",
        bytes_received: "0",
        bytes_sent: "0",
        duration: "10001",
        upstream_host: "10.44.1.30:3306",
        upstream_cluster: "outbound|3306||mysql.db.svc.cluster.local",
        downstream_local_address: "10.0.9.9:3306",
        downstream_remote_address: "10.44.1.23:39000",
      },
    },
    { title: "Another format", line: "GET /status/418 418", gives: null },
  ],
  timeField: "start_time",
  create:
    ({ split_cluster }) =>
    (line) =>
      parse(line, split_cluster),
});
