import { z } from "zod";
import { pathText } from "../../core/path.ts";
import { fieldRank, LevelFinder } from "../level-finder.ts";
import { defineStep } from "../step.ts";
import { firstOf } from "../value-source.ts";

const options = z.strictObject({
  from: z
    .union([pathText, z.array(pathText)])
    .default([])
    .describe(
      "Fields of the record that say the level. By default those with the usual names (level, severity, lvl, …). A level in labels, metadata or OTLP's severity counts more, the line itself counts less.",
    ),
});

export default defineStep({
  name: "level",
  summary:
    "Finds how serious a line is (trace, debug, info, warn, error, critical, fatal, or unknown) as Loki does, and keeps it as metadata `detected_level`.",
  options,
  compile({ from }, builder) {
    const paths = typeof from === "string" ? [from] : from;
    const { scope, plan, layers } = builder;
    builder.level = new LevelFinder(paths.length === 0 ? null : firstOf(paths, scope), layers.length);
    plan.levelRankOf = (key) => (paths.length === 0 ? fieldRank(scope.names.nameOf(key)) : -1);
  },
});
