import net from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeApi, type TestApi } from "./harness.ts";

/*
 * Requests that offer another protocol, and sockets that ask for one where there is none.
 */

let api: TestApi;
beforeAll(async () => {
  api = await makeApi();
});
afterAll(() => api.close());

const HEALTH = "/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000";
/** As Java's HTTP client offers HTTP/2 over a plain connection. */
const H2C =
  "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n";

/** Sends pieces one after the other; gives what comes until the server closes, or until `count` answers have begun. */
async function raw(pieces: readonly string[], count = Number.POSITIVE_INFINITY): Promise<string> {
  const [host, port] = api.server.address.split(":");
  const socket = net.connect(Number(port), host);
  socket.setNoDelay(true);
  let got = "";
  const done = new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", () => resolve());
    socket.on("data", (piece) => {
      got += piece.toString("latin1");
      // The last answer's body is a line.
      if (got.split("HTTP/1.1 ").length > count && got.endsWith("\n")) resolve();
    });
  });
  for (const piece of pieces) {
    socket.write(piece, "latin1");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await done;
  socket.destroy();
  return got;
}

test.each(["//", "http://[", "/\\", "*", "/loki/api/v1/tail/x", "//loki/api/v1/tail"])(
  "a socket that wants %s is told that it is not there, and nobody else notices",
  async (url) => {
    const got = await raw([`GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`]);
    expect(got).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/);
    expect((await api.get(HEALTH)).status).toBe(200);
  },
);

test("an offer of HTTP/2 is answered in HTTP/1.1, and so is what comes after it on the connection", async () => {
  const got = await raw(
    [`GET ${HEALTH} HTTP/1.1\r\nHost: x\r\n${H2C}\r\n`, `GET ${HEALTH} HTTP/1.1\r\nHost: x\r\n\r\n`],
    2,
  );
  expect(got.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2);
  expect(got.match(/"value":\[4000000000,"2"\]/g)).toHaveLength(2);
});

test.each([
  { name: "with the head", cut: [] },
  { name: "behind the head", cut: [-60] },
  { name: "in pieces", cut: [-50, -30, -1] },
])("a body that comes $name is read whole", async ({ cut }) => {
  const form = new URLSearchParams({ query: "vector(1)+vector(1)", time: "4000000000", x: "y".repeat(30) }).toString();
  const request =
    `POST /loki/api/v1/query HTTP/1.1\r\nHost: x\r\n${H2C}Content-Type: application/x-www-form-urlencoded\r\n` +
    `Content-Length: ${form.length}\r\n\r\n${form}`;
  const places = [0, ...cut.map((from) => request.length + from), request.length];
  const got = await raw(
    places.slice(1).map((to, i) => request.slice(places[i], to)),
    1,
  );
  expect(got).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(got).toContain('"value":[4000000000,"2"]');
});

test("what is wrong with such a request is said as with any other", async () => {
  const bad = await raw([`PUT ${HEALTH} HTTP/1.1\r\nHost: x\r\n${H2C}\r\n`], 1);
  expect(bad).toMatch(/^HTTP\/1\.1 405 /);
});

test.each([
  { name: "without a key", head: "Sec-WebSocket-Version: 13\r\n" },
  { name: "with a broken key", head: "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n" },
  { name: "of another version", head: "Sec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" },
])("a handshake $name is a bad request", async ({ head }) => {
  const url = `/loki/api/v1/tail?query=${encodeURIComponent('{a="b"}')}`;
  const got = await raw([`GET ${url} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${head}\r\n`]);
  expect(got).toMatch(
    /^HTTP\/1\.1 400 Bad Request\r\nContent-Type: text\/plain; charset=utf-8\r\n.*\r\n\r\nBad Request\n$/s,
  );
});
