/**
 * Cuts a TCP stream into DNS messages, each behind its length in two bytes (RFC 1035 section 4.2.2). Holds at most one
 * unfinished message, so 64 KiB.
 */
export class Frames {
  #pending: Buffer = Buffer.alloc(0);

  /**
   * @param take is offered what is left, before each message, and says how many bytes of whole messages it has dealt with
   * @returns the other messages that this chunk completes, in order
   */
  push(chunk: Buffer, take: (rest: Buffer) => number = () => 0): Buffer[] {
    const bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const messages: Buffer[] = [];
    let at = 0;
    for (;;) {
      at += take(bytes.subarray(at));
      if (at + 2 > bytes.length) break;
      const end = at + 2 + bytes.readUInt16BE(at);
      if (end > bytes.length) break;
      messages.push(bytes.subarray(at + 2, end));
      at = end;
    }
    this.#pending = bytes.subarray(at);
    return messages;
  }
}

/** A message with its length in front, in one buffer so that it leaves in one segment. */
export function framed(message: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(2 + message.length);
  out.writeUInt16BE(message.length, 0);
  out.set(message, 2);
  return out;
}
