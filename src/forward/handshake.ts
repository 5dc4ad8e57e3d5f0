import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { badMessage } from "../codec/forward-error.ts";
import { CUT, decode, encode, itemCount, itemHead, kindAt, MsgpackMap, skip, textHead } from "../codec/msgpack.ts";

/*
 * The handshake, by which an agent proves that it knows the shared key, and one of the users if there are any.
 *
 *   server  ["HELO", {nonce, auth, keepalive}]                auth: salt for passwords, empty where there are no users
 *   client  ["PING", hostname, salt, digest(salt, hostname, nonce, key), username, digest(auth, username, password)]
 *   server  ["PONG", true, "", hostname, digest(salt, hostname, nonce, key)] or ["PONG", false, reason, "", ""]
 *
 * Each digest is SHA-512 over its parts, in lower-case hex; salts and nonces are any bytes, in a str or bin.
 * Source: Fluent Forward Protocol Specification v1, "Handshake Messages". Fluent Bit reads HELO and PONG with one
 * read each and takes half of one for a failure, so each is one Buffer for one write.
 */

const NONCE_BYTES = 16;
/** Longer than any PING: a host name has 253 characters, the digests 128 each. */
export const HANDSHAKE_BYTES_MAX: number = 16 << 10;

export interface User {
  readonly name: string;
  readonly password: string;
}

export interface HandshakeSettings {
  readonly sharedKey: string;
  readonly users: readonly User[];
  readonly hostname: string;
}

/** What became of a PING. `reply` is the PONG to write, in one piece. */
export interface HandshakeResult {
  readonly ok: boolean;
  /** Why not, as the agent is told; "" if ok. */
  readonly reason: string;
  readonly reply: Buffer;
  /** What the agent calls itself. */
  readonly clientHostname: string;
}

/** The server's side of one connection's handshake. */
export class ServerHandshake {
  private readonly settings: HandshakeSettings;
  private readonly nonce: Buffer;
  private readonly auth: Buffer;

  /** `random` gives that many random bytes; tests hand in known ones. */
  constructor(settings: HandshakeSettings, random: (bytes: number) => Buffer = randomBytes) {
    this.settings = settings;
    this.nonce = random(NONCE_BYTES);
    this.auth = settings.users.length > 0 ? random(NONCE_BYTES) : Buffer.alloc(0);
  }

  helo(): Buffer {
    return encode(["HELO", { nonce: this.nonce, auth: this.auth, keepalive: true }]);
  }

  /** Judges the client's first message. Throws `bad_message` (reason `handshake`) when it is no PING. */
  answer(message: Buffer): HandshakeResult {
    const [, hostname, salt, keyDigest, username, passwordDigest] = readPing(message);
    const { sharedKey, users } = this.settings;
    const wantedKey = digest(salt, hostname, this.nonce, Buffer.from(sharedKey));
    if (!sameBytes(keyDigest, wantedKey)) return refusal("shared_key mismatch", hostname);
    if (users.length > 0) {
      // Every user is looked at, so that the time taken doesn't tell whether the name exists.
      let known = 0;
      for (const user of users) {
        const name = Buffer.from(user.name);
        const wanted = digest(this.auth, username, Buffer.from(user.password));
        known |= Number(sameBytes(username, name)) & Number(sameBytes(passwordDigest, wanted));
      }
      if (known === 0) return refusal("username/password mismatch", hostname);
    }
    const own = Buffer.from(this.settings.hostname);
    const proof = digest(salt, own, this.nonce, Buffer.from(sharedKey)).toString("latin1");
    const reply = encode(["PONG", true, "", this.settings.hostname, proof]);
    return { ok: true, reason: "", reply, clientHostname: hostname.toString("utf8") };
  }
}

function refusal(reason: string, hostname: Buffer): HandshakeResult {
  return {
    ok: false,
    reason,
    reply: encode(["PONG", false, reason, "", ""]),
    clientHostname: hostname.toString("utf8"),
  };
}

