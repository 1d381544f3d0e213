import test from 'ava';
import { type Address, addressKind } from '../../src/objects/address.js';
import { type Fdb, fdbKind } from '../../src/objects/fdb.js';
import { type Kind, STAGE, type Where } from '../../src/objects/kind.js';
import { incompatible, type Link, linkKind, WEFT_GROUP } from '../../src/objects/link.js';
import { type Neighbour, neighbourKind } from '../../src/objects/neighbour.js';
import { netnsKind } from '../../src/objects/netns.js';
import { type Qdisc, qdiscKind } from '../../src/objects/qdisc.js';
import { KINDS, STAGES } from '../../src/objects/registry.js';
import { type Route, routeKind } from '../../src/objects/route.js';
import { type Rule, ruleKind } from '../../src/objects/rule.js';
import { sysctlKind } from '../../src/objects/sysctl.js';

const OURS: Where = { ns: 'net-app', nsOwned: true };
const NODE: Where = { ns: '@node', nsOwned: false };

/** A wish, and kernel objects that satisfy it (''), or the words by which they do not. */
function sameTable<T extends object>(
  kind: Kind<T>,
  want: T,
  rows: [change: Partial<T>, reason: string | RegExp][],
): void {
  for (const [change, reason] of rows) {
    const have = { ...want, ...change };
    test(`${kind.name}: ${JSON.stringify(change)} ${reason === '' ? 'satisfies' : 'differs'}`, (t) => {
      t.is(kind.key(have), kind.key(want), 'the identity is the same');
      if (reason === '') t.is(kind.same(want, have), '');
      else t.regex(kind.same(want, have), new RegExp(reason));
    });
  }
}

/** Objects of one namespace that must not be taken for one another. */
function keyTable<T extends object>(kind: Kind<T>, base: T, others: Partial<T>[]): void {
  test(`${kind.name}: identity`, (t) => {
    const keys = [base, ...others.map((change) => ({ ...base, ...change }))].map((o) => kind.key(o));
    t.is(new Set(keys).size, keys.length, keys.join(' | '));
  });
}

function ownsTable<T extends object>(kind: Kind<T>, rows: [object: T, inOurs: boolean, inNode: boolean][]): void {
  for (const [object, inOurs, inNode] of rows) {
    test(`${kind.name}: may weft touch ${JSON.stringify(object)}?`, (t) => {
      t.is(kind.owns(object, OURS), inOurs, 'in a namespace of ours');
      t.is(kind.owns(object, NODE), inNode, 'in the node’s');
    });
  }
}

const address: Address = { dev: 'eth0', ip: '10.20.0.11', length: 24 };
sameTable(addressKind, address, [
  [{ protocol: 87 }, ''],
  [{ protocol: 0 }, ''],
  [{ length: 16 }, 'length 16, wanted 24'],
]);
keyTable(addressKind, address, [{ ip: '10.20.0.12' }, { dev: 'eth1' }]);
ownsTable(addressKind, [
  [{ ...address, protocol: 87 }, true, true],
  [{ ...address, protocol: 0 }, true, false],
  [{ ...address, dev: 'lo', ip: '127.0.0.1', protocol: 0 }, false, false],
  [{ ...address, ip: 'fe80::42:aff:fe14:b', protocol: 0 }, false, false],
]);

