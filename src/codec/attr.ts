import type { Writer } from '../base/bytes.js';
import { WeftError } from '../base/errors.js';
import { type Ip, ipBytes, ipText, type Mac } from '../base/ip.js';
import { macBytes, macText } from '../base/mac.js';

/*
 * Netlink attributes, linux/netlink.h: u16 length (header included, padding not), u16 type, payload, zero padding to 4 bytes.
 * Integers are in host byte order unless the family says otherwise.
 */
export const NLA_F_NESTED = 1 << 15;
export const NLA_F_NET_BYTEORDER = 1 << 14;
/** NLA_TYPE_MASK of the header: what remains of the type field without the two flags. */
export const NLA_TYPE_MASK = 0x3fff;
export const NLA_HDRLEN = 4;

const UTF8 = new TextDecoder('utf-8');

/**
 * Appends attributes to a message. Every method takes `undefined` for "absent" and then writes nothing, so that an encoder
 * is one flat list of attributes. Numbers are range checked here because Writer.u32 wraps.
 * @throws WEFT_INVALID_ARGUMENT where a value does not fit its attribute.
 */
export class AttrWriter {
  constructor(readonly w: Writer) {}

  u8(type: number, n: number | undefined): this {
    if (n === undefined) return this;
    requireRange(type, n, 0, 0xff);
    this.#header(type, 1);
    this.w.u8(n).pad(3);
    return this;
  }

  /** u8 of 0 or 1: the kernel's usual boolean. */
  bool(type: number, on: boolean | undefined): this {
    return on === undefined ? this : this.u8(type, on ? 1 : 0);
  }

  u16(type: number, n: number | undefined): this {
    if (n === undefined) return this;
    requireRange(type, n, 0, 0xffff);
    this.#header(type, 2);
    this.w.u16(n).pad(2);
    return this;
  }

  u32(type: number, n: number | undefined): this {
    if (n === undefined) return this;
    requireRange(type, n, 0, 0xffffffff);
    this.#header(type, 4);
    this.w.u32(n);
    return this;
  }

  i32(type: number, n: number | undefined): this {
    if (n === undefined) return this;
    requireRange(type, n, -0x80000000, 0x7fffffff);
    this.#header(type, 4);
    this.w.i32(n);
    return this;
  }

  u64(type: number, n: bigint | undefined): this {
    if (n === undefined) return this;
    if (BigInt.asUintN(64, n) !== n) throw misfit(type, n);
    this.#header(type, 8);
    this.w.u64(n);
    return this;
  }

  /** Network byte order, without NLA_F_NET_BYTEORDER: only ctnetlink ever looks for that flag. */
  be16(type: number, n: number | undefined): this {
    if (n === undefined) return this;
    requireRange(type, n, 0, 0xffff);
    this.#header(type, 2);
    this.w.be16(n).pad(2);
    return this;
  }

  be32(type: number, n: number | undefined): this {
    if (n === undefined) return this;
    requireRange(type, n, 0, 0xffffffff);
    this.#header(type, 4);
    this.w.be32(n);
    return this;
  }

  be64(type: number, n: bigint | undefined): this {
    if (n === undefined) return this;
    if (BigInt.asUintN(64, n) !== n) throw misfit(type, n);
    this.#header(type, 8);
    this.w.be64(n);
    return this;
  }

  /** NUL-terminated, as NLA_NUL_STRING wants it. */
  string(type: number, text: string | undefined): this {
    return this.#text(type, text, 1);
  }

  /** Without the terminating NUL: for NLA_STRING attributes whose length counts (IFLA_IFALIAS, IFLA_INFO_KIND). */
  text(type: number, text: string | undefined): this {
    return this.#text(type, text, 0);
  }

  bytes(type: number, payload: Uint8Array | undefined): this {
    if (payload === undefined) return this;
    this.#header(type, payload.length);
    this.w.raw(payload).pad(-payload.length & 3);
    return this;
  }

  /** Present or absent, no payload. */
  flag(type: number, on: boolean | undefined): this {
    if (on) this.#header(type, 0);
    return this;
  }

  /** 4 or 16 bytes. @throws WEFT_INVALID_ADDRESS */
  ip(type: number, ip: Ip | undefined): this {
    return ip === undefined ? this : this.bytes(type, ipBytes(ip));
  }

  /** 6 bytes. @throws WEFT_INVALID_ADDRESS */
  mac(type: number, mac: Mac | undefined): this {
    if (mac === undefined) return this;
    const n = macNumber(mac);
    if (n < 0) return this.bytes(type, macBytes(mac));
    this.#header(type, 6);
    this.w
      .be16(Math.floor(n / 2 ** 32))
      .be32(n % 2 ** 32)
      .pad(2);
    return this;
  }

  /** Attributes in an attribute; NLA_F_NESTED is set (kernels since 5.2 demand it where they validate strictly). */
  nest(type: number, body: (a: this) => void): this {
    return this.block(type | NLA_F_NESTED, body);
  }

  /** An attribute whose payload `body` writes and whose length is known only then; no flag is added. */
  block(type: number, body: (a: this) => void): this {
    const at = this.w.length;
    this.#header(type, 0);
    body(this);
    const length = this.w.length - at;
    if (length > 0xffff) throw misfit(type, `${length} bytes`);
    this.w.patch16(at, length).pad(-length & 3);
    return this;
  }

