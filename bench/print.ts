/** A heading in the report of a measurement. */
export function section(title: string): void {
  process.stdout.write(`\n${title}\n`);
}

/** One figure of the report. */
export function row(name: string, value: string): void {
  process.stdout.write(`  ${name.padEnd(72)} ${value}\n`);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
