import http from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { AnswerRoom, type Ask, ask, createAgent } from "../../../src/query/peers/ask.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

const CHUNK = Buffer.alloc(64 * 1024);

async function asking(answer: (response: http.ServerResponse) => void, more: Partial<Ask> = {}) {
  const server = http.createServer((_request, response) => answer(response)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  const target = { isTls: false, host: "127.0.0.1", address: "127.0.0.1", port, name: `127.0.0.1:${port}` };
  const agent = createAgent(target, 2);
  ends.push(() => {
    agent.destroy();
    server.closeAllConnections();
    server.close();
  });
  const room = new AnswerRoom(1_000_000);
  const { signal } = new AbortController();
  const bounds = { timeoutMs: 120_000, bytesMax: 500_000, room, signal };
  return {
    room,
    answer: ask(target, agent, { method: "GET", path: "/", headers: {}, body: null, ...bounds, ...more }),
  };
}

/** Never ends by itself, and stops when nobody takes it. */
function pour(response: http.ServerResponse): void {
  const more = () => {
    while (!response.destroyed && response.write(CHUNK));
  };
  response.on("drain", more);
  more();
}

describe("asking another querier", () => {
  test("gives its answer, and the room for it back", async () => {
    const { answer, room } = await asking((response) => response.end("well"));
    expect(await answer).toEqual({ status: 200, body: Buffer.from("well") });
    expect(room.bytes).toBe(0);
  });

  test.each<{ name: string; answer: (response: http.ServerResponse) => void; more?: Partial<Ask>; says: RegExp }>([
    { name: "more than may be", answer: pour, says: /an answer of more than 500000 bytes/ },
    {
      name: "more than all answers may be",
      answer: pour,
      more: { bytesMax: 1e9 },
      says: /answers of more than 1000000 bytes at one time/,
    },
    { name: "nothing", answer: () => undefined, more: { timeoutMs: 50 }, says: /no answer within 50 ms/ },
    {
      name: "half of it",
      answer: (response) => {
        response.writeHead(200, { "content-length": 10 });
        response.write("half", () => response.destroy());
      },
      says: /aborted|socket hang up|ECONNRESET/,
    },
    { name: "its end", answer: (response) => response.destroy(), says: /socket hang up|ECONNRESET/ },
  ])("fails when it gives $name", async ({ answer: give, more, says }) => {
    const { answer, room } = await asking(give, more);
    await expect(answer).rejects.toMatchObject({
      code: "querier_unavailable",
      retriable: true,
      message: expect.stringMatching(says),
    });
    expect(room.bytes).toBe(0);
  });

  test("of an error only the begin is kept", async () => {
    const { answer } = await asking((response) => {
      response.statusCode = 500;
      for (let i = 0; i < 20; i++) response.write(CHUNK);
      response.end();
    });
    const { status, body } = await answer;
    expect(status).toBe(500);
    expect(body.length).toBeLessThan(2 * CHUNK.length);
  });

  test("ends when nobody wants it any more", async () => {
    const leaving = new AbortController();
    let isLeft = false;
    const { answer, room } = await asking(
      (response) => {
        response.on("close", () => {
          isLeft = true;
        });
        response.write("some");
        leaving.abort(new Error("left"));
      },
      { signal: leaving.signal },
    );
    await expect(answer).rejects.toThrow("left");
    expect(room.bytes).toBe(0);
    while (!isLeft) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});
