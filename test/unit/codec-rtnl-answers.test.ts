import test, { type ExecutionContext } from 'ava';
import { ack, isDumpInterrupted, type Message, NLM_F_DUMP_FILTERED } from '../../src/codec/netlink.js';
import { netlinkError } from '../../src/codec/netlink-error.js';
import { type Address, IFA_F_NODAD, ownAddress, RTM_NEWADDR, readAddress } from '../../src/codec/rtnl/address.js';
import { IFF_UP, type Link, RTM_NEWLINK, readLink } from '../../src/codec/rtnl/link.js';
import {
  NTF_SELF,
  NTF_STICKY,
  NUD_NOARP,
  NUD_PERMANENT,
  RTM_NEWNEIGH,
  readNeighbour,
} from '../../src/codec/rtnl/neigh.js';
import { RTM_NEWNSID, readNsid } from '../../src/codec/rtnl/nsid.js';
import { RTAX_MTU, RTM_NEWROUTE, RTN_UNREACHABLE, readRoute } from '../../src/codec/rtnl/route.js';
import { RTM_NEWRULE, readRule } from '../../src/codec/rtnl/rule.js';
import { exchange } from '../support/netlink-golden.js';

/* What the kernel (6.18) really answered: its dump bytes, and its refusals. */

/** The rows of a dump, all of that type, ended by a NLMSG_DONE without error. */
function rows<T>(t: ExecutionContext, file: string, command: string, type: number, read: (body: Uint8Array) => T): T[] {
  const { answers } = exchange(file, command);
  const end = answers.at(-1) as Message;
  t.deepEqual(ack(end), { errno: 0 });
  const messages = answers.slice(0, -1);
  t.true(messages.every((m) => m.type === type && !isDumpInterrupted(m)));
  return messages.map((m) => read(m.body));
}

function named(links: Link[], name: string): Link {
  const found = links.find((l) => l.name === name);
  if (!found) throw new Error(`no link ${name}`);
  return found;
}

test('links: every device of the namespace', (t) => {
  const links = rows(t, 'link', 'ip -d -s link show', RTM_NEWLINK, readLink);
  t.deepEqual(
    links.map((l) => [l.name, l.info?.kind]),
    [
      ['lo', undefined],
      ['br0', 'bridge'],
      ['vxlan0', 'vxlan'],
      ['vxlan6', 'vxlan'],
      ['vxmeta', 'vxlan'],
      ['wf1', 'veth'],
      ['up1', 'veth'],
      ['up0', 'veth'],
    ],
  );
});

test('links: a VXLAN device that is a bridge port', (t) => {
  const links = rows(t, 'link', 'ip -d -s link show', RTM_NEWLINK, readLink);
  t.like(named(links, 'vxlan0'), {
    mac: '02:42:00:00:00:01',
    mtu: 1450,
    addrGenMode: 1,
    info: {
      kind: 'vxlan',
      id: 4097,
      local: '192.0.2.1',
      port: 4789,
      learning: false,
      proxy: true,
      l2miss: true,
      l3miss: true,
      ageing: 300,
      udpCsum: false,
      udpZeroCsum6Tx: false,
      udpZeroCsum6Rx: false,
      ttl: 0,
      tos: 0,
      df: 0,
      collectMetadata: false,
    },
    slave: {
      kind: 'bridge',
      state: 0,
      hairpin: false,
      learning: false,
      unicastFlood: false,
      mcastFlood: false,
      bcastFlood: false,
      neighSuppress: true,
      isolated: true,
    },
  });
  t.is(named(links, 'vxlan0').master, named(links, 'br0').index);
  t.like(named(links, 'vxlan6').info, { local: '2001:db8::1', df: 2, ttl: 64, tos: 4, udpZeroCsum6Rx: true });
});

test('links: a bridge, and a veth into another namespace', (t) => {
  const links = rows(t, 'link', 'ip -d -s link show', RTM_NEWLINK, readLink);
  const bridge = named(links, 'br0');
  t.like(bridge, { alias: 'weft:net-1', group: 87, info: { kind: 'bridge', ageingTime: 30000, mcastSnooping: false } });
  t.is((bridge.flags ?? 0) & IFF_UP, IFF_UP);
  t.like(named(links, 'wf1'), { linkNetnsid: 7, link: 2, txqlen: 500, slave: { kind: 'bridge', learning: true } });
});

