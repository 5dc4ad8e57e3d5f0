import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { unlessAborted, untilAborted } from "../../src/core/wait.ts";

const never = new Promise<never>(() => {});

test.each([
  ["before", (stop: AbortController) => stop.abort(new Error("stop"))],
  ["meanwhile", (stop: AbortController) => setTimeout(() => stop.abort(new Error("stop")), 5)],
])("an abort %s ends a wait: with its reason, or without a word", async (_, abort) => {
  const stop = new AbortController();
  abort(stop);
  await expect(unlessAborted(never, stop.signal)).rejects.toThrow("stop");
  await untilAborted(never, stop.signal);
  expect(getEventListeners(stop.signal, "abort")).toEqual([]);
});

test("work that ends gives what it gives, and nobody listens any more", async () => {
  const { signal } = new AbortController();
  expect(await unlessAborted(Promise.resolve(7), signal)).toBe(7);
  await untilAborted(Promise.resolve(), signal);
  await expect(unlessAborted(Promise.reject(new Error("broken")), signal)).rejects.toThrow("broken");
  await expect(untilAborted(Promise.reject(new Error("broken")), signal)).rejects.toThrow("broken");
  expect(getEventListeners(signal, "abort")).toEqual([]);
});
