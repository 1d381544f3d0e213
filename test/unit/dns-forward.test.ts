import test, { type ExecutionContext } from 'ava';
import { Chain } from '../../src/dns/chain.js';
import { decodeMessage, encodeMessage, type Message } from '../../src/dns/codec.js';
import { FLAG, RCODE, RCODE_MASK, TYPE } from '../../src/dns/constants.js';
import type { Transport } from '../../src/dns/query.js';
import { parseView } from '../../src/dns/view-json.js';
import { addresses, failing, NameServers, nothing } from '../support/name-servers.js';

const INSIDE = '10.0.0.53';
const FIRST = '192.0.2.1';
const SECOND = '192.0.2.2';

class World {
  readonly servers = new NameServers();
  readonly chain = new Chain(this.servers.exchange);

  constructor(...upstreams: string[]) {
    this.chain.view = parseView({
      revision: 1,
      upstreams: upstreams.length > 0 ? upstreams : [FIRST],
      sandboxes: {
        c: { netns: '/c', networks: ['n'] },
        d: { netns: '/d', networks: ['n'] },
        own: { netns: '/o', networks: ['n'], dns: [SECOND] },
        shut: { netns: '/s', networks: ['i'], dns: [FIRST, INSIDE], inside: [INSIDE], split: { corp: [SECOND] } },
        split: { netns: '/p', networks: ['n', 'i'], split: { 'lab.corp.example': [INSIDE], lan: [SECOND] } },
      },
      split: { 'corp.example': [SECOND] },
      networks: {
        n: { internal: false, names: {}, ptr: {} },
        i: { internal: true, subnets: ['10.0.0.0/24'], names: {}, ptr: {} },
      },
    });
  }

  async ask(name: string, more: Partial<Message> & { type?: number; transport?: Transport; sandbox?: string } = {}) {
    const { type = TYPE.A, transport = 'udp', sandbox = 'c', ...fields } = more;
    const questions = [{ name, type, class: 1 }];
    const none = { answers: [], authorities: [], additionals: [] };
    const bytes = encodeMessage({ id: 0x4242, flags: FLAG.RD, questions, ...none, ...fields });
    const reply = await this.chain.respond(sandbox, bytes, transport);
    return decodeMessage(reply as Uint8Array);
  }
}

const VIEW = { revision: 1, upstreams: [], sandboxes: {}, networks: {} };
const valuesOf = ({ answers }: Message) => answers.map(({ data }) => ('address' in data ? data.address : '?'));
const ttlsOf = ({ answers, authorities }: Message) => [...answers, ...authorities].map(({ ttl }) => ttl);
const rcodeOf = ({ flags }: Message) => flags & RCODE_MASK;
const EDNS = { udpSize: 4096, extendedRcode: 0, version: 0, dnssecOk: false, options: [] };

/** Stops the clock that answers are kept by, and moves it. */
function clock(t: ExecutionContext) {
  const real = performance.now.bind(performance);
  // Whole, so that sums of it are exact: 59 s after 1234.567 ms may be 58.999….
  let now = Math.ceil(real());
  performance.now = () => now;
  t.teardown(() => {
    performance.now = real;
  });
  return (seconds: number) => {
    now += seconds * 1000;
  };
}

test.serial('an answer is kept for as long as it is true, and says for how long that still is', async (t) => {
  const forward = clock(t);
  const world = new World();
  world.servers.says.set(FIRST, (asked) => addresses(asked, 60, '198.51.100.1'));
  t.deepEqual(ttlsOf(await world.ask('www.example')), [60]);
  forward(20);
  const kept = await world.ask('WWW.Example');
  t.deepEqual([kept.id, kept.questions[0]?.name, ttlsOf(kept)], [0x4242, 'WWW.Example', [40]]);
  t.is(world.servers.asked.length, 1);
  forward(39);
  t.deepEqual(ttlsOf(await world.ask('www.example')), [1]);
  forward(1);
  t.deepEqual(ttlsOf(await world.ask('www.example')), [60]);
  t.is(world.servers.asked.length, 2);
  const { forwarded, cached } = world.chain.counters;
  t.deepEqual({ forwarded, cached }, { forwarded: 2, cached: 2 });
});

