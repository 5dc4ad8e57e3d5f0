import { expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { ENTRY_FORWARD, type EntryDraft } from "../../src/core/intake-entry.ts";
import { Delivery, type Stored } from "../../src/forward/delivery.ts";
import { Lines } from "./harness.ts";

const draft = (text: string): EntryDraft => ({
  kind: ENTRY_FORWARD,
  tenant: "fake",
  source: "agents",
  receivedMs: 0,
  payload: Buffer.from(text),
});

test("what is refused in the very moment in which nothing waits any more does not wait for ever", async () => {
  const lines = new Lines();
  const full = () => new WeirError("intake_full", "full", { retriable: true });
  let refuseLate: () => void = () => undefined;
  const offered: string[] = [];
  const append = ({ payload }: EntryDraft): Promise<Stored> => {
    const text = String(payload);
    offered.push(text);
    if (offered.filter((other) => other === text).length > 1) return Promise.resolve({ offset: 0 });
    if (text === "early") return Promise.reject(full());
    return new Promise((_, reject) => {
      refuseLate = () => reject(full());
    });
  };
  const log = Object.assign(Object.create(lines.logger), {
    // Said when nothing waits any more.
    info: () => refuseLate(),
  });
  const delivery = new Delivery({ append, whenWritable: () => Promise.resolve(), log, onChange: () => undefined });
  const late = delivery.send(draft("late"));
  expect(await delivery.send(draft("early"))).toEqual({ offset: 0 });
  expect(await late).toEqual({ offset: 0 });
  expect(offered).toEqual(["late", "early", "early", "late"]);
});
