import assert from 'node:assert/strict';
import { Chain } from '../../src/dns/chain.js';
import { FLAG, HEADER_BYTES, TCP_BYTES_MAX, TYPE } from '../../src/dns/constants.js';
import { Frames, framed } from '../../src/dns/frames.js';
import { be16, isRejected, parseQuery, replyLimit, type Transport } from '../../src/dns/query.js';
import { parseView, type ViewJson } from '../../src/dns/view-json.js';
import type { Random } from '../soak/random.js';
import { type Asked, readByDns2, readByDnsPacket, readByUs, WRITERS } from './dns-oracles.js';
import { fastest } from './fastest.js';
import { NOBODY } from './name-servers.js';

const TTL = 7;
/** Longer than any answer takes, and shorter than anything that hangs. */
const LIMIT_MS = 1;

const many = Array.from({ length: 120 }, (_, i) => `10.1.0.${i}`);
/** What addresses names have, to be compared with what is answered. */
const ADDRESSES: Record<string, { a?: string[]; aaaa?: string[] }> = {
  web: { a: ['10.0.0.1', '10.0.0.2'], aaaa: ['fd00::1', '::ffff:10.0.0.1'] },
  four: { a: ['10.0.0.4'] },
  six: { aaaa: ['fd00::6', 'fd00::', '1:0:0:2::3'] },
  empty: {},
  many: { a: many, aaaa: many.map((_, i) => `fd00::1:${i.toString(16)}`) },
};
export const VIEW: ViewJson = {
  ...{ revision: 1, ttl: TTL, upstreams: [] },
  // Without a way out nothing is forwarded: every answer is there at once.
  sandboxes: { c: { netns: '/c', networks: ['Net'] } },
  networks: {
    Net: {
      ...{ internal: true, subnets: ['10.0.0.0/16'] },
      names: {
        ...ADDRESSES,
        svc: { a: ['10.0.0.9'], txt: ['a=1', `b=${'y'.repeat(300)}`] },
        'tasks.svc': {
          served: [{ backends: many.slice(0, 20).map((a, i) => ({ a, aaaa: `fd00::2:${i}`, weight: i + 1 })) }],
        },
      },
      ptr: { '10.0.0.1': 'Web.Net', 'fd00::1': 'web.net' },
    },
  },
};
const NAMES = [
  ...Object.keys(ADDRESSES).flatMap((name) => [name, `${name}.net`]),
  ...['svc', 'tasks.svc', '_80._tcp.svc.net', '_tcp.svc', '10-1-0-3.tasks.svc', '10-1-0-99.tasks.svc.net'],
  ...['1.0.0.10.in-addr.arpa', '2.0.0.10.in-addr.arpa', `1.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`],
  ...['nothing', 'nothing.net', 'x.y.example', 'net', 'localhost'],
];
const COMMON: readonly number[] = [...Object.values(TYPE), 0, 64, 65, 256, 257, 65280];
const SIZES: readonly number[] = [0, 100, 511, 512, 513, 1232, 4096, 65535];

/** A resolver that is reached otherwise than by a call. */
export interface Wire {
  /** @param answered whether a reply is waited for */
  exchange(message: Buffer, transport: Transport, answered: boolean): Promise<Uint8Array | undefined>;
}

interface Drawn {
  asked: Asked;
  query: Buffer;
  bytes: Buffer;
  damaged: boolean;
  transport: Transport;
}

function quoting({ transport, bytes }: Drawn, error: unknown): Error {
  return new Error(`${transport} ${bytes.toString('hex')}: ${(error as Error).message}`, { cause: error });
}

/** Messages at a resolver's chain, one after the other, each answer looked at. The same seed gives the same messages. */
export class DnsFuzz {
  readonly chain = new Chain(NOBODY);
  readonly done = { valid: 0, damaged: 0, unanswered: 0, slowestMs: 0 };

  constructor(readonly random: Random) {
    this.chain.view = parseView(VIEW);
  }

  /** @throws AssertionError that quotes the message in hexadecimal */
  step(): void {
    const drawn = this.#drawn();
    const { bytes, transport } = drawn;
    try {
      this.#look(drawn, this.#answered(transport === 'tcp' ? this.#streamed(bytes) : bytes, transport));
    } catch (error) {
      throw quoting(drawn, error);
    }
  }

