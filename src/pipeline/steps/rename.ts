import { z } from "zod";
import { parsePath, pathText } from "../../core/path.ts";
import { defineStep } from "../step.ts";

const options = z.record(pathText, pathText).refine(
  (pairs) =>
    Object.entries(pairs)
      .flat()
      .every((text) => !text.startsWith("$")),
  {
    error: "only fields of the record can be renamed, nothing that begins with $",
  },
);

export default defineStep({
  name: "rename",
  summary: "Gives fields other names (`old: new`), for the steps after it and for records that are stored as JSON.",
  options,
  compile(pairs, builder) {
    for (const [from, to] of Object.entries(pairs)) {
      builder.names = builder.names.renamed(parsePath(from).segments, parsePath(to).segments);
    }
  },
});