  #text(type: number, text: string | undefined, terminator: 0 | 1): this {
    if (text === undefined) return this;
    if (text.includes('\0')) throw misfit(type, JSON.stringify(text));
    const payload = Buffer.from(text, 'utf8');
    const length = payload.length + terminator;
    this.#header(type, length);
    this.w.raw(payload).pad(terminator + (-length & 3));
    return this;
  }

  #header(type: number, payload: number): void {
    if (payload > 0xffff - NLA_HDRLEN) throw misfit(type, `${payload} bytes`);
    this.w.u16(NLA_HDRLEN + payload).u16(type);
  }
}

/**
 * A MAC as a 48-bit number, −1 where the text is none. macBytes' regular expression and arrays were half the time of encoding
 * a forwarding database; malformed text still goes there for its error.
 */
function macNumber(mac: Mac): number {
  if (mac.length !== 17) return -1;
  let n = 0;
  for (let at = 0; at < 17; at += 3) {
    const high = hexDigit(mac.charCodeAt(at));
    const low = hexDigit(mac.charCodeAt(at + 1));
    if (high < 0 || low < 0 || (at < 15 && mac.charCodeAt(at + 2) !== 0x3a)) return -1;
    n = n * 256 + high * 16 + low;
  }
  return n;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function requireRange(type: number, n: number, min: number, max: number): void {
  if (!(Number.isInteger(n) && n >= min && n <= max)) throw misfit(type, n);
}

function misfit(type: number, value: unknown): WeftError {
  return new WeftError('WEFT_INVALID_ARGUMENT', `${value} does not fit netlink attribute ${type & NLA_TYPE_MASK}`);
}

/**
 * A cursor over received attributes, used as one flat switch:
 *
 *     const a = new AttrReader(bytes, 'link');
 *     while (a.next()) switch (a.type) { case IFLA_MTU: link.mtu = a.u32(); break; … }
 *
 * A getter reads the current payload and insists on its length. Unknown types are simply not asked for.
 * @throws WEFT_INTERNAL naming `where` and the attribute when a length is wrong: the kernel does not send such messages.
 */
export class AttrReader {
  /** Type of the current attribute, flags removed. */
  type = 0;
  /** NLA_F_NESTED of the current attribute; several families of the kernel omit it. */
  isNested = false;
  readonly #view: DataView;
  #next: number;
  #at = 0;
  #end = 0;

  /** @param from where in the buffer the attributes begin */
  constructor(
    readonly buffer: Uint8Array,
    readonly where: string,
    from = 0,
  ) {
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    this.#next = from;
  }

  /** Moves to the next attribute; false at the end. Up to three trailing bytes are padding. */
  next(): boolean {
    const left = this.buffer.length - this.#next;
    if (left < NLA_HDRLEN) return false;
    const length = this.#view.getUint16(this.#next, true);
    const field = this.#view.getUint16(this.#next + 2, true);
    this.type = field & NLA_TYPE_MASK;
    if (length < NLA_HDRLEN || length > left) throw this.#bad(`claims ${length} bytes of ${left}`);
    this.isNested = (field & NLA_F_NESTED) !== 0;
    this.#at = this.#next + NLA_HDRLEN;
    this.#end = this.#next + length;
    this.#next += (length + 3) & ~3;
    return true;
  }

  /** Length of the current payload in bytes. */
  get length(): number {
    return this.#end - this.#at;
  }

  u8(): number {
    return this.#view.getUint8(this.#exactly(1));
  }
  bool(): boolean {
    return this.u8() !== 0;
  }
  u16(): number {
    return this.#view.getUint16(this.#exactly(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#exactly(4), true);
  }
  i32(): number {
    return this.#view.getInt32(this.#exactly(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#exactly(8), true);
  }
  be16(): number {
    return this.#view.getUint16(this.#exactly(2));
  }
  be32(): number {
    return this.#view.getUint32(this.#exactly(4));
  }
  be64(): bigint {
    return this.#view.getBigUint64(this.#exactly(8));
  }

  /** Text up to the first NUL or the end of the payload. */
  string(): string {
    const bytes = this.bytes();
    const nul = bytes.indexOf(0);
    return UTF8.decode(nul < 0 ? bytes : bytes.subarray(0, nul));
  }

  /** A view of the payload, not a copy. */
  bytes(): Uint8Array {
    return this.buffer.subarray(this.#at, this.#end);
  }

  /** 4 or 16 bytes as canonical text. */
  ip(): Ip {
    if (this.length !== 4 && this.length !== 16) throw this.#bad(`has ${this.length} bytes, an address has 4 or 16`);
    return ipText(this.bytes());
  }

  /**
   * A link-layer address where it has the six bytes of Ethernet, else undefined: tunnels and InfiniBand have others,
   * and none of those is a link of ours.
   */
  mac(): Mac | undefined {
    return this.length === 6 ? macText(this.bytes()) : undefined;
  }

  /** The attributes inside the current one. */
  nested(where: string): AttrReader {
    return new AttrReader(this.bytes(), where);
  }

  #exactly(n: number): number {
    if (this.length !== n) throw this.#bad(`has ${this.length} bytes, ${n} expected`);
    return this.#at;
  }

  #bad(what: string): WeftError {
    return new WeftError('WEFT_INTERNAL', `${this.where}: attribute ${this.type} ${what}`);
  }
}
