/*
 * Servers that take everything and keep nothing, for measuring what sending to them costs: HTTP (also as Loki), the bulk API of
 * Elasticsearch, and the forward protocol with acknowledgements. A process of their own, so that their work is not counted:
 *
 *   node dist/bench/null-servers.js
 *
 * Prints `http=PORT forward=PORT` when they listen; ends with its standard input.
 */
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { CUT, decode, encode, MsgpackMap, skip } from "../src/codec/msgpack.ts";

const LF = 0x0a;

const web = http.createServer((request, response) => {
  if (request.url?.startsWith("/_bulk")) {
    bulk(request, response);
    return;
  }
  request.on("end", () => response.writeHead(204).end());
  request.resume();
});

/** Says of each document that it was created. */
function bulk(request: http.IncomingMessage, response: http.ServerResponse): void {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts);
    const text = request.headers["content-encoding"] === "gzip" ? gunzipSync(body) : body;
    let lines = 0;
    for (let at = text.indexOf(LF); at !== -1; at = text.indexOf(LF, at + 1)) lines++;
    const items = Array(lines / 2).fill('{"create":{"status":201}}');
    response.writeHead(200, { "content-type": "application/json" }).end(`{"items":[${items.join(",")}]}`);
  });
}

const forward = net.createServer((socket) => {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("error", () => socket.destroy()); // A client that leaves.
  socket.on("data", (bytes: Buffer) => {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    for (;;) {
      const end = skip(rest, 0, rest.length);
      if (end === CUT) break;
      // [tag, entries, options]: only the last is read.
      const { next: afterTag } = decode(rest, 1, end);
      const options = decode(rest, skip(rest, afterTag, end), end).value;
      const chunk = options instanceof MsgpackMap ? options.get("chunk") : undefined;
      if (typeof chunk === "string") socket.write(encode({ ack: chunk }));
      rest = rest.subarray(end);
    }
  });
});

await Promise.all(
  [web, forward].map((server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()))),
);
const [httpPort, forwardPort] = [web, forward].map((server) => (server.address() as AddressInfo).port);
process.stdout.write(`http=${httpPort} forward=${forwardPort}\n`);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
