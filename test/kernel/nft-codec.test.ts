import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { type Message, parseMessages } from '../../src/codec/netlink.js';
import * as p from '../../src/codec/nft/build/terms.js';
import * as nft from '../../src/codec/nft/build.js';
import { type ChainRef, delChain, getChains, newChain, readChain } from '../../src/codec/nft/chain.js';
import {
  type Change,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  nftType,
} from '../../src/codec/nft/change.js';
import {
  delElements,
  type Element,
  flushSet,
  getElements,
  newElements,
  readElements,
} from '../../src/codec/nft/element.js';
import { isTorn } from '../../src/codec/nft/generation.js';
import { normalChain, normalElement, normalRule, normalSet, normalTable } from '../../src/codec/nft/normal.js';
import { delRule, flushChain, getRules, newRule, readRule } from '../../src/codec/nft/rule.js';
import { delSet, getSets, newSet, readSet } from '../../src/codec/nft/set.js';
import { delTable, getTables, newTable, readTable, type Table } from '../../src/codec/nft/table.js';
import { keyHex, valueHex } from '../../src/codec/nft/types.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { World } from '../support/native-world.js';
import { needs } from '../support/needs.js';
import { NftSocket } from '../support/nft-socket.js';

const FOLDER = new URL('../../../test/golden/nft/', import.meta.url);
const TABLE: Table = { family: 'bridge', table: 'weft', flags: 0, comment: 'of weft' };
const TABLE_REF = { family: 'bridge', table: 'weft' } as const;
const PRE: ChainRef = { family: 'bridge', table: 'weft', chain: 'balance' };
const SVC: ChainRef = { family: 'bridge', table: 'weft', chain: 'svc-1' };
const ERESTART = 85;
const ENOENT = 2;
const EEXIST = 17;
const EMLINK = 31;

const LISTED = `table bridge weft {
	comment "of weft"
	map nodes {
		type ipv4_addr : ether_addr
		comment "node leg of an ingress address"
		elements = { 10.0.0.101 comment "node-1" : 02:42:0a:00:00:65 }
	}

	map backends {
		type ipv4_addr . mark : ether_addr
		elements = { 10.0.0.200 . 0x00000007 : 02:42:0a:00:00:0b }
	}

	map slots-1 {
		type mark : mark
		elements = { 0x00000000 : 0x00000007, 0x00000001 : 0x00000008 }
	}

	map services {
		type ipv4_addr : verdict
		elements = { 10.0.0.200 : goto svc-1 }
	}

	map services6 {
		type ipv6_addr : verdict
	}

	map ports {
		type ipv4_addr . inet_proto . inet_service : verdict
		size 4096
		elements = { 10.0.0.101 . tcp . 8080 : jump svc-1 }
	}

	map flows {
		type ether_addr . ipv4_addr . inet_service : ether_addr
		size 65536
		flags dynamic,timeout
		timeout 1m
	}

	set guard {
		typeof ip saddr . @th,96,24 . @th,176,48
		elements = { 10.9.0.1 . 0x100 . 0x2420a00000b }
	}

	chain svc-1 {
		comment "service 1"
		meta mark set numgen inc mod 2 map @slots-1
		ether daddr set ip daddr . meta mark map @backends counter packets 0 bytes 0 accept comment "to a backend"
		meta mark set meta mark & 0xf8ffffff | 0x08000000 return
	}

	chain balance {
		type filter hook prerouting priority -150; policy accept;
		ether daddr != 02:57:0a:00:00:01 accept comment "not for us"
		ether daddr set ip saddr map @nodes accept
		tcp flags syn / syn,ack update @flows { ether saddr . ip saddr . tcp sport timeout 30s : ether daddr }
		tcp flags fin,rst delete @flows { ether saddr . ip saddr . tcp sport : 00:00:00:00:00:00 } drop
		ip daddr vmap @services
		ip6 daddr vmap @services6
		ip daddr . ip protocol . th dport vmap @ports
		udp dport 4789 ip saddr . @th,96,24 . @th,176,48 != @guard drop
		ip saddr 10.0.0.0/20 ip daddr != 10.1.0.0/16 jump svc-1
		iifname "vxlan0" limit rate 10/second meta mark set 0x00000007 goto svc-1
	}
}`;

