import { z } from "zod";
import { defineSink } from "../src/core/component.ts";

export default defineSink({
  name: "store",
  summary:
    "Keeps the lines in this process's store, where queries find them. What the store does with them is set under `store`.",
  options: z.strictObject({}),
  create: (_options, { store }) => store,
});