test.serial('that there is nothing is kept as the SOA record says, and not at all without one', async (t) => {
  const forward = clock(t);
  const world = new World();
  world.servers.says.set(FIRST, (asked) => {
    if (asked.name.toLowerCase() === 'soa.example') return nothing(asked, 300, 30);
    if (asked.name.toLowerCase() === 'empty.example') return nothing(asked, 20, 900, RCODE.NOERROR);
    return failing(asked, RCODE.NXDOMAIN);
  });
  const times = async (name: string) => {
    const before = world.servers.asked.length;
    const reply = await world.ask(name);
    return [rcodeOf(reply), world.servers.asked.length - before];
  };
  t.deepEqual(await times('soa.example'), [RCODE.NXDOMAIN, 1]);
  t.deepEqual(await times('empty.example'), [RCODE.NOERROR, 1]);
  t.deepEqual(await times('bare.example'), [RCODE.NXDOMAIN, 1]);
  forward(19);
  t.deepEqual(await times('soa.example'), [RCODE.NXDOMAIN, 0]);
  t.deepEqual(await times('empty.example'), [RCODE.NOERROR, 0]);
  t.deepEqual(await times('bare.example'), [RCODE.NXDOMAIN, 1]);
  forward(2);
  t.deepEqual(await times('empty.example'), [RCODE.NOERROR, 1]);
  t.deepEqual(await times('soa.example'), [RCODE.NXDOMAIN, 0]);
  forward(10);
  t.deepEqual(await times('soa.example'), [RCODE.NXDOMAIN, 1]);
});

test.serial('where no server answers, an answer that has run out is better than none', async (t) => {
  const forward = clock(t);
  const world = new World();
  world.servers.says.set(FIRST, (asked) => addresses(asked, 60, '198.51.100.1'));
  await world.ask('www.example');
  forward(100);
  world.servers.says.set(FIRST, (asked) => failing(asked, RCODE.SERVFAIL));
  const stale = await world.ask('www.example');
  t.deepEqual([rcodeOf(stale), valuesOf(stale), ttlsOf(stale)], [RCODE.NOERROR, ['198.51.100.1'], [30]]);
  t.is(world.servers.asked.length, 2);
  forward(29);
  await world.ask('www.example');
  t.is(world.servers.asked.length, 2, 'not asked again so soon');
  t.is(world.chain.counters.stale, 2);
  world.servers.says.set(FIRST, (asked) => addresses(asked, 60, '198.51.100.2'));
  forward(2);
  t.deepEqual(valuesOf(await world.ask('www.example')), ['198.51.100.2']);
  world.servers.says.set(FIRST, () => 'unreachable');
  forward(60 + 86_400);
  t.is(rcodeOf(await world.ask('www.example')), RCODE.SERVFAIL, 'a day later it is worth nothing');
});

test.serial('a failure is believed for a second', async (t) => {
  const forward = clock(t);
  const world = new World();
  t.is(rcodeOf(await world.ask('www.example')), RCODE.SERVFAIL);
  t.is(rcodeOf(await world.ask('www.example')), RCODE.SERVFAIL);
  t.is(world.servers.asked.length, 1);
  forward(2);
  world.servers.says.set(FIRST, (asked) => addresses(asked, 60, '198.51.100.1'));
  t.is(rcodeOf(await world.ask('www.example')), RCODE.NOERROR);
});

test('identical queries at one time are one, of whichever sandbox; others are others', async (t) => {
  const world = new World();
  world.servers.says.set(FIRST, (asked) => addresses(asked, 0, '198.51.100.1'));
  world.servers.says.set(SECOND, (asked) => addresses(asked, 0, '198.51.100.2'));
  const same = ['c', 'd', 'c'].map((sandbox) => world.ask('www.example', { sandbox }));
  for (const reply of await Promise.all(same)) t.deepEqual(valuesOf(reply), ['198.51.100.1']);
  t.is(world.servers.asked.length, 1);
  await Promise.all([
    world.ask('www.example'),
    world.ask('www.example', { type: TYPE.AAAA }),
    world.ask('www.example', { edns: { ...EDNS, dnssecOk: true } }),
    world.ask('www.example', { flags: FLAG.RD | FLAG.CD }),
    world.ask('www.example', { flags: 0 }),
    world.ask('www.example', { sandbox: 'own' }),
  ]);
  t.is(world.servers.asked.length, 7);
});

test('a cut answer is asked for by TCP, kept whole and cut for each client as it needs', async (t) => {
  const world = new World();
  const many = Array.from({ length: 100 }, (_, i) => `198.51.100.${i}`);
  world.servers.says.set(FIRST, (asked) => addresses(asked, 60, ...many));
  const small = await world.ask('many.example');
  t.true((small.flags & FLAG.TC) !== 0 && small.answers.length > 20, `${small.answers.length}`);
  t.is(small.edns, undefined);
  t.deepEqual(
    world.servers.asked.map(({ transport }) => transport),
    ['udp', 'tcp'],
  );
  const large = await world.ask('many.example', { edns: EDNS });
  t.deepEqual([large.answers.length, large.flags & FLAG.TC, large.edns?.udpSize], [100, 0, 4096]);
  t.is((await world.ask('many.example', { transport: 'tcp' })).answers.length, 100);
  t.is(world.servers.asked.length, 2);
});