test('links: counters', (t) => {
  const links = rows(t, 'link', 'ip -d -s link show', RTM_NEWLINK, readLink);
  const [up0, up1] = ['up0', 'up1'].map((name) => links.find((l) => l.name === name)?.stats);
  t.true((up0?.txPackets ?? 0n) > 0n);
  t.is(up0?.txBytes, up1?.rxBytes);
  t.is(up0?.rxPackets, up1?.txPackets);
});

test('links: filtered by master and by kind', (t) => {
  const ports = exchange('link', 'ip link show master br0').answers.slice(0, -1);
  t.true(ports.every((m) => m.flags & NLM_F_DUMP_FILTERED));
  t.deepEqual(
    ports.map((m) => readLink(m.body).name),
    ['vxlan0', 'wf1'],
  );
  const vxlans = rows(t, 'link', 'ip link show type vxlan', RTM_NEWLINK, readLink);
  t.deepEqual(
    vxlans.map((l) => l.name),
    ['vxlan0', 'vxlan6', 'vxmeta'],
  );
});

test('links: bridge ports by family AF_BRIDGE', (t) => {
  const ports = rows(t, 'link', 'bridge -d link show', RTM_NEWLINK, readLink);
  t.like(named(ports, 'wf1').bridgePort, { learning: true, unicastFlood: true, isolated: false });
  t.like(named(ports, 'vxlan0').bridgePort, { learning: false, neighSuppress: true, isolated: true });
});

test('addresses', (t) => {
  const all = rows(t, 'address', 'ip addr show', RTM_NEWADDR, readAddress);
  const by = (ip: string) => all.find((a) => ownAddress(a) === ip) as Address;
  t.like(by('10.0.0.1'), { family: 2, prefixLength: 24, label: 'br0', address: '10.0.0.1' });
  t.like(by('10.0.0.2'), { label: 'br0:vip', broadcast: '10.0.0.255', flags: 0x281 });
  t.like(by('10.7.0.1'), { address: '10.7.0.2', prefixLength: 32 });
  t.deepEqual(by('fd00:1::1').lifetime, { preferred: 0xffffffff, valid: 0xffffffff });
  t.is(by('fd00:1::1').flags & IFA_F_NODAD, IFA_F_NODAD);
  t.is(by('fd00:1::1').local, undefined);
  const ownLinkLocal = all.find((a) => a.address?.startsWith('fe80::'));
  t.is(ownLinkLocal?.protocol, 3, 'IFAPROT_KERNEL_LL');
});

test('routes', (t) => {
  const all = rows(t, 'route', 'ip route show table all', RTM_NEWROUTE, readRoute);
  const by = (dst: string | undefined) => all.find((r) => r.dst === dst && r.table !== 255);
  t.like(by('10.1.0.0'), {
    table: 18600,
    protocol: 87,
    dstLength: 16,
    priority: 5,
    gateway: '10.0.0.254',
    metrics: { lock: 1 << RTAX_MTU, mtu: 1400, advmss: 1360 },
  });
  t.like(by(undefined), { dstLength: 0, gateway: '192.0.2.254', prefsrc: '10.0.0.1', protocol: 87 });
  t.is(by('10.8.0.0')?.gateway, 'fe80::9', 'RTA_VIA');
  t.deepEqual(
    by('10.9.0.0')?.multipath?.map((hop) => [hop.gateway, hop.weight]),
    [
      ['10.0.0.3', 2],
      ['10.0.0.4', 1],
    ],
  );
  t.like(by('fd00:9::'), { table: 18601, priority: 1024, gateway: 'fd00:2::9' });
  t.like(by('fd00:8::'), { type: RTN_UNREACHABLE, protocol: 87 });
});

test('routes: a lookup sees the locked MTU', (t) => {
  const { answers } = exchange('route', 'ip route get 192.0.2.2');
  t.is(answers.length, 1);
  t.like(readRoute((answers[0] as Message).body), { dst: '192.0.2.2', dstLength: 32, prefsrc: '10.7.0.1' });
  t.is(readRoute((answers[0] as Message).body).metrics?.mtu, 1400);
});

test('rules', (t) => {
  const all = rows(t, 'rule', 'ip rule show', RTM_NEWRULE, readRule);
  t.deepEqual(
    all.map((r) => [r.priority, r.table, r.protocol]),
    [
      [undefined, 255, 2],
      [18600, 18600, 87],
      [18601, 254, 87],
      [32766, 254, 2],
      [32767, 253, 2],
    ],
  );
  t.like(all[1], { fwmark: 0x8000000, fwmask: 0x8000000 });
  t.like(all[2], { src: '10.0.0.0', srcLength: 24, iif: 'br0', suppressPrefixLength: 0 });
  t.false('suppressPrefixLength' in (all[0] as object));
});

