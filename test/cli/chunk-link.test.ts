import { describe, expect, test } from "vitest";
import { type ChunkConnection, ChunkLink, deliverAll } from "../../src/cli/chunk-link.ts";
import type { LineChunk } from "../../src/cli/line-chunks.ts";
import { WeirError } from "../../src/core/errors.ts";

const chunk = (n: number): LineChunk => ({ entries: Buffer.of(n), lines: 1, bytes: 1, id: `c${n}` });

async function* chunks(count: number): AsyncGenerator<LineChunk> {
  for (let n = 0; n < count; n++) yield chunk(n);
}

const lost = () => new WeirError("connection_lost", "reset", { retriable: true });

/** A server whose connections break after a number of chunks that they took without an acknowledgement for the last. */
class Server {
  readonly taken: string[] = [];
  opens = 0;
  refusals = 0;
  private readonly breakAfter: number[];

  constructor(breakAfter: number[]) {
    this.breakAfter = breakAfter;
  }

  readonly open = async (): Promise<ChunkConnection> => {
    if (this.refusals > 0) {
      this.refusals--;
      throw new WeirError("server_unreachable", "refused", { retriable: true });
    }
    let left = this.breakAfter[this.opens++] ?? Number.POSITIVE_INFINITY;
    let broken = false;
    return {
      send: async ({ id }) => {
        await Promise.resolve();
        if (broken) throw lost();
        this.taken.push(id);
        if (--left === 0) {
          broken = true;
          throw lost();
        }
      },
      close: async () => {
        broken = true;
      },
    };
  };
}

const quick = { retryMs: [1], onNotice: () => undefined };

describe("ChunkLink", () => {
  test.each([1, 3, 8])(
    "with %i lanes, every chunk arrives over connections that break, unacknowledged ones again",
    async (lanes) => {
      const server = new Server([3, 1, 4, 1, 5]);
      const delivered: string[] = [];
      await deliverAll(chunks(40), new ChunkLink(server.open, quick), lanes, ({ id }) => delivered.push(id));
      expect(delivered.toSorted()).toEqual(Array.from({ length: 40 }, (_, n) => `c${n}`).toSorted());
      expect(new Set(server.taken).size).toBe(40);
      expect(server.taken.length).toBe(45); // One of each broken connection was taken twice.
      expect(server.opens).toBe(6);
    },
  );

  test("tells of a lost connection once, however many chunks were on it", async () => {
    const notices: string[] = [];
    const server = new Server([5]);
    await deliverAll(
      chunks(20),
      new ChunkLink(server.open, { ...quick, onNotice: (text) => notices.push(text) }),
      8,
      () => undefined,
    );
    expect(notices).toEqual(["connection lost (reset), trying again"]);
  });

  test("a server that is away for a while is waited for", async () => {
    const server = new Server([2]);
    const link = new ChunkLink(server.open, quick);
    await link.deliver(chunk(0));
    server.refusals = 5;
    await Promise.all([link.deliver(chunk(1)), link.deliver(chunk(2))]);
    expect(server.taken.toSorted()).toEqual(["c0", "c1", "c1", "c2"]);
  });

  test("a server that can't be reached at first is not", async () => {
    const server = new Server([]);
    server.refusals = 1;
    await expect(deliverAll(chunks(3), new ChunkLink(server.open, quick), 2, () => undefined)).rejects.toThrow(
      "refused",
    );
    expect(server.opens).toBe(0);
  });

  test("a server that ends every connection before anything is delivered is not asked for ever", async () => {
    const server = new Server([1, 1, 1, 1, 1, 1, 1]);
    await expect(deliverAll(chunks(9), new ChunkLink(server.open, quick), 4, () => undefined)).rejects.toThrow("reset");
    expect(server.opens).toBe(3);
  });

  test("gives up when nothing gets through for too long", async () => {
    const server = new Server([1]);
    server.refusals = 0;
    let now = 0;
    const link = new ChunkLink(
      async () => {
        if (server.opens === 1) {
          now += 1000;
          throw lost();
        }
        return server.open();
      },
      { ...quick, giveUpMs: 5000, nowMs: () => now },
    );
    await expect(link.deliver(chunk(0))).rejects.toThrow("gave up after 5 s: reset");
    expect(now).toBe(6000);
  });

  test("what trying again can't mend is thrown at once, and no further chunk is taken", async () => {
    let asked = 0;
    const source = (async function* () {
      for (;;) {
        asked++;
        yield chunk(asked);
      }
    })();
    const refuse = async (): Promise<ChunkConnection> => ({
      send: async () => {
        throw new WeirError("refused", "wrong key");
      },
      close: async () => undefined,
    });
    await expect(deliverAll(source, new ChunkLink(refuse, quick), 3, () => undefined)).rejects.toThrow("wrong key");
    expect(asked).toBe(3);
  });
});
