import { z } from "zod";
import { messageOf, WeirError } from "./errors.ts";

/** Where a path begins. `record` is what an ordinary path reads; the others have a `$` or are an OTLP group. */
export type PathRoot = "record" | "tag" | "source" | "line" | "level" | "labels" | "metadata" | "resource" | "scope";

export interface Path {
  readonly root: PathRoot;
  readonly segments: readonly string[];
  readonly text: string;
}

const ROOTS: Record<string, PathRoot> = {
  $tag: "tag",
  $source: "source",
  $line: "line",
  $level: "level",
  $labels: "labels",
  $metadata: "metadata",
  $resource: "resource",
  $scope: "scope",
};
/** Roots that are a value, not a map. */
const LEAVES: ReadonlySet<PathRoot> = new Set(["tag", "source", "line", "level"]);

// A name up to the next dot or bracket, or a quoted one in brackets. No two alternatives begin alike.
const STEP = /\.?([^.[\]"'\s]+)|\[("(?:[^"\\]|\\.)*"|'[^']*')\]/y;

/**
 * Reads a path: `kubernetes.labels.app`, `kubernetes.labels["app.kubernetes.io/name"]`, `["log.level"]`, `$tag`,
 * `$source`, `$line`, `$level`, `$labels.app`, `$metadata.x`, `$resource["service.name"]`, `$scope.name`.
 * Throws WeirError `bad_path` that says at which character it went wrong.
 */
export function parsePath(text: string): Path {
  const segments: string[] = [];
  let at = 0;
  while (at < text.length) {
    STEP.lastIndex = at;
    const step = STEP.exec(text);
    // A dot separates: none at the front, and one before every plain name after the first.
    const isPlain = step?.[1] !== undefined;
    const hasDot = text[at] === ".";
    if (step === null || (isPlain && hasDot === (at === 0))) throw badPath(text, at, 'want a name or ["name"]');
    segments.push(isPlain ? step[1] : unquote(step[2], text, at));
    at = STEP.lastIndex;
  }
  if (segments.length === 0) throw badPath(text, 0, "it is empty");
  const first = segments[0];
  if (!text.startsWith("$")) return { root: "record", segments, text };
  const root = ROOTS[first];
  if (root === undefined) throw badPath(text, 0, `no ${first}, only ${Object.keys(ROOTS).join(", ")}`);
  if (LEAVES.has(root) && segments.length > 1) throw badPath(text, first.length, `${first} has no parts`);
  return { root, segments: segments.slice(1), text };
}

function unquote(quoted: string, text: string, at: number): string {
  if (quoted.startsWith("'")) return quoted.slice(1, -1);
  try {
    return String(JSON.parse(quoted));
  } catch (error) {
    throw badPath(text, at, `bad escape: ${messageOf(error)}`);
  }
}

function badPath(text: string, at: number, what: string): WeirError {
  const reason = `${what}, at character ${at + 1}`;
  return new WeirError("bad_path", `path ${JSON.stringify(text)}: ${reason}`, { context: { path: text, at, reason } });
}

/** A path as an option: text that `parsePath` takes. */
export const pathText = z.string().check((input) => {
  try {
    parsePath(input.value);
  } catch (error) {
    // The value itself is named by whoever reports the issue.
    const reason = error instanceof WeirError ? error.context.reason : messageOf(error);
    input.issues.push({ code: "custom", input: input.value, message: `want a path: ${String(reason)}` });
  }
});
