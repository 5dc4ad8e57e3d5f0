import type { Logger } from "../core/log.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { Pipeline } from "./pipeline.ts";

/** Characters of tags that are remembered: 10,000 of them as long as paths of files get. An agent may send any tag. */
const TAG_CHARACTERS_MAX = 4_194_304;
/** So much of a tag stands in the log. */
const TAG_SHOWN_MAX = 256;

export interface Route {
  readonly pipeline: Pipeline;
  /** Names of receivers. */
  readonly from: ReadonlySet<string>;
  /** One of them has to fit the tag. */
  readonly fits: readonly ((tag: string) => boolean)[];
}

/** Finds the pipeline of a receiver and a tag: the first that fits, in the order of the configuration. */
export class Router {
  private readonly routes: readonly Route[];
  private readonly log: Logger;
  /** Tags may be many, one for each container's file. */
  private readonly known: BoundedCache<Pipeline | "none">;

  constructor(routes: readonly Route[], tagsMax: number, log: Logger) {
    this.routes = routes;
    this.known = new BoundedCache(tagsMax, TAG_CHARACTERS_MAX);
    this.log = log;
  }

  /** The pipeline, or null where none fits: said once for each tag that is remembered. */
  find(source: string, tag: string): Pipeline | null {
    const key = `${source}\0${tag}`;
    let found = this.known.get(key);
    if (found === undefined) {
      found =
        this.routes.find(({ from, fits }) => from.has(source) && fits.some((test) => test(tag)))?.pipeline ?? "none";
      if (found === "none")
        this.log.warn(
          { receiver: source, tag: tag.slice(0, TAG_SHOWN_MAX) },
          "no pipeline takes this tag: its records are dropped",
        );
      this.known.set(key, found, key.length);
    }
    return found === "none" ? null : found;
  }
}
