const DIGIT = 1 << 16;

/** The places 0 to `count` in ascending order of their keys, equal keys in the order given. Linear in time. */
export function radixOrder(keys: Uint32Array, count: number): Uint32Array {
  let order = Uint32Array.from({ length: count }, (_, i) => i);
  let most = 0;
  for (let i = 0; i < count; i++) if (keys[i] > most) most = keys[i];
  for (let shift = 0; shift === 0 || (shift < 32 && most >>> shift > 0); shift += 16) {
    const starts = new Uint32Array(DIGIT + 1);
    for (let i = 0; i < count; i++) starts[((keys[i] >>> shift) & (DIGIT - 1)) + 1]++;
    for (let digit = 0; digit < DIGIT; digit++) starts[digit + 1] += starts[digit];
    const next = new Uint32Array(count);
    for (const place of order) next[starts[(keys[place] >>> shift) & (DIGIT - 1)]++] = place;
    order = next;
  }
  return order;
}
