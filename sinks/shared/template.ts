import { z } from "zod";
import type { SinkRecord } from "../../src/core/sink.ts";

/*
 * Names made from records: `logs/{app}/{+yyyy-MM-dd}.log`.
 *   {name}      the label of that name; `none` where the record has no such label, or an empty one
 *   {tenant}    the record's tenant, where it has no label of that name
 *   {+pattern}  the record's time in UTC: yyyy, MM, dd, HH, mm stand for themselves, the rest is kept
 */
export const PLACE = /\{([^{}]*)\}/g;
const LABEL = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
const ABSENT = "none";

type Part = (record: SinkRecord) => string;

/** What is wrong with a template, or null. */
export function templateProblem(template: string): string | null {
  const rest = template.replace(PLACE, "");
  if (/[{}]/.test(rest)) return "a { or } stands alone; want {label}, {tenant} or {+yyyy-MM-dd}";
  for (const [whole, inside] of template.matchAll(PLACE)) {
    if (!inside.startsWith("+") && !LABEL.test(inside)) return `${whole} is no label's name`;
    if (inside.startsWith("+") && !/yyyy|MM|dd|HH|mm/.test(inside)) {
      return `${whole} has none of yyyy, MM, dd, HH, mm`;
    }
  }
  return null;
}

/** The schema of an option that is a template. */
export const template = z.string().superRefine((text, context) => {
  const problem = templateProblem(text);
  if (problem !== null) context.addIssue({ code: "custom", message: problem });
});

/** Compiles a template that `templateProblem` finds nothing wrong with. `written` is for what comes from records. */
export function compileTemplate(text: string, written: (value: string) => string = (value) => value): Part {
  const parts: (string | Part)[] = [];
  let end = 0;
  for (const match of text.matchAll(PLACE)) {
    parts.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    parts.push(match[1].startsWith("+") ? timePart(match[1].slice(1)) : labelPart(match[1], written));
  }
  parts.push(text.slice(end));
  const plain = parts.filter((part) => part !== "");
  if (plain.every((part) => typeof part === "string")) {
    const whole = plain.join("");
    return () => whole;
  }
  const hasLabels = [...text.matchAll(PLACE)].some(([, inside]) => !inside.startsWith("+"));
  return remembered(hasLabels, (record) =>
    plain.map((part) => (typeof part === "string" ? part : part(record))).join(""),
  );
}

/** Records come in runs of one stream: the same minute, and labels where they count, give the same text. */
function remembered(hasLabels: boolean, make: Part): Part {
  let tenant = "";
  let canonical = "";
  let minute = Number.NaN;
  let text = "";
  return (record) => {
    const now = Math.floor(record.sec / 60);
    if (now !== minute || (hasLabels && (record.canonical !== canonical || record.tenant !== tenant))) {
      ({ tenant, canonical } = record);
      minute = now;
      text = make(record);
    }
    return text;
  };
}

function labelPart(name: string, written: (value: string) => string): Part {
  return ({ labels, tenant }) => {
    const value = Object.hasOwn(labels, name) ? labels[name] : name === "tenant" ? tenant : "";
    return written(value === "" ? ABSENT : value);
  };
}

function timePart(pattern: string): Part {
  return ({ sec }) => {
    // Times outside of what a date can say are put at its ends.
    const iso = new Date(Math.min(253_402_300_799, Math.max(-62_135_596_800, sec)) * 1000).toISOString();
    return pattern
      .replaceAll("yyyy", iso.slice(0, 4))
      .replaceAll("MM", iso.slice(5, 7))
      .replaceAll("dd", iso.slice(8, 10))
      .replaceAll("HH", iso.slice(11, 13))
      .replaceAll("mm", iso.slice(14, 16));
  };
}
