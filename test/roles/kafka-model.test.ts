import { expect, test } from "vitest";
import { seeded, seedOf } from "../intake/support.ts";
import { TestStore } from "../store/support.ts";
import { KafkaModel } from "./kafka-model.ts";

/** Partitions at once: most of their time they wait. More of them look for what is rare. */
const MODELS = Number(process.env.WEIR_TEST_MODELS ?? 24);
const STEPS = 120;

test("each line is stored once, whoever takes a partition over, dies, hangs, or hears late from the store", {
  timeout: 400_000,
}, async () => {
  const seed = seedOf("WEIR_TEST_SEED");
  console.log(`WEIR_TEST_SEED=${seed}`);
  await Promise.all(
    Array.from({ length: MODELS }, async (_, i) => {
      const model = new KafkaModel(seeded(seed + i));
      await model.run(STEPS);
      const store = await TestStore.open(model.objects);
      const found = (await store.rows()).map(({ line }) => line).sort();
      expect(model.lines.length).toBeGreaterThan(100);
      expect(found, `seed ${seed} + ${i}`).toEqual([...model.lines].sort());
      expect(model.lost, `seed ${seed} + ${i}`).toBe(0);
    }),
  );
});
