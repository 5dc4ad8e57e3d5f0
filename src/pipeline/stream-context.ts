import type { Labels } from "../core/labels.ts";
import type { SharedMetadata, StreamHandle } from "../core/line.ts";
import type { GivenStream } from "./context.ts";
import type { GroupInfo } from "./group.ts";
import type { ActiveStream } from "./streams.ts";
import { SOURCES } from "./trace/candidates.ts";

/** Rank of a level that nothing in a line's metadata outdoes: `detected_level`, and then labels. */
export const RANK_DETECTED = -2;
export const RANK_LABEL = -1;
/** No level in labels or metadata. */
export const RANK_NONE = 1000;

/** What records have in common that agree in tag, Kubernetes map and the like: the stream and the shared metadata. */
export class StreamContext {
  readonly tenant: string;
  readonly tag: string;
  readonly source: string;
  readonly group: GroupInfo;
  readonly given: GivenStream | null;
  /** Bytes of the top-level fields it depends on; null for one that was absent. */
  readonly roots: readonly (Buffer | null)[];
  /** For each of them the number of its bytes where they came again (RecordContext.repeatId), so that they need not be compared; 0 before. */
  readonly repeats: number[];
  /** Texts it depends on beside them. */
  readonly values: readonly string[];
  readonly shared: SharedMetadata;
  /** Entries and bytes of `shared`, for the limits. */
  readonly sharedBytes: number;
  /** Names that further metadata of a line must not take again. */
  readonly names: ReadonlySet<string>;
  /** A level that labels or shared metadata give, and how much it counts: less is more. */
  readonly level: string;
  readonly levelRank: number;
  /** `severity_number` among the shared metadata, or "". */
  readonly severityNumber: string;
  readonly wanted: Labels;
  stream: ActiveStream;
  handles: readonly StreamHandle[];
  private readonly bySource: (SharedMetadata | undefined)[] = [];

  constructor(init: Omit<StreamContext, "withSource" | "bySource" | "repeats">) {
    this.tenant = init.tenant;
    this.tag = init.tag;
    this.source = init.source;
    this.group = init.group;
    this.given = init.given;
    this.roots = init.roots;
    this.repeats = init.roots.map(() => 0);
    this.values = init.values;
    this.shared = init.shared;
    this.sharedBytes = init.sharedBytes;
    this.names = init.names;
    this.level = init.level;
    this.levelRank = init.levelRank;
    this.severityNumber = init.severityNumber;
    this.wanted = init.wanted;
    this.stream = init.stream;
    this.handles = init.handles;
  }

  /** The shared metadata with `trace_source`: an object for each source, since the store knows shared metadata by identity. */
  withSource(source: number): SharedMetadata {
    const known = this.bySource[source];
    if (known !== undefined) return known;
    const shared: SharedMetadata = { pairs: [...this.shared.pairs, ["trace_source", SOURCES[source]]] };
    this.bySource[source] = shared;
    return shared;
  }
}

/** Names that Weir itself gives to metadata of a line. */
export const OWN_NAMES: readonly string[] = [
  "detected_level",
  "parent_span_id",
  "parse_error",
  "request_id",
  "span_id",
  "trace_id",
  "trace_id_alt",
  "trace_id_raw",
  "trace_source",
  "truncated",
];

/** The name, or the name with Loki's suffix for what is there already; "" when that is taken too. */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name;
  const other = `${name}_extracted`;
  return taken.has(other) ? "" : other;
}