/** A recorded batch as changes of ours; anonymous sets get the ids they had, which is their order. */
function reencoded(messages: Message[]): Change[] {
  const ids = new Map<string, number>();
  const changes: Change[] = [];
  let last = 0;
  for (const m of messages) {
    if (m.type === nftType(NFT_MSG_NEWTABLE)) changes.push(newTable(readTable(m)));
    else if (m.type === nftType(NFT_MSG_NEWCHAIN)) changes.push(newChain(readChain(m)));
    else if (m.type === nftType(NFT_MSG_NEWRULE)) changes.push(newRule(readRule(m)));
    else if (m.type === nftType(NFT_MSG_NEWSET)) {
      const set = readSet(m);
      ids.set(set.table + set.set, ++last);
      changes.push(newSet(set, last));
    } else if (m.type === nftType(NFT_MSG_NEWSETELEM)) {
      const list = readElements(m);
      changes.push(...newElements(list, list.elements, ids.get(list.table + list.set)));
    }
  }
  return changes;
}

if (needs(t, ['root', 'nft', 'nft-bridge', 'nft-numgen', 'nft-inet'])) {
  const native = loadNative();
  const world = new World(native);
  t.teardown(() => world.end());
  let count = 0;

  /** A namespace with a socket in it and `nft list ruleset` as lines. */
  function fresh(): { fd: number; socket: NftSocket; list: (...args: string[]) => Promise<string[]> } {
    const fd = world.netns(`nft${count++}`);
    const socket = new NftSocket(native, fd);
    t.teardown(() => socket.close());
    const list = async (...args: string[]): Promise<string[]> =>
      (await world.must(fd, ['nft', ...args, 'list', 'ruleset'].join(' '))).trimEnd().split('\n');
    return { fd, socket, list };
  }

  for (const file of readdirSync(FOLDER)) {
    t.test(`${file}: our encoding of what nft sent lists as what nft loaded`, async (t) => {
      const golden: { batch: string[]; listed: string[] } = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'));
      const { fd, socket, list } = fresh();
      await world.must(fd, 'ip link set lo up');
      const messages = golden.batch.flatMap((hex) => [...parseMessages(Buffer.from(hex, 'hex'))]);
      t.same(await socket.apply(reencoded(messages)), []);
      const quiet = (lines: string[]) => lines.map((l) => l.replace(/ # handle \d+$/, '').replace(/ expires \S+/, ''));
      t.same(quiet(await list('-a')), quiet(golden.listed));
    });
  }

  t.test('rules of the builder list as they are meant, and read back as they were built', async (t) => {
    const { socket, list } = fresh();
    const { sets, elements, chains, rules } = balancer();
    const changes = [
      newTable(TABLE),
      ...chains.map((c) => newChain(c)),
      ...sets.map((s) => newSet(s)),
      ...elements.flatMap(([s, e]) => newElements(s, e)),
      ...rules.map((r) => newRule(r)),
    ];
    t.same(await socket.apply(changes), []);
    t.equal((await list()).join('\n'), LISTED);

    t.same((await socket.dump((seq) => getTables(seq), readTable)).map(normalTable), [TABLE]);
    t.same((await socket.dump((seq) => getChains(seq, 'bridge'), readChain)).map(normalChain), chains);
    t.same((await socket.dump((seq) => getSets(seq, TABLE), readSet)).map(normalSet), sets);
    t.same(
      (await socket.dump((seq) => getRules(seq, TABLE), readRule)).map(normalRule).sort(byChain),
      [...rules].sort(byChain),
    );
    for (const [set, want] of elements) {
      const have = await socket.dump((seq) => getElements(seq, set), readElements);
      t.same(sorted(have.flatMap((part) => part.elements).map((e) => normalElement(e))), sorted(want), set.set);
    }
  });

  t.test('a map whose keys have bits of the packet in them lists with two elements and more', async (t) => {
    const { socket, list } = fresh();
    const key = ['ipv4_addr', { base: 'network', offset: 4, bytes: 2 }] as const;
    const set = nft.setOf({ ...TABLE, set: 'datagrams' }, { key, data: 'ether_addr' });
    const elements = [1, 2].map((n) => ({ key: keyHex(key, ['10.0.0.1', n]), data: '021122334455' }));
    t.same(await socket.apply([newTable(TABLE), newSet(set), ...newElements(set, elements)]), []);
    const lines = (await list()).join('\n');
    t.match(lines, '10.0.0.1 . 0x1 : 02:11:22:33:44:55');
    t.match(lines, '10.0.0.1 . 0x2 : 02:11:22:33:44:55');
  });

  t.test('what is refused, and how it is told', async (t) => {
    const { socket } = fresh();
    const nope: ChainRef = { ...PRE, chain: 'nope' };
    t.same(await socket.apply([newTable(TABLE), newChain(SVC)]), []);

    const chains = async () => (await socket.dump((seq) => getChains(seq, 'bridge'), readChain)).map((c) => c.chain);
    const bad = [
      newChain(PRE),
      delChain(nope),
      newRule(nft.rule(nope, [nft.accept])),
      newChain({ ...SVC, chain: 'later' }),
    ];
    const refused = await socket.apply(bad);
    t.same(
      refused.map((r) => r.ack.errno),
      [ENOENT, ENOENT],
      'the kernel looks on after the first refusal',
    );
    t.same(
      refused.map((r) => r.change?.label),
      [bad[1]?.label, bad[2]?.label],
    );
    t.same(await chains(), ['svc-1'], 'and nothing of the batch was done');

    const base = { type: 'filter', hook: 'prerouting', priority: 0, policy: 'accept' } as const;
    const again = { ...SVC, chain: 'again' };
    const loop = [
      newChain({ ...PRE, base }),
      newChain(again),
      newRule(nft.rule(PRE, [nft.jump('svc-1')])),
      newRule(nft.rule(SVC, [nft.jump('again')])),
      newRule(nft.rule(again, [nft.jump('svc-1')])),
    ];
    t.same(
      (await socket.apply(loop)).map((r) => r.ack.errno),
      [EMLINK],
      'a loop of jumps',
    );

    const generation = await socket.generation();
    t.same(await socket.apply([newChain(PRE)], generation), [], 'the generation is still the same');
    const late = await socket.apply([newChain(nope)], generation);
    t.same(late, [{ ack: { errno: ERESTART } }], 'it is not any more: no change is to blame');
    t.same(await chains(), ['svc-1', 'balance']);
  });

  t.test('elements: same again, another value, replaced, absent', async (t) => {
    const { socket } = fresh();
    const set = nft.setOf({ ...TABLE_REF, set: 'nodes' }, { key: ['ipv4_addr'], data: 'ether_addr' });
    const one = { key: '0a000001', data: '024200000001' };
    const other = { ...one, data: '024200000002' };
    const errnos = async (...changes: Change[]) => (await socket.apply(changes)).map((r) => r.ack.errno);
    const have = async () =>
      (await socket.dump((seq) => getElements(seq, set), readElements)).flatMap((l) => l.elements);
    t.same(await errnos(newTable(TABLE), newSet(set), ...newElements(set, [one])), []);
    t.same(await errnos(newSet(set), ...newElements(set, [one])), []);
    t.same(await errnos(...newElements(set, [other])), [EEXIST]);
    t.same(await errnos(...delElements(set, [one]), ...newElements(set, [other])), []);
    t.same(await have(), [other]);
    t.same(await errnos(...delElements(set, [{ key: '0a000009' }])), [ENOENT]);
    t.same(await errnos(flushSet(set)), []);
    t.same(await have(), []);
    const elsewhere = socket.dump((seq) => getElements(seq, { ...set, set: 'none' }), readElements);
    await t.rejects(elsewhere, { message: /"errno":2/ });
    t.same(await errnos(delSet(set)), []);
    t.same(await errnos(delSet(set)), [ENOENT]);
  });

  t.test('places of rules', async (t) => {
    const { socket } = fresh();
    const named = (comment: string) => nft.rule(SVC, [nft.accept], comment);
    const rules = () => socket.dump((seq) => getRules(seq, SVC), readRule);
    const order = async () => (await rules()).map((r) => r.comment).join(' ');
    const handleOf = async (comment: string) => (await rules()).find((r) => r.comment === comment)?.handle ?? 0n;
    const first = [newTable(TABLE), newChain(SVC), newRule(named('b')), newRule(named('a'), { at: 'start' })];
    t.same(await socket.apply(first), []);
    t.equal(await order(), 'a b');
    t.same(await socket.apply([newRule(named('a2'), { at: 'after', handle: await handleOf('a') })]), []);
    t.same(await socket.apply([newRule(named('b0'), { at: 'before', handle: await handleOf('b') })]), []);
    t.equal(await order(), 'a a2 b0 b');
    t.same(await socket.apply([newRule(named('x'), { at: 'replace', handle: await handleOf('a2') })]), []);
    t.equal(await order(), 'a x b0 b');
    t.same(await socket.apply([delRule(SVC, await handleOf('x'))]), []);
    t.equal(await order(), 'a b0 b');
    t.same(await socket.apply([flushChain(SVC), newRule(named('only'))]), []);
    t.equal(await order(), 'only');
    t.same(await socket.apply([newTable(TABLE), delTable(TABLE)]), []);
    t.same(await socket.dump((seq) => getTables(seq), readTable), []);
  });

  t.test('10,000 elements go in one batch, and a dump that is not torn has all of them', async (t) => {
    const { fd, socket } = fresh();
    const set = nft.setOf({ ...TABLE_REF, set: 'backends' }, { key: ['ipv4_addr', 'mark'], data: 'ether_addr' });
    const element = (n: number): Element => ({
      key: `${(0x0a000000 + n).toString(16).padStart(8, '0')}07000000`,
      data: '024200000001',
    });
    const all = Array.from({ length: 10_000 }, (_, n) => element(n));
    t.same(await socket.apply([newTable(TABLE), newSet(set), ...newElements(set, all)]), []);

    const other = new NftSocket(native, fd);
    t.teardown(() => other.close());
    let running = true;
    const churn = (async () => {
      for (let n = 20_000; running; n++) {
        await other.apply(newElements(set, [element(n)]));
        await other.apply(delElements(set, [element(n)]));
      }
    })();
    let whole = 0;
    for (let i = 0; i < 30; i++) {
      const generation = await socket.generation();
      const dump = await socket.send((seq) => getElements(seq, set));
      if (isTorn(dump, generation)) continue;
      whole++;
      const keys = new Set(elementsOf(dump).map((e) => e.key));
      t.ok(all.every((e) => keys.has(e.key)));
    }
    running = false;
    await churn;
    const generation = await socket.generation();
    const dump = await socket.send((seq) => getElements(seq, set));
    t.notOk(isTorn(dump, generation));
    t.equal(elementsOf(dump).length, all.length);
    t.comment(`${whole} of 30 dumps under ${generation} commits were whole`);
  });
}

function elementsOf(dump: readonly Message[]): Element[] {
  return dump.filter((m) => m.type === nftType(NFT_MSG_NEWSETELEM)).flatMap((m) => readElements(m).elements);
}

function byChain(a: ChainRef, b: ChainRef): number {
  return a.chain < b.chain ? -1 : a.chain > b.chain ? 1 : 0;
}

function sorted(elements: readonly Element[]): Element[] {
  return [...elements].sort((a, b) => ((a.key ?? '') < (b.key ?? '') ? -1 : 1));
}

/** A balancer in small: what `balance/nft` will write, with every kind of statement that the bridge family takes here. */
function balancer() {
  const { rule, setOf } = nft;
  const set = (name: string) => ({ ...TABLE_REF, set: name });
  const byMark = ['ipv4_addr', 'mark'] as const;
  const published = ['ipv4_addr', 'inet_proto', 'inet_service'] as const;
  const nodes = setOf(set('nodes'), {
    key: ['ipv4_addr'],
    data: 'ether_addr',
    comment: 'node leg of an ingress address',
  });
  const backends = setOf(set('backends'), { key: byMark, data: 'ether_addr' });
  const slots = setOf(set('slots-1'), { key: ['mark'], data: 'mark' });
  const services = setOf(set('services'), { key: ['ipv4_addr'], data: 'verdict' });
  const services6 = setOf(set('services6'), { key: ['ipv6_addr'], data: 'verdict' });
  const ports = setOf(set('ports'), { key: published, data: 'verdict', size: 4096 });
  const flows = setOf(set('flows'), {
    key: ['ether_addr', 'ipv4_addr', 'inet_service'],
    data: 'ether_addr',
    flags: ['dynamic', 'timeout'],
    size: 65536,
    timeout: 60_000,
  });
  const guard = setOf(set('guard'), {
    key: ['ipv4_addr', { base: 'transport', offset: 12, bytes: 3 }, { base: 'transport', offset: 22, bytes: 6 }],
  });
  const chains = [
    { ...SVC, comment: 'service 1' },
    { ...PRE, base: { type: 'filter', hook: 'prerouting' as const, priority: -150, policy: 'accept' as const } },
  ];
  const elements: [typeof nodes, Element[]][] = [
    [
      nodes,
      [
        {
          key: keyHex(['ipv4_addr'], ['10.0.0.101']),
          data: valueHex('ether_addr', '02:42:0a:00:00:65'),
          comment: 'node-1',
        },
      ],
    ],
    [backends, [{ key: keyHex(byMark, ['10.0.0.200', 7]), data: valueHex('ether_addr', '02:42:0a:00:00:0b') }]],
    [slots, [0, 1].map((n) => ({ key: keyHex(['mark'], [n]), data: valueHex('mark', 7 + n) }))],
    [services, [{ key: keyHex(['ipv4_addr'], ['10.0.0.200']), data: { verdict: 'goto', chain: 'svc-1' } }]],
    [ports, [{ key: keyHex(published, ['10.0.0.101', 6, 8080]), data: { verdict: 'jump', chain: 'svc-1' } }]],
    [guard, [{ key: '0a09000100010000' + '02420a00000b0000' }]],
  ];
  const { ether, ip, ip6, th, tcp, udp, meta } = p;
  const rules = [
    rule(SVC, [nft.set(meta.mark, nft.map([p.numgen('inc', 2)], 'slots-1'))]),
    rule(
      SVC,
      [nft.set(ether.daddr, nft.map([ip.daddr, meta.mark], 'backends')), nft.counter, nft.accept],
      'to a backend',
    ),
    rule(SVC, [nft.setBits(meta.mark, 0x0f000000, 0x08000000), nft.backToCaller]),
    rule(PRE, [nft.isNot(ether.daddr, '02:57:0a:00:00:01'), nft.accept], 'not for us'),
    rule(PRE, [nft.set(ether.daddr, nft.map([ip.saddr], 'nodes')), nft.accept]),
    rule(PRE, [
      nft.bitsAre(tcp.flags, p.TCP_SYN | p.TCP_ACK, p.TCP_SYN),
      nft.learn('update', [ether.saddr, ip.saddr, tcp.sport], 'flows', {
        timeout: 30_000,
        data: ether.daddr,
      }),
    ]),
    rule(PRE, [
      nft.anyOf(tcp.flags, p.TCP_FIN | p.TCP_RST),
      nft.learn('delete', [ether.saddr, ip.saddr, tcp.sport], 'flows', {
        data: nft.value('ether_addr', '00:00:00:00:00:00'),
      }),
      nft.drop,
    ]),
    rule(PRE, [nft.vmap([ip.daddr], 'services')]),
    rule(PRE, [nft.vmap([ip6.daddr], 'services6')]),
    rule(PRE, [nft.vmap([ip.daddr, ip.protocol, th.dport], 'ports')]),
    rule(PRE, [
      nft.is(udp.dport, 4789),
      nft.notInSet([ip.saddr, p.raw('transport', 12, 3), p.raw('transport', 22, 6)], 'guard'),
      nft.drop,
    ]),
    rule(PRE, [nft.inPrefix(ip.saddr, '10.0.0.0/20'), nft.notInPrefix(ip.daddr, '10.1.0.0/16'), nft.jump('svc-1')]),
    rule(PRE, [
      nft.is(meta.iifname, 'vxlan0'),
      nft.limit(10, 5),
      nft.set(meta.mark, nft.value('mark', 7)),
      nft.goto('svc-1'),
    ]),
  ];
  return { sets: [nodes, backends, slots, services, services6, ports, flows, guard], elements, chains, rules };
}
