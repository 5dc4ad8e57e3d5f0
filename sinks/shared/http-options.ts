import { z } from "zod";
import { TIMER_MS_MAX } from "../../src/core/wait.ts";

/** Whether a header can have the text for its value, and its reader gets the same: no character beyond ASCII, no space at an end. */
export function isHeaderText(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text) && text === text.trim();
}

/** An option that becomes a header's value. */
export const headerText = z
  .string()
  .refine(isHeaderText, "want printable ASCII, and no space or newline at either end");

/** Options of every sink that speaks HTTP. */
export const httpTarget = {
  headers: z
    .record(z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, "want a header's name"), headerText)
    .default({})
    .describe("Further headers of each request."),
  basic: z
    .strictObject({
      user: z.string().min(1).describe("Name."),
      password: z.string().describe("Password; better as a reference to the environment."),
    })
    .optional()
    .describe("Basic authentication."),
  bearer_token: headerText
    .min(1)
    .optional()
    .describe("Sent as `Authorization: Bearer …`; better as a reference to the environment."),
  timeout_ms: z
    .int()
    .min(1)
    .max(TIMER_MS_MAX)
    .default(30_000)
    .describe(
      "Longest wait for one request's answer, connecting included; then it counts as failed and is tried again.",
    ),
  tls: z
    .strictObject({
      ca_file: z.string().min(1).optional().describe("Certificates that are trusted, PEM, in place of the system's."),
      verify: z
        .boolean()
        .default(true)
        .describe("Whether the server's certificate is checked. Without it anybody on the way can read along."),
    })
    .prefault({})
    .describe("For https."),
};

/** The URL of a request, http or https. A name and a password have options of their own, which are kept out of messages. */
export const httpUrl = z.string().superRefine((text, context) => {
  const problem = urlProblem(text);
  if (problem !== null) context.addIssue({ code: "custom", message: problem });
});

function urlProblem(text: string): string | null {
  if (!URL.canParse(text)) return `got ${JSON.stringify(text)}, want http://HOST:PORT/PATH or https://…`;
  const { protocol, username, password } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:") return `got ${protocol}//, want http:// or https://`;
  if (username !== "" || password !== "") return "found a user in the URL, want it under `basic`";
  return null;
}

export interface HttpTargetOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly basic?: { readonly user: string; readonly password: string } | undefined;
  readonly bearer_token?: string | undefined;
  readonly timeout_ms: number;
  readonly tls: { readonly ca_file?: string | undefined; readonly verify: boolean };
}
