import { z } from "zod";
import { kafkaIntakeOptions } from "./kafka-options.ts";
import { diskIntakeOptions } from "./options.ts";

/** Which intake log there is, and how it is used. */
export const intakeOptions = z.discriminatedUnion("type", [diskIntakeOptions, kafkaIntakeOptions], {
  error: ({ code }) => (code === "invalid_union" ? "want disk or kafka" : undefined),
});

export type IntakeOptions = z.output<typeof intakeOptions>;
