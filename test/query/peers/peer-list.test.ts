import { afterEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../../src/core/log.ts";
import { parseHost, QUERIER_ADDRESS } from "../../../src/query/peers/address.ts";
import { AnswerRoom } from "../../../src/query/peers/ask.ts";
import { PeerList } from "../../../src/query/peers/peer-list.ts";

const lists: PeerList[] = [];
afterEach(() => {
  for (const list of lists.splice(0)) list.close();
});

/** A list whose names have what `found` says, and the names of those that went. */
function open(addresses: readonly string[], found: () => readonly string[]): { list: PeerList; gone: string[] } {
  const gone: string[] = [];
  const list = new PeerList(addresses, {
    ...{ id: "me", version: "v", key: "", room: new AnswerRoom(1000), now: () => performance.now(), log: silentLogger },
    lookup: async () => found(),
    onReady: () => undefined,
    onChange: () => undefined,
    onGone: ({ name }) => gone.push(name),
  });
  lists.push(list);
  return { list, gone };
}

const namesOf = (list: PeerList) => [...list.all].map(({ name }) => name).sort();

describe("the list of queriers", () => {
  test("has one for each address of a name, as they come and go", async () => {
    // Port 1 answers nobody.
    let found = ["127.0.0.2", "127.0.0.3", "127.0.0.3", "::1"];
    const { list, gone } = open(["queriers:1"], () => found);
    await list.refresh();
    expect(namesOf(list)).toEqual(["127.0.0.2:1", "127.0.0.3:1", "[::1]:1"]);
    const kept = [...list.all].find(({ name }) => name === "127.0.0.3:1");
    found = ["127.0.0.3", "127.0.0.4"];
    await list.refresh();
    expect(namesOf(list)).toEqual(["127.0.0.3:1", "127.0.0.4:1"]);
    expect(gone.toSorted()).toEqual(["127.0.0.2:1", "[::1]:1"]);
    expect([...list.all]).toContain(kept);
  });

  test("stays as it was while a name can't be looked up", async () => {
    let isAway = false;
    const { list, gone } = open(["queriers:1", "127.0.0.9:2"], () => {
      if (isAway) throw new Error("ENOTFOUND");
      return ["127.0.0.2"];
    });
    await list.refresh();
    isAway = true;
    await list.refresh();
    expect(namesOf(list)).toEqual(["127.0.0.2:1", "127.0.0.9:2"]);
    expect(gone).toEqual([]);
  });

  test("is bounded", async () => {
    const { list } = open(["queriers:1"], () => Array.from({ length: 1000 }, (_, i) => `127.0.${i >> 8}.${i & 255}`));
    await list.refresh();
    expect(namesOf(list)).toHaveLength(256);
  });
});

describe("addresses", () => {
  test.each([
    { text: "querier-1:3101", host: "querier-1", port: 3101, isTls: false },
    { text: "10.0.0.7:1", host: "10.0.0.7", port: 1, isTls: false },
    { text: "[fd00::1]:3101", host: "fd00::1", port: 3101, isTls: false },
    { text: "http://querier:3101/", host: "querier", port: 3101, isTls: false },
    { text: "https://querier.example.com:443", host: "querier.example.com", port: 443, isTls: true },
  ])("$text", ({ text, ...wanted }) => {
    expect(QUERIER_ADDRESS.test(text)).toBe(true);
    expect(parseHost(text)).toEqual(wanted);
  });

  test.each(["", "querier", "querier:", ":3101", "ftp://x:1", "http://x:1/path", "a b:1", "user@x:1", "fd00::1:3101"])(
    "refuses %j",
    (text) => {
      expect(QUERIER_ADDRESS.test(text)).toBe(false);
    },
  );
});
