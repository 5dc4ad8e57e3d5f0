import { getEventListeners } from "node:events";
import net, { type AddressInfo, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HttpClient } from "../../sinks/shared/http-client.ts";
import { Random } from "../random.ts";

const TIMEOUT_MS = 60;
const REQUESTS = 250;
const OK = "HTTP/1.1 204 No Content\r\n\r\n";

/** What a server may do with a request; true when that was a whole answer which says that the body was taken. */
const DEEDS: readonly ((socket: Socket, random: Random) => boolean)[] = [
  (socket) => socket.write(OK) || true,
  (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") || true,
  (socket) =>
    socket.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n") && socket.write(OK),
  (socket) => socket.end("HTTP/1.1 200 OK\r\n\r\nuntil the end") !== undefined,
  (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ncut") === undefined,
  (socket) => socket.end("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel") === undefined,
  (socket) => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nno more") && false,
  (socket) => socket.write("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n") && false,
  (socket) => socket.write("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n") && false,
  (socket) => socket.write("HTTP/1.1 1") && false,
  (socket) => socket.write("SSH-2.0-nothing\r\n") && false,
  (socket) => socket.write("HTTP/1.1 100 Continue\r\n\r\n") && false,
  (socket) => socket.destroy() === undefined,
  (socket) => socket.resetAndDestroy() === undefined,
  (socket) => socket.end() === undefined,
  () => false,
];

describe("the client of sinks that speak HTTP", () => {
  let server: net.Server;
  const sockets = new Set<Socket>();
  /** For each request that came whole, by its number, whether its answer said that it was taken. */
  const outcomes = new Map<string, boolean>();
  let random: Random;
  beforeEach(async () => {
    random = new Random();
    outcomes.clear();
    server = net.createServer((socket) => {
      sockets.add(socket);
      let text = "";
      socket.on("error", () => {}); // Cut off by either side.
      socket.on("close", () => sockets.delete(socket));
      if (random.below(30) === 0) socket.destroy();
      socket.on("data", (data) => {
        text += data.toString();
        const number = /\r\n\r\n(\d+)#end#/.exec(text)?.[1];
        if (number === undefined) return;
        text = "";
        outcomes.set(number, DEEDS[random.below(DEEDS.length)](socket, random) === true);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  const open = () =>
    new HttpClient(
      {
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        headers: {},
        timeout_ms: TIMEOUT_MS,
        tls: { verify: true },
      },
      Date.now,
    );

  test("ends each request, and takes for taken only what was answered so", async () => {
    const client = open();
    const stop = new AbortController();
    for (let i = 0; i < REQUESTS; i++) {
      const outcome = await client.post(Buffer.from(`${i}#end#`), {}, stop.signal).then(
        (answer) => (answer === null ? "taken" : `refused: ${answer.text}`),
        (error: { code?: string }) => error.code,
      );
      if (outcome === "taken") expect(outcomes.get(String(i))).toBe(true);
      else expect(outcome).toBe("sink_unavailable");
    }
    // The signal lives as long as the process: nothing of a request stays with it.
    expect(getEventListeners(stop.signal, "abort").length).toBeLessThan(3);
    client.close();
  });

  test("ends a request at once when its signal is aborted, wherever it is", async () => {
    const client = open();
    for (let i = 0; i < 40; i++) {
      const stop = new AbortController();
      const sent = client.post(Buffer.from(`${i}#end#`), {}, stop.signal).then(
        () => "settled",
        () => "settled",
      );
      if (random.below(3) > 0) await new Promise((resolve) => setTimeout(resolve, random.below(4)));
      stop.abort();
      expect(await sent).toBe("settled");
    }
    client.close();
  });
});
