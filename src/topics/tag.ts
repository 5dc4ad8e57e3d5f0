const PLACE = /\{([^{}]*)\}/g;

/** What is wrong with a tag's template, or null. */
export function tagProblem(template: string): string | null {
  if (/[{}]/.test(template.replace(PLACE, ""))) return "a { or } stands alone; want {topic} or {partition}";
  for (const [whole, name] of template.matchAll(PLACE)) {
    if (name !== "topic" && name !== "partition") return `got ${whole}, want {topic} or {partition}`;
  }
  return null;
}

/** The tag of what stands in a partition. It is the same for all of it, so that a batch is one entry. */
export function tagOf(template: string, topic: string, partition: number): string {
  return template.replace(PLACE, (_, name: string) => (name === "topic" ? topic : String(partition)));
}
