import { expect, test } from "vitest";
import { Random, SEED } from "../random.ts";
import { TestStore } from "../store/support.ts";
import { KafkaModel } from "./kafka-model.ts";

/** Partitions at once: most of their time they wait. More of them look for what is rare. */
const MODELS = Number(process.env.WEIR_TEST_MODELS ?? 24);
const STEPS = 120;

test("each line is stored once, whoever takes a partition over, dies, hangs, or hears late from the store", {
  timeout: 400_000,
}, async () => {
  await Promise.all(
    Array.from({ length: MODELS }, async (_, i) => {
      const model = new KafkaModel(new Random(SEED + i));
      await model.run(STEPS);
      const store = await TestStore.open(model.objects);
      const found = (await store.rows()).map(({ line }) => line).sort();
      expect(model.lines.length).toBeGreaterThan(100);
      expect(found, `seed ${SEED} + ${i}`).toEqual([...model.lines].sort());
      expect(model.lost, `seed ${SEED} + ${i}`).toBe(0);
    }),
  );
});
