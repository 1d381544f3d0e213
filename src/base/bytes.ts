import { WeftError } from './errors.js';

/** A bounds-checked reader over received bytes: running off the end is an error that says where, never `undefined`. */
export class Reader {
  readonly #view: DataView;
  at = 0;
  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  #take(n: number): number {
    if (n < 0 || n > this.left) {
      throw new WeftError('WEFT_INTERNAL', `${n} bytes wanted at offset ${this.at} of ${this.bytes.length}`);
    }
    const at = this.at;
    this.at += n;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  /** Host byte order; every machine weft runs on is little-endian (x64, arm64), as native/ asserts. */
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  i32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }
  /** Network byte order. */
  be16(): number {
    return this.#view.getUint16(this.#take(2));
  }
  be32(): number {
    return this.#view.getUint32(this.#take(4));
  }
  be64(): bigint {
    return this.#view.getBigUint64(this.#take(8));
  }
  /** A view, not a copy. */
  take(n: number): Uint8Array {
    const at = this.#take(n);
    return this.bytes.subarray(at, at + n);
  }
  skip(n: number): void {
    this.#take(n);
  }
}

/** A growing buffer for messages to send; `done()` gives a view of what was written. */
export class Writer {
  #buf: Buffer;
  length = 0;
  constructor(capacity = 256) {
    this.#buf = Buffer.alloc(capacity);
  }

  #room(n: number): number {
    const at = this.length;
    if (at + n > this.#buf.length) {
      const grown = Buffer.alloc(Math.max(this.#buf.length * 2, at + n));
      this.#buf.copy(grown, 0, 0, at);
      this.#buf = grown;
    }
    this.length = at + n;
    return at;
  }

  u8(n: number): this {
    const at = this.#room(1);
    this.#buf.writeUInt8(n, at);
    return this;
  }
  u16(n: number): this {
    const at = this.#room(2);
    this.#buf.writeUInt16LE(n, at);
    return this;
  }
  u32(n: number): this {
    const at = this.#room(4);
    this.#buf.writeUInt32LE(n >>> 0, at);
    return this;
  }
  i32(n: number): this {
    const at = this.#room(4);
    this.#buf.writeInt32LE(n, at);
    return this;
  }
  u64(n: bigint): this {
    const at = this.#room(8);
    this.#buf.writeBigUInt64LE(n, at);
    return this;
  }
  be16(n: number): this {
    const at = this.#room(2);
    this.#buf.writeUInt16BE(n, at);
    return this;
  }
  be32(n: number): this {
    const at = this.#room(4);
    this.#buf.writeUInt32BE(n >>> 0, at);
    return this;
  }
  be64(n: bigint): this {
    const at = this.#room(8);
    this.#buf.writeBigUInt64BE(n, at);
    return this;
  }
  raw(bytes: Uint8Array): this {
    const at = this.#room(bytes.length);
    this.#buf.set(bytes, at);
    return this;
  }
  /** Zero bytes. */
  pad(n: number): this {
    const at = this.#room(n);
    this.#buf.fill(0, at, at + n);
    return this;
  }
  /** Overwrite 16 bits in host order at an earlier position: lengths known only afterwards. */
  patch16(at: number, n: number): this {
    this.#buf.writeUInt16LE(n, at);
    return this;
  }
  patch32(at: number, n: number): this {
    this.#buf.writeUInt32LE(n >>> 0, at);
    return this;
  }
  done(): Buffer {
    return this.#buf.subarray(0, this.length);
  }
}