test('an answer that stays cut is given and not kept', async (t) => {
  const world = new World();
  const many = Array.from({ length: 100 }, (_, i) => `198.51.100.${i}`);
  world.servers.says.set(FIRST, (asked) => (asked.transport === 'tcp' ? 'unreachable' : addresses(asked, 60, ...many)));
  for (const asked of [2, 4]) {
    const reply = await world.ask('many.example', { edns: EDNS });
    t.true((reply.flags & FLAG.TC) !== 0 && reply.answers.length > 50);
    t.is(world.servers.asked.length, asked);
  }
});

test('the next server is asked at once after a failure, else a little later', async (t) => {
  const world = new World(FIRST, SECOND);
  world.servers.says.set(SECOND, (asked) => addresses(asked, 0, '198.51.100.2'));
  world.servers.says.set(FIRST, (asked) => failing(asked, RCODE.REFUSED));
  t.deepEqual(valuesOf(await world.ask('a.example')), ['198.51.100.2']);
  t.deepEqual([world.servers.askedOf(FIRST), world.servers.askedOf(SECOND)], [1, 1]);
  world.servers.says.set(FIRST, () => 'silence');
  for (const name of ['b.example', 'c.example']) t.deepEqual(valuesOf(await world.ask(name)), ['198.51.100.2']);
  t.deepEqual([world.servers.askedOf(FIRST), world.servers.askedOf(SECOND)], [3, 3]);
});

test('where all fail, the first failure is the answer', async (t) => {
  const world = new World(FIRST, SECOND);
  world.servers.says.set(FIRST, (asked) => failing(asked, RCODE.REFUSED));
  t.is(rcodeOf(await world.ask('a.example')), RCODE.REFUSED);
  t.is(world.servers.askedOf(SECOND), 1);
});

test('one server that loses a query is asked again', async (t) => {
  const world = new World();
  world.servers.says.set(FIRST, (asked) =>
    world.servers.asked.length === 1 ? 'silence' : addresses(asked, 0, '198.51.100.1'),
  );
  t.deepEqual(valuesOf(await world.ask('a.example')), ['198.51.100.1']);
});

test('names go out in random case; who answers in another is asked by TCP', async (t) => {
  const world = new World();
  const lower = (asked: Parameters<typeof addresses>[0]) => {
    const questions = asked.query.questions.map((one) => ({ ...one, name: one.name.toLowerCase() }));
    return addresses({ ...asked, query: { ...asked.query, questions } }, 0, '198.51.100.1');
  };
  world.servers.says.set(FIRST, (asked) => addresses(asked, 0, '198.51.100.1'));
  const names = new Set<string>();
  for (let i = 0; i < 8; i++) {
    const reply = await world.ask('host.long-name.example');
    t.is(reply.questions[0]?.name, 'host.long-name.example');
    names.add(world.servers.asked.at(-1)?.name ?? '');
  }
  t.true(names.size > 1, [...names].join(' '));
  world.servers.asked.length = 0;
  world.servers.says.set(FIRST, lower);
  t.deepEqual(valuesOf(await world.ask('host.long-name.example')), ['198.51.100.1']);
  t.deepEqual(valuesOf(await world.ask('host.long-name.example')), ['198.51.100.1']);
  t.deepEqual(
    world.servers.asked.map(({ transport }) => transport),
    ['udp', 'tcp', 'udp'],
    'it is known then that it does not keep case',
  );
});

test('a forged answer in another case is not taken', async (t) => {
  const world = new World();
  world.servers.says.set(FIRST, (asked) => {
    if (asked.transport === 'tcp') return addresses(asked, 60, '198.51.100.1');
    const questions = asked.query.questions.map((one) => ({ ...one, name: 'host.long-name.example' }));
    return addresses({ ...asked, query: { ...asked.query, questions } }, 60, '203.0.113.66');
  });
  t.deepEqual(valuesOf(await world.ask('host.long-name.example')), ['198.51.100.1']);
});

test('a server that knows no EDNS is asked without, and remembered', async (t) => {
  const world = new World();
  world.servers.says.set(FIRST, (asked) => {
    if (asked.query.edns) return { ...failing(asked, RCODE.FORMERR), edns: undefined } as unknown as Message;
    return addresses(asked, 0, '198.51.100.1');
  });
  for (const asked of [2, 3]) {
    const reply = await world.ask('a.example', { edns: EDNS });
    t.deepEqual([valuesOf(reply), reply.edns?.udpSize], [['198.51.100.1'], 4096]);
    t.is(world.servers.asked.length, asked);
  }
});

