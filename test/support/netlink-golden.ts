import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Message, parseMessages } from '../../src/codec/netlink.js';
import type { Link } from '../../src/codec/rtnl/link.js';

/** What one command of iproute2 sent and what the kernel answered; see test/golden/netlink/capture.mjs. */
export interface Exchange {
  command: string;
  request: Message;
  answers: Message[];
}

/** The recorded exchanges of one file. Tests run compiled, in build/test/, and in the repository's root. */
export function exchanges(file: string): Exchange[] {
  const text = readFileSync(join('test', 'golden', 'netlink', `${file}.json`), 'utf8');
  const rows = JSON.parse(text) as { command: string; sent: string; received: string }[];
  return rows.map(({ command, sent, received }) => {
    const [request] = parseMessages(Buffer.from(sent, 'hex'));
    if (!request) throw new Error(`${file}: nothing was sent by ${command}`);
    return { command, request, answers: [...parseMessages(Buffer.from(received, 'hex'))] };
  });
}

/** The exchange of that command. */
export function exchange(file: string, command: string): Exchange {
  const found = exchanges(file).find((row) => row.command === command);
  if (!found) throw new Error(`${file}: no recording of ${command}`);
  return found;
}

/** Attribute types that hold attributes; the number of bytes before them, where not 0, is under `skip`. */
export interface Nest {
  skip?: number;
  [type: number]: Nest;
}

/**
 * Attributes as sorted text, so that two messages compare whatever the order of their attributes, and whether or not a nest
 * is flagged as one.
 */
export function canonical(attributes: Uint8Array, nests: Nest): unknown[] {
  const out: [number, unknown][] = [];
  const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.byteLength);
  for (let at = 0; at + 4 <= attributes.length; ) {
    const length = view.getUint16(at, true);
    const type = view.getUint16(at + 2, true) & 0x3fff;
    const payload = attributes.subarray(at + 4, at + length);
    const nest = nests[type];
    out.push([type, nest ? inner(payload, nest) : Buffer.from(payload).toString('hex')]);
    at += (length + 3) & ~3;
  }
  return out.sort((a, b) => a[0] - b[0] || JSON.stringify(a[1]).localeCompare(JSON.stringify(b[1])));
}

function inner(payload: Uint8Array, nest: Nest): unknown {
  const skip = nest.skip ?? 0;
  return [Buffer.from(payload.subarray(0, skip)).toString('hex'), canonical(payload.subarray(skip), nest)];
}

/** A link with the zeros that readLink reports for absent header fields, in a veth's peer too. */
export function completeLink(l: Link): Link {
  const out: Link = { family: 0, deviceType: 0, index: 0, flags: 0, change: 0, ...l };
  if (l.info?.kind === 'veth' && l.info.peer) out.info = { ...l.info, peer: completeLink(l.info.peer) };
  return out;
}
