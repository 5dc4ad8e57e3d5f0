/** Samples of a counter in the order of their times; times in seconds since the window's begin. */
export interface CounterSamples {
  readonly count: number;
  at(index: number): { readonly seconds: number; readonly value: number };
}

/**
 * The rate per second of a counter: its increase, where a fall means that it began anew at 0, extrapolated to the edges of the
 * window as far as the samples are close to them, by the window's length. A single sample has no rate: 0.
 * Source: Prometheus, `extrapolatedRate`.
 */
export function counterRate({ count, at }: CounterSamples, rangeSeconds: number): number {
  if (count < 2) return 0;
  const first = at(0);
  const last = at(count - 1);
  let increase = last.value - first.value;
  for (let i = 1, before = first.value; i < count; i++) {
    const { value } = at(i);
    if (value < before) increase += before;
    before = value;
  }
  const sampled = last.seconds - first.seconds;
  const average = sampled / (count - 1);
  let toStart = first.seconds;
  const toEnd = rangeSeconds - last.seconds;
  // A counter does not fall below 0, so it can't have begun before it would have been there.
  if (increase > 0 && first.value >= 0) toStart = Math.min(toStart, sampled * (first.value / increase));
  const near = average * 1.1;
  const extrapolated = sampled + (toStart < near ? toStart : average / 2) + (toEnd < near ? toEnd : average / 2);
  return (increase * (extrapolated / sampled)) / rangeSeconds;
}
