/**
 * A map that holds at most `limit` entries of those used last, roughly: two generations, of which the older one is
 * thrown away whole when the younger one reaches half a limit. Costs one Map lookup for an entry in the younger
 * generation, and no list to keep in order. `weightMax` bounds the sum of the entries' weights in the same way.
 */
export class BoundedCache<V> {
  private young = new Map<string, V>();
  private old = new Map<string, V>();
  private readonly half: number;
  private readonly halfWeight: number;
  private youngWeight = 0;

  constructor(limit: number, weightMax: number = Number.POSITIVE_INFINITY) {
    this.half = Math.max(1, limit >> 1);
    this.halfWeight = weightMax / 2;
  }

  get size(): number {
    return this.young.size + this.old.size;
  }

  get(key: string): V | undefined {
    const value = this.young.get(key);
    if (value !== undefined) return value;
    const older = this.old.get(key);
    if (older !== undefined) {
      this.old.delete(key);
      // Its weight is not known any more; what it weighs on average is good enough.
      this.set(key, older, this.youngWeight / (this.young.size + 1));
    }
    return older;
  }

  set(key: string, value: V, weight = 0): void {
    if (this.young.size >= this.half || this.youngWeight + weight > this.halfWeight) {
      this.old = this.young;
      this.young = new Map();
      this.youngWeight = 0;
    }
    this.young.set(key, value);
    this.youngWeight += weight;
  }

  clear(): void {
    this.young.clear();
    this.old.clear();
    this.youngWeight = 0;
  }
}
