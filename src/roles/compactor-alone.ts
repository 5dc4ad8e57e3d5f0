import { WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { openObjectStore } from "../objects/open.ts";
import type { S3Options } from "../objects/options.ts";
import { withS3Options } from "../objects/s3-url.ts";
import { openCatalog } from "../store/catalog.ts";
import type { CompactorOptions } from "../store/compact/options.ts";
import type { StoreOptions } from "../store/options.ts";
import type { RetentionOptions } from "../store/retention-options.ts";
import { CompactorRole } from "./compactor.ts";
import { openForgetting } from "./forget.ts";

export interface CompactorSections {
  readonly store: StoreOptions;
  readonly compactor: CompactorOptions;
  readonly retention: RetentionOptions;
  readonly s3: S3Options;
}

/** The compactor in a process of its own, on a store that others write. */
export async function openCompactor(
  url: string,
  { store, compactor, retention, s3 }: CompactorSections,
  { metrics, log }: { readonly metrics: Metrics; readonly log: Logger },
): Promise<{ readonly role: CompactorRole; readonly close: () => Promise<void> }> {
  const objects = await openObjectStore(withS3Options(url, s3), { metrics });
  const catalog = await openCatalog(objects, metrics, log);
  const { removals } = await openForgetting(retention, {
    objects,
    catalog,
    // Requests are made where the intake log is.
    intakeEnds: () => Promise.reject(new WeirError("no_intake", "compaction alone takes no deletion requests")),
    metrics,
    log,
    now: Date.now,
  });
  const role = new CompactorRole(compactor, {
    objects,
    catalog,
    blockBytes: store.block_bytes,
    removals,
    metrics,
    log,
  });
  return {
    role,
    close: async () => {
      await role.stop();
      await objects.close();
    },
  };
}
