import { compileRegex } from "../../codec/re2.ts";
import type { Entry } from "./entry.ts";
import { splitPattern } from "./pattern-text.ts";
import type { LineStage } from "./stage.ts";

/** `| regexp "..."`: the named groups of the first match. A group that took no part gives the empty text. */
export function compileRegexp(pattern: string, entry: Entry): LineStage {
  const regex = compileRegex(pattern);
  const ids = regex.groups.map((name) => (name === "" ? -1 : entry.reserve(name)));
  return () => {
    const found = regex.captures(entry.text);
    if (found === null) return true;
    entry.loadLabels();
    for (let i = 0; i < ids.length; i++) if (ids[i] !== -1) entry.setParsed(ids[i], found.values[i] ?? "");
    return true;
  };
}

/**
 * `| pattern "..."`: a leading literal must begin the line. A capture reaches to the next literal; where that is missing it takes
 * the rest and nothing follows.
 */
export function compilePattern(pattern: string, entry: Entry): LineStage {
  const parts = splitPattern(pattern);
  const head = "literal" in parts[0] ? parts[0].literal : "";
  const steps: { id: number; until: string | null }[] = [];
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    if (!("capture" in part)) continue;
    const next = parts[i + 1];
    const id = part.capture === "_" ? -1 : entry.reserve(part.capture);
    steps.push({ id, until: next !== undefined && "literal" in next ? next.literal : null });
  }
  return () => {
    const { text } = entry;
    if (text === "" || !text.startsWith(head)) return true;
    entry.loadLabels();
    let at = head.length;
    for (const { id, until } of steps) {
      const found = until === null ? -1 : text.indexOf(until, at);
      if (id !== -1) entry.setParsed(id, text.slice(at, found === -1 ? text.length : found));
      if (until === null || found === -1) return true;
      at = found + until.length;
    }
    return true;
  };
}
