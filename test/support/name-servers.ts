import { decodeMessage, encodeMessage, type Message } from '../../src/dns/codec.js';
import { FLAG, RCODE, TCP_BYTES_MAX, TYPE } from '../../src/dns/constants.js';
import type { Exchange } from '../../src/dns/exchange.js';
import type { Transport } from '../../src/dns/query.js';
import type { ResourceRecord } from '../../src/dns/record.js';
import { serverText } from '../../src/dns/server-address.js';

/** No name server can be reached. */
export const NOBODY: Exchange = () => Promise.reject(new Error('nobody'));

export interface Asked {
  server: string;
  transport: Transport;
  query: Message;
  name: string;
}

/** What a server says: a message, bytes as they are, nothing, or that it cannot be reached. */
export type Says = Message | Uint8Array | 'silence' | 'unreachable';

/** Name servers by address, as functions; what they were asked is kept in order. */
export class NameServers {
  readonly asked: Asked[] = [];
  readonly says = new Map<string, (asked: Asked) => Says | Promise<Says>>();

  readonly exchange: Exchange = async (transport, server, bytes, accept, { timeoutMs, signal }) => {
    const query = decodeMessage(bytes);
    const asked = { server: serverText(server), transport, query, name: query.questions[0]?.name ?? '' };
    this.asked.push(asked);
    const said = (await this.says.get(asked.server)?.(asked)) ?? 'unreachable';
    if (said === 'unreachable') throw new Error('unreachable');
    if (said === 'silence') return silence(timeoutMs, signal);
    const reply = said instanceof Uint8Array ? said : encodeMessage(said, transport === 'udp' ? 1232 : TCP_BYTES_MAX);
    if (accept(reply)) return reply;
    return silence(timeoutMs, signal);
  };

  askedOf(server: string): number {
    return this.asked.filter((one) => one.server === server).length;
  }
}

function silence(timeoutMs: number, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(() => reject(new Error('timeout')), timeoutMs);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(new Error('nobody waits'));
    });
  });
}

const base = ({ query }: Asked): Message => ({ ...query, flags: FLAG.QR | FLAG.RD | FLAG.RA, additionals: [] });

export function addresses(asked: Asked, ttl: number, ...list: string[]): Message {
  const answers = list.map(
    (address): ResourceRecord => ({ name: asked.name, class: 1, ttl, data: { type: TYPE.A, address } }),
  );
  return { ...base(asked), answers };
}

export const failing = (asked: Asked, rcode: number): Message => {
  const { flags, ...rest } = base(asked);
  return { ...rest, flags: flags | rcode };
};

/** NXDOMAIN or NODATA of a zone whose SOA record has this TTL and MINIMUM. */
export function nothing(asked: Asked, ttl: number, minimum: number, rcode: number = RCODE.NXDOMAIN): Message {
  const numbers = { serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  const data = { type: TYPE.SOA, primary: 'ns.example', mailbox: 'x.example', ...numbers } as const;
  return { ...failing(asked, rcode), authorities: [{ name: 'example', class: 1, ttl, data }] };
}
