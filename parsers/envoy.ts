import { z } from "zod";
import { defineParser, type Fields } from "../src/core/component.ts";
import { addNumber, addText, FromEnd, isDigitsOrDash, readRequest, readStart } from "./access-line.ts";

/**
 * `[START_TIME] "METHOD PATH PROTOCOL" CODE FLAGS RECEIVED SENT DURATION UPSTREAM_TIME "XFF" "AGENT" "REQUEST_ID"
 * "AUTHORITY" "UPSTREAM_HOST"`. Sizes in bytes, durations in milliseconds, the time in UTC.
 * Source: Envoy, "Access logging", default format string.
 */
function parse(line: string): Fields | null {
  const start = readStart(line);
  if (start === undefined) return null;
  const rest = new FromEnd(line);
  const upstreamHost = rest.quoted();
  const authority = rest.quoted();
  const requestId = rest.quoted();
  const userAgent = rest.quoted();
  const forwardedFor = rest.quoted();
  const upstreamTime = rest.word();
  const duration = rest.word();
  const sent = rest.word();
  const received = rest.word();
  const flags = rest.word();
  const code = rest.word();
  if (
    upstreamHost === undefined ||
    authority === undefined ||
    requestId === undefined ||
    userAgent === undefined ||
    forwardedFor === undefined ||
    upstreamTime === undefined ||
    duration === undefined ||
    sent === undefined ||
    received === undefined ||
    flags === undefined ||
    code === undefined
  ) {
    return null;
  }
  if (!isDigitsOrDash(code) || code.length > 3) return null;
  if (!isDigitsOrDash(received) || !isDigitsOrDash(sent) || !isDigitsOrDash(duration)) return null;
  if (line.charAt(rest.end - 1) !== '"') return null;
  const request = readRequest(line, start.requestAt, rest.end - 1);
  if (request === undefined) return null;

  const fields: Fields = { start_time: start.time };
  addText(fields, "method", request.method);
  addText(fields, "path", request.path);
  addText(fields, "protocol", request.protocol);
  addNumber(fields, "response_code", code);
  addText(fields, "response_flags", flags);
  addNumber(fields, "bytes_received", received);
  addNumber(fields, "bytes_sent", sent);
  addNumber(fields, "duration", duration);
  addNumber(fields, "upstream_service_time", upstreamTime);
  addText(fields, "x_forwarded_for", forwardedFor);
  addText(fields, "user_agent", userAgent);
  addText(fields, "request_id", requestId);
  addText(fields, "authority", authority);
  addText(fields, "upstream_host", upstreamHost);
  return fields;
}

export default defineParser({
  name: "envoy",
  summary: "Takes an access log line in Envoy's built-in text format apart. `-` means absent.",
  options: z.strictObject({}),
  examples: [
    {
      title: "A request",
      line: '[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"',
      gives: {
        start_time: "2016-04-15T20:17:00.310Z",
        method: "POST",
        path: "/api/v1/locations",
        protocol: "HTTP/2",
        response_code: "204",
        bytes_received: "154",
        bytes_sent: "0",
        duration: "226",
        upstream_service_time: "100",
        x_forwarded_for: "10.0.35.28",
        user_agent: "nsq2http",
        request_id: "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2",
        authority: "locations",
        upstream_host: "tcp://10.0.2.1:80",
      },
    },
    { title: "Another format", line: "GET /api/v1/locations 204", gives: null },
  ],
  timeField: "start_time",
  create: () => parse,
});