test('a query of our own that comes back is not asked for again', async (t) => {
  const world = new World();
  const replies: Message[] = [];
  world.servers.says.set(FIRST, async (asked) => {
    // Whoever is asked there asks us, as it was asked.
    const reply = await world.ask(asked.name, { sandbox: 'own' });
    replies.push(reply);
    return failing(asked, rcodeOf(reply));
  });
  t.is(rcodeOf(await world.ask('host.long-name.example')), RCODE.SERVFAIL);
  t.deepEqual(replies.map(rcodeOf), [RCODE.SERVFAIL]);
  t.is(world.servers.askedOf(SECOND), 0);
  t.is(world.chain.counters.looped, 1);
});

test('a sandbox that waits for too many answers gets none, others do', async (t) => {
  const world = new World();
  let free = () => {};
  const gate = new Promise<void>((resolve) => {
    free = resolve;
  });
  world.servers.says.set(FIRST, async (asked) => {
    await gate;
    return addresses(asked, 0, '198.51.100.1');
  });
  const waiting = Array.from({ length: 256 }, (_, i) => world.ask(`n${i}.example`));
  t.is(rcodeOf(await world.ask('more.example')), RCODE.SERVFAIL);
  t.is(world.chain.counters.limited, 1);
  const other = world.ask('more.example', { sandbox: 'd' });
  free();
  t.is(rcodeOf(await other), RCODE.NOERROR);
  for (const reply of await Promise.all(waiting)) t.is(rcodeOf(reply), RCODE.NOERROR);
});

test('who is asked depends on the domain, the longest of the sandbox and the node', async (t) => {
  const world = new World();
  for (const server of [FIRST, SECOND, INSIDE]) world.servers.says.set(server, (asked) => addresses(asked, 0, server));
  const who = async (name: string, sandbox: string) => {
    const reply = await world.ask(name, { sandbox });
    return valuesOf(reply)[0] ?? rcodeOf(reply);
  };
  t.is(await who('a.Corp.Example', 'c'), SECOND);
  t.is(await who('corp.example', 'c'), SECOND);
  t.is(await who('notcorp.example', 'c'), FIRST);
  t.is(await who('x\\.corp.example', 'c'), FIRST, 'a dot in a label separates nothing');
  t.is(await who('a.lab.corp.example', 'c'), SECOND);
  t.is(await who('a.lab.corp.example', 'split'), INSIDE);
  t.is(await who('a.corp.example', 'split'), SECOND);
  t.is(await who('lan', 'split'), SECOND, 'one label, that a rule names');
  t.is(await who('lan', 'c'), RCODE.NXDOMAIN);
  t.is(await who('x.i', 'split'), RCODE.NXDOMAIN, 'below a network of its own');
});

test('without a way out only servers that are asked from inside are asked', async (t) => {
  const world = new World();
  for (const server of [FIRST, SECOND, INSIDE]) world.servers.says.set(server, (asked) => addresses(asked, 0, server));
  t.deepEqual(valuesOf(await world.ask('www.example', { sandbox: 'shut' })), [INSIDE]);
  t.is(rcodeOf(await world.ask('www.corp', { sandbox: 'shut' })), RCODE.NXDOMAIN);
  t.deepEqual([world.servers.askedOf(FIRST), world.servers.askedOf(SECOND)], [0, 0]);
  t.throws(
    () =>
      parseView({
        ...VIEW,
        sandboxes: { c: { netns: '/c', networks: [], dns: ['127.0.0.11'], inside: ['127.0.0.11'] } },
      }),
    { message: /itself/ },
  );
});

test('AD is told to who asked for it', async (t) => {
  const world = new World();
  world.servers.says.set(FIRST, (asked) => {
    const message = addresses(asked, 60, '198.51.100.1');
    return { ...message, flags: message.flags | FLAG.AD | FLAG.AA };
  });
  const flags = async (asked: number) => (await world.ask('a.example', { flags: asked })).flags & (FLAG.AD | FLAG.AA);
  t.is(await flags(FLAG.RD), 0);
  t.is(await flags(FLAG.RD | FLAG.AD), FLAG.AD);
});

test('what a server says without end is no answer', async (t) => {
  const world = new World();
  world.servers.says.set(FIRST, (asked) => {
    const bytes = Buffer.from(encodeMessage(addresses(asked, 60, '198.51.100.1')));
    bytes.writeUInt16BE(65535, 6);
    return bytes;
  });
  world.servers.says.set(SECOND, (asked) => addresses(asked, 60, '198.51.100.2'));
  const both = new World(FIRST, SECOND);
  for (const [server, says] of world.servers.says) both.servers.says.set(server, says);
  t.deepEqual(valuesOf(await both.ask('a.example')), ['198.51.100.2']);
});
