import { isIPv4, isIPv6 } from "node:net";

/** A range of addresses of one family, both ends included. */
interface AddressRange {
  readonly version: 4 | 6;
  readonly from: bigint;
  readonly to: bigint;
}

/**
 * What `ip("...")` means: an address, a CIDR prefix, or a range `a-b`, IPv4 or IPv6. Null for anything else.
 * An IPv4 address inside IPv6 (`::ffff:1.2.3.4`) is an IPv6 address.
 */
export function parseIpPattern(pattern: string): AddressRange | null {
  const single = parseAddress(pattern);
  if (single !== null) return { version: single.version, from: single.value, to: single.value };
  const slash = pattern.lastIndexOf("/");
  if (slash !== -1) return parsePrefix(pattern.slice(0, slash), pattern.slice(slash + 1));
  const dash = pattern.indexOf("-");
  if (dash === -1) return null;
  const from = parseAddress(pattern.slice(0, dash));
  const to = parseAddress(pattern.slice(dash + 1));
  if (from === null || to === null || from.version !== to.version || from.value > to.value) return null;
  return { version: from.version, from: from.value, to: to.value };
}

function parsePrefix(addressText: string, bitsText: string): AddressRange | null {
  const address = parseAddress(addressText);
  if (address === null || !/^(?:0|[1-9]\d{0,2})$/.test(bitsText)) return null;
  const all = address.version === 4 ? 32 : 128;
  const bits = Number(bitsText);
  if (bits > all) return null;
  const size = 1n << BigInt(all - bits);
  const from = address.value - (address.value % size);
  return { version: address.version, from, to: from + size - 1n };
}

function parseAddress(text: string): { version: 4 | 6; value: bigint } | null {
  if (isIPv4(text)) return { version: 4, value: v4Value(text) };
  if (!isIPv6(text) || text.includes("%")) return null;
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  const low = tail === null ? 0n : v4Value(tail[2]);
  const groups = tail === null ? text : `${tail[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`;
  const [left, right] = groups.split("::");
  const head = left === "" ? [] : left.split(":");
  const rest = right === undefined || right === "" ? [] : right.split(":");
  const all =
    right === undefined ? head : [...head, ...Array<string>(8 - head.length - rest.length).fill("0"), ...rest];
  return { version: 6, value: all.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n) };
}

function v4Value(text: string): bigint {
  return text.split(".").reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

/**
 * Whether some address in bytes[from, to) lies in `range`. Candidates are found as Loki finds them: a digit with a dot within
 * the three bytes after it begins an IPv4 address, one to four hex digits and a colon, or two colons and a hex digit, an
 * IPv6 address; each reaches as far as its characters do, and the search goes on behind it.
 */
export function containsAddress(bytes: Uint8Array, from: number, to: number, range: AddressRange): boolean {
  for (let at = from; at < to; at++) {
    const c = bytes[at];
    if (c !== 0x3a && !isHex(c)) continue;
    const version = at + 3 < to && beginsV4(bytes, at) ? 4 : beginsV6(bytes, at, to) ? 6 : 0;
    if (version === 0) continue;
    let end = at;
    let dots = 0;
    let colons = 0;
    let double = false;
    for (; end < to && belongs(bytes[end], version); end++) {
      if (bytes[end] === 0x2e) dots++;
      if (bytes[end] !== 0x3a) continue;
      colons++;
      double ||= end > at && bytes[end - 1] === 0x3a;
    }
    // Most candidates are times and decimal numbers: don't make a text of those.
    const isLikely = end - at <= TEXT_MAX && (version === 4 ? dots === 3 : double || colons > 5);
    const address = isLikely ? parseAddress(String.fromCharCode(...bytes.subarray(at, end))) : null;
    if (address?.version === range.version && address.value >= range.from && address.value <= range.to) return true;
    at = end;
  }
  return false;
}

/** No address is written in more characters; a longer run of them is none. */
const TEXT_MAX = 64;

function belongs(c: number, version: 4 | 6): boolean {
  return c === 0x2e || isDigit(c) || (version === 6 && (c === 0x3a || isHex(c)));
}

function beginsV4(bytes: Uint8Array, at: number): boolean {
  if (!isDigit(bytes[at])) return false;
  return bytes[at + 1] === 0x2e || bytes[at + 2] === 0x2e || bytes[at + 3] === 0x2e;
}

/** The shortest, such as `::1`, have three characters. */
function beginsV6(bytes: Uint8Array, at: number, to: number): boolean {
  if (at + 2 >= to) return false;
  if (bytes[at] === 0x3a) return bytes[at + 1] === 0x3a && isHex(bytes[at + 2]);
  for (let i = at; i < at + 4 && i + 1 < to && isHex(bytes[i]); i++) if (bytes[i + 1] === 0x3a) return true;
  return false;
}

function isDigit(c: number): boolean {
  return c >= 0x30 && c <= 0x39;
}

function isHex(c: number): boolean {
  const lower = c | 0x20;
  return isDigit(c) || (lower >= 0x61 && lower <= 0x66);
}
