import type { EventGroup } from "../codec/event-cursor.ts";
import { sanitizeLabelName } from "../core/labels.ts";
import { BoundedCache } from "./bounded-cache.ts";
import { eachPair, findPath } from "./find.ts";
import { valueText } from "./json.ts";

/** What an OTLP group says of its records: decoded once for all records of all groups with the same bytes. */
export interface GroupInfo {
  /** Distinct for distinct groups; 0 for records outside any group. */
  readonly id: number;
  /** The attributes map of the group's start marker: `{resource: {attributes: …}, scope: {…}}`. */
  readonly bytes: Buffer;
  readonly resource: readonly (readonly [name: string, value: string])[];
  readonly scope: readonly (readonly [name: string, value: string])[];
}

export const NO_GROUP: GroupInfo = { id: 0, bytes: Buffer.alloc(0), resource: [], scope: [] };

export const RESOURCE = Buffer.from("resource");
export const SCOPE = Buffer.from("scope");
export const ATTRIBUTES = Buffer.from("attributes");
const GROUPS_MAX = 4096;
/** Attributes of a resource or a scope that are looked at; a line keeps far fewer. */
const PAIRS_MAX = 10_000;
/** Memory for groups, roughly: their attributes may be long. */
const GROUP_BYTES_MAX = 33_554_432;

export class GroupCache {
  private readonly known = new BoundedCache<GroupInfo>(GROUPS_MAX, GROUP_BYTES_MAX);
  private nextId = 1;

  /** The group whose attributes stand at bytes[attributesStart, attributesEnd). */
  get(bytes: Buffer, { attributesStart, attributesEnd }: EventGroup): GroupInfo {
    const key = bytes.toString("latin1", attributesStart, attributesEnd);
    let info = this.known.get(key);
    if (info === undefined) {
      info = describeGroup(this.nextId++, Buffer.from(bytes.subarray(attributesStart, attributesEnd)));
      // The key, the bytes, and the texts made of them.
      this.known.set(key, info, key.length * 4 + 1024);
    }
    return info;
  }
}

function describeGroup(id: number, bytes: Buffer): GroupInfo {
  const at = (...keys: Buffer[]) => findPath(bytes, 0, bytes.length, keys);
  const text = (place: number) => (place === -1 ? "" : valueText(bytes, place, bytes.length));
  const scope: [string, string][] = [
    ["scope_name", text(at(SCOPE, Buffer.from("name")))],
    ["scope_version", text(at(SCOPE, Buffer.from("version")))],
    ...attributePairs(bytes, at(SCOPE, ATTRIBUTES), bytes.length),
  ];
  return {
    id,
    bytes,
    resource: attributePairs(bytes, at(RESOURCE, ATTRIBUTES), bytes.length),
    scope: scope.filter(([, value]) => value !== ""),
  };
}

/** Names, made valid, and values of the map at `at`; nothing for -1. */
function attributePairs(bytes: Buffer, at: number, end: number): [string, string][] {
  const pairs: [string, string][] = [];
  eachPair(bytes, at, end, (keyStart, keyEnd, start, stop) => {
    if (pairs.length === PAIRS_MAX) return;
    const name = sanitizeLabelName(bytes.toString("utf8", keyStart, keyEnd));
    const value = valueText(bytes, start, stop);
    if (name !== "" && value !== "") pairs.push([name, value]);
  });
  return pairs;
}