const bridge: Link = {
  name: 'br0',
  type: 'bridge',
  up: true,
  mtu: 1450,
  mac: '02:57:c0:a8:47:01',
  alias: 'weft:network/app',
};
sameTable<Link>(linkKind, bridge, [
  [{ index: 7, port: { hairpin: false, learning: true } }, ''],
  [{ up: false }, 'up false, wanted true'],
  [{ mtu: 1500 }, 'mtu 1500, wanted 1450'],
  [{ mac: '02:00:00:00:00:01' }, 'mac'],
  [{ alias: 'a stranger' }, 'alias a stranger'],
]);
const shaper: Qdisc = { what: 'shaper', dev: 'wf1', rate: 6_250_000, burst: 65_536, limit: 300_000 };
const redirect: Qdisc = { what: 'redirect', dev: 'wf1', to: 'wi1' };
sameTable<Qdisc>(qdiscKind, shaper, [
  [{ major: 87, burst: 65_530 } as Partial<Qdisc>, ''],
  [{ major: 9 } as Partial<Qdisc>, ''],
  [{ burst: 32_768 } as Partial<Qdisc>, 'burst 32768, wanted 65536'],
  [{ rate: 125_000 } as Partial<Qdisc>, 'rate 125000, wanted 6250000'],
  [{ limit: 1 } as Partial<Qdisc>, 'limit'],
  [{ foreign: 'pfifo' } as Partial<Qdisc>, 'is a pfifo'],
]);
sameTable<Qdisc>(qdiscKind, redirect, [
  [{ shared: true } as Partial<Qdisc>, ''],
  [{ to: 'wi2' } as Partial<Qdisc>, 'to wi2, wanted wi1'],
  [{ to: undefined } as unknown as Partial<Qdisc>, 'to unset, wanted wi1'],
]);
keyTable(qdiscKind, shaper, [redirect, { dev: 'wi1' }]);
ownsTable<Qdisc>(qdiscKind, [
  [{ ...shaper, major: 87 }, true, true],
  [{ ...shaper, major: 1 }, false, false],
  [redirect, true, true],
  [{ what: 'redirect', dev: 'wf1' }, true, false],
  [{ what: 'redirect', dev: 'wf1', shared: true }, false, false],
]);
const vxlan: Link = {
  name: 'vxlan0',
  type: 'vxlan',
  up: true,
  vni: 4097,
  dstPort: 4789,
  local: '192.168.71.1',
  underlay: '@node',
  master: 'br0',
  port: { learning: false },
};
sameTable<Link>(linkKind, vxlan, [
  [{ underlay: '' } as Partial<Link>, ''],
  [{ port: { learning: false, hairpin: true } }, ''],
  [{ port: { learning: true } }, 'learning true, wanted false'],
  [{ master: 'br1' }, 'master br1, wanted br0'],
  [{ vni: 5 } as Partial<Link>, 'vni 5, wanted 4097'],
  [{ dstPort: 8472 } as Partial<Link>, 'dstPort 8472'],
  [{ local: '192.168.71.2' } as Partial<Link>, 'local'],
]);
keyTable(linkKind, bridge, [{ name: 'br1' }]);
ownsTable<Link>(linkKind, [
  [bridge, true, true],
  [{ name: 'docker0', type: 'bridge', up: true }, true, false],
  [{ name: 'eth0', type: 'veth-end', up: true }, false, false],
  [{ name: 'eth0', type: 'veth-end', up: true, alias: 'weft:endpoint/c1:app' }, true, true],
  [{ name: 'lo', type: 'present', up: true }, false, false],
  [{ name: 'tunl0', type: 'foreign', kindName: 'ipip', up: false }, false, false],
  [{ name: 'veth1', type: 'veth', up: true, alias: 'ours? weft:x', peer: { ns: '', name: '' } }, true, false],
  [{ name: 'br1', type: 'bridge', up: true, group: WEFT_GROUP }, true, true],
  [{ name: 'br2', type: 'bridge', up: true, group: WEFT_GROUP, alias: 'somebody' }, true, false],
]);

test('link: what cannot be changed on a living link', (t) => {
  t.is(incompatible(vxlan, vxlan), '');
  t.regex(incompatible(vxlan, { ...vxlan, vni: 1 } as Link), /vni 1/);
  t.regex(incompatible(vxlan, { ...bridge, name: 'vxlan0' }), /is a bridge, wanted vxlan/);
  const end: Link = { name: 'eth0', type: 'veth-end', up: true };
  t.is(
    incompatible(end, { name: 'eth0', type: 'veth', up: false, peer: { ns: '', name: '' } }),
    '',
    'either end of a pair',
  );
  t.regex(incompatible(end, { name: 'eth0', type: 'foreign', kindName: 'macvlan', up: true }), /is a macvlan/);
  t.is(
    incompatible(
      { name: 'lo', type: 'present', up: true },
      { name: 'lo', type: 'foreign', kindName: 'device', up: false },
    ),
    '',
  );
});

test('link: a far end is adopted by the MAC that its near end gave it, a stranger’s is not', (t) => {
  const want: Link = { name: 'eth0', type: 'veth-end', up: true, mac: '02:42:0a:14:00:0b' };
  const born: Link = { name: 'eth0', type: 'veth', up: false, mac: '02:42:0a:14:00:0b', peer: { ns: '', name: '' } };
  const other: Link = { ...born, mac: '02:42:0a:14:00:0c' };
  t.true(linkKind.adopts?.(want, born, NODE));
  t.false(linkKind.adopts?.(want, other, NODE));
  t.true(linkKind.adopts?.(want, other, OURS), 'in a namespace of ours there are no strangers');
});

test('link: bridges before their ports, far ends after their near ends', (t) => {
  const of = (type: Link['type']) => ({ name: 'x', up: true, type }) as Link;
  const order = (link: Link): number => linkKind.stage(link) * 100 + linkKind.rank(link);
  t.true(order(of('bridge')) < order(of('vxlan')) && order(of('vxlan')) < order(of('veth')));
  t.true(order(of('veth')) < order(of('veth-end')));
});