test('neighbours', (t) => {
  const all = rows(t, 'neigh', 'ip neigh show dev vxlan0', RTM_NEWNEIGH, readNeighbour);
  t.deepEqual(
    all.map((n) => [n.dst, n.lladdr, n.state, n.protocol]),
    [
      ['10.0.0.9', '02:42:0a:00:00:09', NUD_PERMANENT, 87],
      ['fd00:1::9', '02:42:0a:00:00:09', NUD_PERMANENT, 87],
    ],
  );
  const [proxy] = rows(t, 'neigh', 'ip neigh show proxy', RTM_NEWNEIGH, readNeighbour);
  t.like(proxy, { dst: '10.0.0.77', flags: 8, protocol: 87 });
});

test('forwarding database', (t) => {
  const all = rows(t, 'fdb', 'bridge -s fdb show', RTM_NEWNEIGH, readNeighbour);
  const own = all.filter((n) => n.flags & NTF_SELF && n.dst !== undefined);
  t.deepEqual(
    own.map((n) => [n.lladdr, n.dst, n.state]),
    [
      ['00:00:00:00:00:00', '192.0.2.3', NUD_PERMANENT | NUD_NOARP],
      ['00:00:00:00:00:00', '192.0.2.4', NUD_PERMANENT | NUD_NOARP],
      ['02:42:0a:00:00:09', '192.0.2.2', NUD_PERMANENT | NUD_NOARP],
      ['02:42:0a:00:00:0b', '2001:db8::2', NUD_PERMANENT | NUD_NOARP],
      ['02:42:0a:00:00:0d', '192.0.2.9', NUD_PERMANENT | NUD_NOARP],
    ],
  );
  t.like(own[1], { port: 4790, vni: 77, viaIfindex: 9 });
  t.like(own[4], { vni: 10, srcVni: 9 });
  const pinned = all.find((n) => n.flags & NTF_STICKY);
  t.like(pinned, { lladdr: '02:42:0a:00:00:02', state: NUD_NOARP, master: 2 });
});

test('forwarding database: one row by key', (t) => {
  const { answers } = exchange('fdb', 'bridge fdb get 02:42:0a:00:00:09 dev vxlan0 self');
  t.like(readNeighbour((answers[0] as Message).body), { lladdr: '02:42:0a:00:00:09', dst: '192.0.2.2' });
});

test('namespace ids', (t) => {
  t.deepEqual(rows(t, 'nsid', 'ip netns list-id', RTM_NEWNSID, readNsid), [{ nsid: 7 }]);
});

test('refusals: errno and the extended text, with the request repeated or not', (t) => {
  const refusal = (file: string, command: string) => ack(exchange(file, command).answers.at(-1) as Message);
  t.deepEqual(refusal('route', 'ip route add 10.99.0.0/16 via 203.0.113.1'), {
    errno: 101,
    text: 'Nexthop has invalid gateway',
  });
  t.deepEqual(refusal('nsid', 'ip netns set B 8'), {
    errno: 17,
    text: 'Peer netns already has a nsid assigned',
    offset: 20,
  });
  // The end of a dump refuses too, and carries text like an acknowledgement.
  t.deepEqual(refusal('route', 'ip route show table 18699'), { errno: 2, text: 'ipv4: FIB table does not exist' });
  t.deepEqual(refusal('fdb', 'bridge fdb replace 02:42:0a:00:00:0c dev vxlan0 vlan 5 master static'), { errno: 22 });
});

test('a refusal as an error of ours', (t) => {
  const answer = exchange('nsid', 'ip netns set B 8').answers.at(-1) as Message;
  const error = netlinkError({ operation: 'add', kind: 'nsid', key: '8', namespace: 'n1' }, ack(answer));
  t.is(error.code, 'WEFT_NETLINK');
  t.is(error.message, 'cannot add nsid 8 in n1: EEXIST: Peer netns already has a nsid assigned');
  t.deepEqual(error.details, {
    operation: 'add',
    kind: 'nsid',
    key: '8',
    namespace: 'n1',
    errno: 'EEXIST',
    extack: 'Peer netns already has a nsid assigned',
  });
});