  /** The same to a resolver behind sockets. What is a query must be answered. @throws as `step` */
  async stepOver(wire: Wire): Promise<void> {
    const drawn = this.#drawn();
    const { bytes, transport } = drawn;
    try {
      const isQuery = bytes.length >= HEADER_BYTES && (be16(bytes, 2) & FLAG.QR) === 0;
      this.#look(drawn, await wire.exchange(bytes, transport, isQuery));
    } catch (error) {
      throw quoting(drawn, error);
    }
  }

  #drawn(): Drawn {
    const { random } = this;
    const asked = this.#asked();
    const query = WRITERS[random.int(WRITERS.length)]?.(asked) as Buffer;
    const transport: Transport = random.chance(0.3) ? 'tcp' : 'udp';
    const damaged = random.chance(0.6);
    return { asked, query, transport, damaged, bytes: damaged ? this.#damaged(query) : query };
  }

  #look({ asked, query, bytes, damaged, transport }: Drawn, reply: Uint8Array | undefined): void {
    if (damaged) this.#judge(bytes, reply, transport);
    else this.#compare(asked, query, reply, transport);
  }

  #asked(): Asked {
    const { random } = this;
    const name = random.chance(0.9) ? (random.pick(NAMES) as string) : this.#name();
    const bit = (flag: number) => (random.chance(0.5) ? flag : 0);
    return {
      id: random.int(0x10000),
      name: [...name].map((c) => (random.chance(0.5) ? c.toUpperCase() : c)).join(''),
      type: random.chance(0.9) ? (random.pick(COMMON) as number) : 1 + random.int(0xffff),
      flags: bit(FLAG.RD) | bit(FLAG.AD) | bit(FLAG.CD),
      edns: random.chance(0.5) ? { udpSize: random.pick(SIZES) as number, dnssecOk: random.chance(0.5) } : undefined,
    };
  }

  /** Up to four labels, now and then as long as may be. */
  #name(): string {
    const { random } = this;
    const letters = 'abcdefghijklmnopqrstuvwxyz0123456789-_';
    const length = () => (random.chance(0.1) ? 62 : 1 + random.int(12));
    const label = () => Array.from({ length: length() }, () => letters[random.int(letters.length)]).join('');
    return Array.from({ length: 1 + random.int(4) }, label).join('.');
  }

  /** The message, cut out of a stream that arrives in pieces, between two others. */
  #streamed(bytes: Buffer): Buffer {
    const stream = Buffer.concat([framed(Buffer.alloc(3)), framed(bytes), framed(bytes)]);
    const frames = new Frames();
    const found: Buffer[] = [];
    for (let at = 0; at < stream.length; ) {
      const end = at + 1 + this.random.int(stream.length);
      found.push(...frames.push(stream.subarray(at, end)));
      at = end;
    }
    assert.equal(found.length, 3);
    assert.deepEqual(found[1], found[2]);
    return found[1] as Buffer;
  }

  #answered(bytes: Buffer, transport: Transport): Uint8Array | undefined {
    let reply: ReturnType<Chain['respond']>;
    const ms = fastest(LIMIT_MS, () => {
      reply = this.chain.respond('c', bytes, transport);
    });
    this.done.slowestMs = Math.max(this.done.slowestMs, ms);
    assert.ok(ms <= LIMIT_MS, `it takes ${ms} ms`);
    assert.ok(!(reply instanceof Promise), 'nothing is forwarded');
    return reply;
  }

  /** A well-formed query is answered, and all readers read the same. */
  #compare(asked: Asked, query: Buffer, reply: Uint8Array | undefined, transport: Transport): void {
    this.done.valid++;
    assert.ok(reply, 'a valid query is answered');
    const parsed = parseQuery(query);
    assert.ok(parsed, 'it is a query');
    const limit = isRejected(parsed) ? 512 : replyLimit(parsed, transport);
    assert.ok(reply.length <= limit, `${reply.length} bytes for ${limit}`);
    const said = readByUs(reply);
    assert.deepEqual(readByDnsPacket(reply), said);
    assert.deepEqual(readByDns2(reply), said);
    assert.equal(said.id, asked.id);
    assert.equal(said.flags.rd, (asked.flags & FLAG.RD) !== 0);
    if (!isRejected(parsed)) {
      const question = query.subarray(HEADER_BYTES, parsed.questionEnd);
      assert.deepEqual(Buffer.from(reply.subarray(HEADER_BYTES, parsed.questionEnd)), question, 'in its own case');
      assert.equal(be16(reply, 10) - (said.records[2]?.length ?? 0), asked.edns ? 1 : 0, 'OPT is answered with OPT');
    }
    this.#expected(asked, said);
  }

  /** Names with addresses have just those; what was cut off is missing at most. */
  #expected({ name, type }: Asked, { rcode, flags, records }: ReturnType<typeof readByUs>): void {
    const entry = ADDRESSES[name.toLowerCase().replace(/\.net$/, '')];
    if (!entry || (type !== TYPE.A && type !== TYPE.AAAA)) return;
    assert.equal(rcode, 0);
    const all = new Set((type === TYPE.A ? entry.a : entry.aaaa) ?? []);
    const answers = records[0] as string[];
    const told = answers.map((record) => record.split(' ').at(-1) as string);
    for (const ip of told) assert.ok(all.delete(ip), `${ip} is not its address, or is named twice`);
    assert.equal(all.size > 0, flags.tc, 'all of them, or TC');
    assert.ok(
      answers.every((record) => record.includes(` ${TTL} ${type} `)),
      'TTL and type',
    );
    assert.equal(records[1]?.length, answers.length === 0 && !flags.tc ? 1 : 0, 'an SOA where there is nothing');
  }

  /** Something damaged is answered with something whole, or with silence where it is no query. */
  #judge(bytes: Buffer, reply: Uint8Array | undefined, transport: Transport): void {
    this.done.damaged++;
    if (bytes.length < HEADER_BYTES || be16(bytes, 2) & FLAG.QR) {
      this.done.unanswered++;
      assert.equal(reply, undefined, 'silence');
      return;
    }
    assert.ok(reply, 'whoever asks is answered');
    assert.ok(reply.length <= (transport === 'tcp' ? TCP_BYTES_MAX : 4096));
    assert.equal(be16(reply, 0), be16(bytes, 0));
    assert.ok(be16(reply, 2) & FLAG.QR);
    readByUs(reply);
  }

  #damaged(query: Buffer): Buffer {
    const { random } = this;
    let bytes: Buffer = Buffer.from(query);
    for (let i = 1 + random.int(3); i > 0; i--) bytes = this.#damage(bytes);
    return bytes.subarray(0, TCP_BYTES_MAX);
  }

  #damage(bytes: Buffer): Buffer {
    const { random } = this;
    const at = random.int(bytes.length + 1);
    const put = (...values: number[]) =>
      Buffer.concat([bytes.subarray(0, at), Buffer.from(values), bytes.subarray(at)]);
    const noise = (length: number) => Array.from({ length }, () => random.int(256));
    switch (random.int(12)) {
      case 0: // one bit
        if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ (1 << random.int(8));
        return bytes;
      case 1: // one byte
        if (at < bytes.length) bytes[at] = random.int(256);
        return bytes;
      case 2: // breaks off
        return bytes.subarray(0, at);
      case 3: // goes on
        return Buffer.concat([bytes, Buffer.from(noise(random.int(64)))]);
      case 4: // a pointer, to anywhere near
        return put(0xc0 | random.int(2), random.int(256));
      case 5: // a pointer to itself
        return put(0xc0, at & 0xff);
      case 6: // counts
        if (bytes.length >= HEADER_BYTES)
          bytes.writeUInt16BE(random.chance(0.5) ? 0xffff : random.int(4), 4 + 2 * random.int(4));
        return bytes;
      case 7: // labels too long, or of the other types
        return put(64 + random.int(128), ...noise(random.int(100)));
      case 8: // a name of many labels, over 255 octets
        return put(...Array.from({ length: 60 + random.int(200) }, () => [1 + random.int(3), 0x61, 0x61, 0x61]).flat());
      case 9: // records of its own, with lengths that lie
        return Buffer.concat([
          bytes,
          Buffer.from([
            random.int(2) * 0xc0,
            12,
            0,
            41,
            ...noise(6),
            random.int(2),
            random.int(256),
            ...noise(random.int(40)),
          ]),
        ]);
      case 10: // noise alone
        return Buffer.from(noise(random.int(80)));
      default: // twelve bytes that promise everything
        return Buffer.concat([bytes.subarray(0, Math.min(4, bytes.length)), Buffer.alloc(8, 0xff)]);
    }
  }
}