const row: Fdb = { dev: 'vxlan0', mac: '02:42:0a:14:00:0b', bridge: true, dst: '192.168.72.1' };
sameTable(fdbKind, row, [
  [{}, ''],
  [{ dst: '192.168.73.1' }, 'points to 192.168.73.1, wanted 192.168.72.1'],
  [{ bridge: false }, 'is missing in the bridge'],
]);
sameTable(fdbKind, { dev: 'wf0', mac: row.mac, bridge: true }, [
  [{ dst: '192.168.74.1' }, 'points to 192.168.74.1, wanted nowhere'],
]);
keyTable(fdbKind, row, [{ mac: '02:42:0a:14:00:0c' }, { dev: 'vxlan1' }]);
ownsTable(fdbKind, [[row, true, false]]);

const neighbour: Neighbour = { dev: 'vxlan0', ip: '10.20.0.12', mac: '02:42:0a:14:00:0c' };
sameTable(neighbourKind, neighbour, [
  [{ protocol: 0 }, ''],
  [{ mac: '02:42:0a:14:00:0d' }, 'is at 02:42:0a:14:00:0d'],
]);
keyTable(neighbourKind, neighbour, [{ ip: '10.20.0.13' }, { dev: 'br0' }]);
ownsTable(neighbourKind, [
  [{ ...neighbour, protocol: 87 }, true, true],
  [{ ...neighbour, protocol: 0 }, true, false],
]);

const route: Route = { dst: '0.0.0.0/0', dev: 'gw0', via: '172.19.0.1', table: 254 };
sameTable(routeKind, route, [
  [{ protocol: 87, metric: 0, mtu: 1400 }, ''],
  [{ via: '172.19.0.2' }, 'via'],
  [{ dev: 'eth0' }, 'dev eth0, wanted gw0'],
]);
keyTable(routeKind, route, [{ dst: '10.0.0.0/8' }, { table: 18600 }, { metric: 10 }]);
ownsTable(routeKind, [
  [{ ...route, protocol: 87 }, true, true],
  // 2 is RTPROT_KERNEL, 3 RTPROT_BOOT, 186 RTPROT_BGP: rtnetlink(7).
  ...([2, 3, 186].map((protocol) => [{ ...route, protocol }, false, false]) as [Route, boolean, boolean][]),
]);

const rule: Rule = { family: 4, priority: 18600, table: 18600, fwmark: 0x08000000, mask: 0x08000000 };
keyTable(ruleKind, rule, [
  { priority: 18601 },
  { fwmark: 1 },
  { mask: 0xff },
  { iif: 'eth0' },
  { src: '10.0.0.0/8' },
  { ipProto: 17 },
  { ipProto: 17, sourcePorts: { start: 53, end: 53 } },
  { ipProto: 17, sourcePorts: { start: 53, end: 54 } },
  { family: 6 },
  { table: 18601 },
]);
ownsTable(ruleKind, [
  [{ ...rule, protocol: 87 }, true, true],
  [{ ...rule, protocol: 2 }, false, false],
]);

test('sysctl: per-interface values wait for their interface, those of ip_vs for ip_vs', (t) => {
  const stage = (path: string) => sysctlKind.stage({ path, value: '1' });
  t.is(stage('net/ipv4/ip_forward'), STAGE.sysctl);
  t.is(stage('net/ipv4/conf/all/rp_filter'), STAGE.sysctl);
  t.is(stage('net/ipv6/conf/default/accept_ra'), STAGE.sysctl);
  t.is(stage('net/ipv4/conf/eth0/rp_filter'), STAGE.linkSysctl);
  t.is(stage('net/ipv4/vs/conntrack'), STAGE.vsSysctl);
  t.is(stage('net/netfilter/nf_conntrack_tcp_be_liberal'), STAGE.conntrack, 'once rules have asked for it');
  t.is(sysctlKind.same({ path: 'a', value: '0' }, { path: 'a', value: '1' }), 'is 1, wanted 0');
  t.false(sysctlKind.owns({ path: 'a', value: '1' }, OURS), 'what nobody wishes any more stays as it is');
});

test('netns: whatever is pinned in our directory is ours', (t) => {
  t.true(netnsKind.owns({ name: 'c1' }, NODE));
  t.is(netnsKind.same({ name: 'c1' }, { name: 'c1' }), '');
});

test('the registry: names are unique, stages ascend and are all there', (t) => {
  t.deepEqual(
    [...STAGES].sort((a, b) => a - b),
    [...STAGES],
  );
  for (const [name, kind] of KINDS) {
    t.is(kind.name, name);
    t.true(kind.stages.length > 0);
    t.deepEqual(
      [...kind.stages].sort((a, b) => a - b),
      [...kind.stages],
      name,
    );
    for (const stage of kind.stages) t.true(STAGES.includes(stage));
  }
});