/** SHA-512 of the parts one after the other, as the 128 bytes of its lower-case hex digits. */
export function digest(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return Buffer.from(hash.digest("hex"), "latin1");
}

/** Compares in a time that depends on no byte's value: both sides are hashed to one length first. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return timingSafeEqual(createHash("sha256").update(a).digest(), createHash("sha256").update(b).digest());
}

function readPing(message: Buffer): Buffer[] {
  const parts = readTexts(message);
  if (parts.length !== 6 || parts[0].toString("latin1") !== "PING") {
    throw badMessage("handshake", "want PING of six strings before anything else, as there is a shared key", 0);
  }
  return parts;
}

/** The elements of an array of str and bin, as bytes; none when it holds anything else. */
function readTexts(message: Buffer): Buffer[] {
  if (message.length === 0 || itemHead(message[0]) === 0 || kindAt(message, 0) !== "array") return [];
  const count = itemCount(message, 0);
  const parts: Buffer[] = [];
  let at = itemHead(message[0]);
  for (let i = 0; i < count; i++) {
    const next = skip(message, at, message.length);
    if (next === CUT || textHead(message[at]) === 0) return [];
    parts.push(message.subarray(at + textHead(message[at]), next));
    at = next;
  }
  return parts;
}

/** What HELO said. */
export interface Helo {
  readonly nonce: Buffer;
  /** Salt for the password; empty where the server has no users. */
  readonly auth: Buffer;
}

/** Reads HELO, for a client. Throws `bad_message` (reason `handshake`) for anything else. */
export function readHelo(message: Buffer): Helo {
  const { value } = decode(message, 0, message.length);
  const options = Array.isArray(value) && value[0] === "HELO" ? value[1] : undefined;
  if (!(options instanceof MsgpackMap)) throw badMessage("handshake", "want HELO from the server", 0);
  // Read once more as bytes: a nonce may be a str that is no text.
  return { nonce: optionBytes(message, "nonce"), auth: optionBytes(message, "auth") };
}

/** The str or bin under `name` in the map that is HELO's second element; empty where there is none. */
function optionBytes(message: Buffer, name: string): Buffer {
  const mapAt = skip(message, itemHead(message[0]), message.length);
  let at = mapAt + itemHead(message[mapAt]);
  let found: Buffer = Buffer.alloc(0);
  for (let i = 0; i < itemCount(message, mapAt); i++) {
    const valueAt = skip(message, at, message.length);
    const next = skip(message, valueAt, message.length);
    const key = message.toString("latin1", at + textHead(message[at]), valueAt);
    if (key === name && textHead(message[valueAt]) > 0) {
      found = message.subarray(valueAt + textHead(message[valueAt]), next);
    }
    at = next;
  }
  return found;
}

/** The PING that answers `helo`; `user` where the server has users. */
export function ping(helo: Helo, sharedKey: string, hostname: string, user: User = { name: "", password: "" }): Buffer {
  const salt = randomBytes(NONCE_BYTES);
  const key = digest(salt, Buffer.from(hostname), helo.nonce, Buffer.from(sharedKey));
  const secret = helo.auth.length > 0;
  const password = secret ? digest(helo.auth, Buffer.from(user.name), Buffer.from(user.password)) : Buffer.alloc(0);
  const name = secret ? user.name : "";
  return encode(["PING", hostname, salt, key.toString("latin1"), name, password.toString("latin1")]);
}

/** Whether PONG lets the client in, and if not, why. Throws `bad_message` (reason `handshake`) for anything else. */
export function readPong(message: Buffer): { ok: boolean; reason: string } {
  const { value } = decode(message, 0, message.length);
  if (!Array.isArray(value) || value[0] !== "PONG") throw badMessage("handshake", "want PONG from the server", 0);
  return { ok: value[1] === true, reason: typeof value[2] === "string" ? value[2] : "" };
}
