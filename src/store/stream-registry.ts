import type { Labels } from "../core/labels.ts";
import { OpenStream } from "./sealed-block.ts";

/**
 * Streams by tenant and labels, each for as long as somebody holds its handle: a million streams that came once must not
 * stay in memory, and two handles for the same labels must not exist.
 */
export class StreamRegistry {
  private readonly tenants = new Map<string, Map<string, WeakRef<OpenStream>>>();
  private readonly forgotten = new FinalizationRegistry<{ tenant: string; canonical: string }>(
    ({ tenant, canonical }) => {
      const streams = this.tenants.get(tenant);
      // Another stream may have taken the name since.
      if (streams?.get(canonical)?.deref() !== undefined) return;
      streams?.delete(canonical);
      if (streams?.size === 0) this.tenants.delete(tenant);
    },
  );

  get(tenant: string, labels: Labels, canonical: string): OpenStream {
    let streams = this.tenants.get(tenant);
    if (streams === undefined) {
      streams = new Map();
      this.tenants.set(tenant, streams);
    }
    const known = streams.get(canonical)?.deref();
    if (known !== undefined) return known;
    const stream = new OpenStream(tenant, labels, canonical);
    streams.set(canonical, new WeakRef(stream));
    this.forgotten.register(stream, { tenant, canonical });
    return stream;
  }

  /** Streams that are known; some of them may be gone already. */
  get size(): number {
    let size = 0;
    for (const streams of this.tenants.values()) size += streams.size;
    return size;
  }
}
