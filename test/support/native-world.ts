import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Writer } from '../../src/base/bytes.js';
import type { ExecOutcome, Native, NlSocket } from '../../src/kernel/real/native.js';

/** linux/netlink.h, linux/rtnetlink.h */
export const NETLINK_ROUTE = 0;
export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_CREATE = 0x400;
export const NLM_F_REPLACE = 0x100;
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const RTM_NEWLINK = 16;
export const RTM_GETLINK = 18;
export const RTM_NEWNEIGH = 28;
export const RTM_GETNEIGH = 30;
export const RTM_NEWNSID = 88;
export const RTNLGRP_LINK = 1;
export const RTNLGRP_NEIGH = 3;

/** A message as the kernel reads it: header, body, padding. */
export function message(type: number, flags: number, seq: number, body: Uint8Array = new Uint8Array()): Buffer {
  const padded = (body.length + 3) & ~3;
  const writer = new Writer(16 + padded)
    .u32(16 + padded)
    .u16(type)
    .u16(flags)
    .u32(seq)
    .u32(0);
  return writer
    .raw(body)
    .pad(padded - body.length)
    .done();
}

export function attribute(type: number, body: Uint8Array): Buffer {
  const writer = new Writer(4 + body.length)
    .u16(4 + body.length)
    .u16(type)
    .raw(body);
  return writer.pad((4 - (body.length & 3)) & 3).done();
}

export function u32(n: number): Buffer {
  return new Writer(4).u32(n).done();
}

/** A request that the kernel never answers, though its flags promise a dump: control messages are skipped. */
export function unanswered(seq: number): Buffer {
  return message(NLMSG_NOOP, NLM_F_REQUEST | NLM_F_DUMP, seq);
}

export function dumpLinks(seq: number): Buffer {
  return message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, seq, Buffer.alloc(16));
}

/** A permanent IPv4 neighbour 10.x.y.z on a device, with the number spread over address and MAC. */
export function neighbour(seq: number, flags: number, ifindex: number, n: number): Buffer {
  const body = new Writer().u8(2).pad(3).i32(ifindex).u16(0x80).u8(0).u8(0);
  body.raw(attribute(1, new Writer().be32(0x0a000000 + n).done()));
  body.raw(attribute(2, new Writer().be16(0x0242).be32(n).done()));
  return message(RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | flags, seq, body.done());
}

/** RTM_NEWLINK of a kind, IFLA_INFO_DATA as given. */
export function newLink(seq: number, name: string, kind: string, kindAttributes: Uint8Array): Buffer {
  const link = attribute(18, Buffer.concat([attribute(1, Buffer.from(kind)), attribute(2, kindAttributes)]));
  const body = Buffer.concat([Buffer.alloc(16), attribute(3, Buffer.from(`${name}\0`)), link]);
  return message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, seq, body);
}

export interface Received {
  type: number;
  flags: number;
  seq: number;
  pid: number;
  body: Buffer;
}

export function messages(bytes: Buffer): Received[] {
  const list: Received[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const [type, flags] = [bytes.readUInt16LE(at + 4), bytes.readUInt16LE(at + 6)];
    const [seq, pid] = [bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12)];
    list.push({ type, flags, seq, pid, body: bytes.subarray(at + 16, at + length) });
    at += (length + 3) & ~3;
  }
  return list;
}

/** errno of an NLMSG_ERROR, positive. */
export function errnoOf(received: Received): number {
  return -received.body.readInt32LE(0);
}

/** `count` neighbours in one batch, an acknowledgement for the last only. */
export function neighbours(count: number, ifindex: (i: number) => number, seq = 1): Buffer {
  const flags = (i: number) => (i === count - 1 ? NLM_F_ACK : 0);
  return Buffer.concat(Array.from({ length: count }, (_, i) => neighbour(seq + i, flags(i), ifindex(i), i + 1)));
}

/** Wait until `ready` holds; false when it did not within the time. */
export async function until(ready: () => boolean | Promise<boolean>, timeoutMs = 5000): Promise<boolean> {
  for (const end = Date.now() + timeoutMs; Date.now() < end; await sleep(10)) {
    if (await ready()) return true;
  }
  return ready();
}

/** What was thrown; an error of its own when nothing was. */
export function thrownBy(call: () => unknown): Error & { code?: string; errno?: number } {
  try {
    call();
  } catch (error) {
    if (error instanceof Error) return error;
  }
  return new Error('nothing was thrown');
}

/** A directory with namespaces in it, removed by `end`. */
export class World {
  readonly dir: string;
  readonly #pins: string[] = [];
  readonly #fds: number[] = [];

  constructor(
    readonly native: Native,
    parent = tmpdir(),
  ) {
    this.dir = mkdtempSync(join(parent, 'weft-native-'));
  }

  /** Where a pin of that name is or would be; it is deleted at the end. */
  path(name: string): string {
    const path = join(this.dir, name);
    this.#pins.push(path);
    return path;
  }

  /** A new namespace's descriptor. */
  netns(name: string): number {
    const path = this.path(name);
    this.native.netnsCreate(path);
    return this.open(path);
  }

  /** A descriptor that `end` closes, unless `close` did. */
  open(path: string): number {
    const fd = this.native.netnsOpen(path);
    this.#fds.push(fd);
    return fd;
  }

  close(fd: number): void {
    this.#fds.splice(this.#fds.indexOf(fd), 1);
    this.native.closeFd(fd);
  }

  /** A new namespace with a bridge, the device of `neighbour`s. */
  async bridged(name: string): Promise<{ fd: number; ifindex: number }> {
    const fd = this.netns(name);
    await this.must(fd, 'ip link add br0 up type bridge');
    return { fd, ifindex: Number((await this.must(fd, 'ip -o link show br0')).split(':')[0]) };
  }

  run(netnsFd: number, command: string): Promise<ExecOutcome> {
    return this.native.exec(netnsFd, command.split(' '), null, undefined, 10_000);
  }

  async must(netnsFd: number, command: string): Promise<string> {
    const outcome = await this.run(netnsFd, command);
    if (outcome.code !== 0) throw new Error(`${command}: ${outcome.stderr}`);
    return String(outcome.stdout);
  }

  rtnetlink(netnsFd: number, rcvbufBytes = 8 << 20): NlSocket {
    return this.native.nlOpen(netnsFd, NETLINK_ROUTE, rcvbufBytes);
  }

  end(): void {
    for (const fd of this.#fds) this.native.closeFd(fd);
    for (const path of this.#pins) this.native.netnsDelete(path);
    rmSync(this.dir, { recursive: true });
  }
}
