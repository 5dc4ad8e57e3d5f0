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

const V4_CHARS = /[0-9.]*/y;
const V6_CHARS = /[0-9a-fA-F:.]*/y;

/**
 * Whether some address in `text` (one character a byte, or plain text) lies in `range`. Candidates are found as Loki finds
 * them: a digit with a dot within the three characters after it begins an IPv4 address, one to four hex digits and a
 * colon, or two colons and a hex digit, an IPv6 address; each reaches as far as its characters do.
 */
export function containsAddress(text: string, range: AddressRange): boolean {
  for (let i = 0; i < text.length; i++) {
    const version = i + 3 < text.length && hintsV4(text, i) ? 4 : i + 4 < text.length && hintsV6(text, i) ? 6 : 0;
    if (version === 0) continue;
    const chars = version === 4 ? V4_CHARS : V6_CHARS;
    chars.lastIndex = i;
    const found = chars.exec(text)?.[0] ?? "";
    const address = parseAddress(found);
    if (
      address !== null &&
      address.version === range.version &&
      address.value >= range.from &&
      address.value <= range.to
    ) {
      return true;
    }
    i += found.length;
  }
  return false;
}

function hintsV4(text: string, at: number): boolean {
  if (!isDigit(text.charCodeAt(at))) return false;
  for (let i = at + 1; i < at + 4; i++) if (text.charCodeAt(i) === 0x2e) return true;
  return false;
}

function hintsV6(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  if (code === 0x3a) return text.charCodeAt(at + 1) === 0x3a && isHex(text.charCodeAt(at + 2));
  for (let i = at; i < at + 4 && isHex(text.charCodeAt(i)); i++) if (text.charCodeAt(i + 1) === 0x3a) return true;
  return false;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isHex(code: number): boolean {
  const lower = code | 0x20;
  return isDigit(code) || (lower >= 0x61 && lower <= 0x66);
}
