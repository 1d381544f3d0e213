import test from 'ava';
import { Writer } from '../../src/base/bytes.js';
import { type Address, readAddress, writeAddress } from '../../src/codec/rtnl/address.js';
import { type Link, readLink, writeLink } from '../../src/codec/rtnl/link.js';
import { type Neighbour, readNeighbour, writeNeighbour } from '../../src/codec/rtnl/neigh.js';
import { type Nsid, readNsid, writeNsid } from '../../src/codec/rtnl/nsid.js';
import { type Route, readRoute, writeRoute } from '../../src/codec/rtnl/route.js';
import { type Rule, readRule, writeRule } from '../../src/codec/rtnl/rule.js';
import { canonical, completeLink, exchanges, type Nest } from '../support/netlink-golden.js';

/*
 * What each recorded command of iproute2 means as a message of ours. Encoding the message must give the recorded attributes,
 * byte for byte but for their order, and decoding the recorded bytes must give the message.
 */
interface Codec<T> {
  write(w: Writer, value: T): void;
  read(body: Uint8Array): T;
  /** Size of the fixed header before the attributes. */
  header: number;
  nests: Nest;
  /** The value with the zeros that `read` reports for absent header fields. */
  complete(value: T): T;
}

const LINK: Codec<Link> = {
  write: writeLink,
  read: readLink,
  header: 16,
  // IFLA_LINKINFO > IFLA_INFO_DATA > VETH_INFO_PEER, IFLA_LINKINFO > IFLA_INFO_SLAVE_DATA, IFLA_AF_SPEC > AF_INET6, IFLA_PROTINFO
  nests: { 18: { 2: { 1: { skip: 16 } }, 5: {} }, 26: { 10: {} }, 12: {} },
  complete: completeLink,
};
/** Of the other kinds IFLA_INFO_DATA's attribute 1 is a number. */
const LINK_NO_PEER: Codec<Link> = { ...LINK, nests: { ...LINK.nests, 18: { 2: {}, 5: {} } } };
const ADDRESS: Codec<Address> = {
  write: writeAddress,
  read: readAddress,
  header: 8,
  nests: {},
  complete: (value) => value,
};
const ROUTE: Codec<Route> = {
  write: writeRoute,
  read: readRoute,
  header: 12,
  nests: { 8: {} }, // RTA_METRICS
  complete: (value) => ({ srcLength: 0, tos: 0, ...value }),
};
const RULE: Codec<Rule> = {
  write: writeRule,
  read: readRule,
  header: 12,
  nests: {},
  complete: (value) => ({ dstLength: 0, srcLength: 0, tos: 0, flags: 0, ...value }),
};
const NEIGH: Codec<Neighbour> = {
  write: writeNeighbour,
  read: readNeighbour,
  header: 12,
  nests: {},
  complete: (value) => ({ type: 0, ...value }),
};
const NSID: Codec<Nsid> = { write: writeNsid, read: readNsid, header: 4, nests: {}, complete: (value) => value };

function check<T extends object>(file: string, codecOf: (value: T) => Codec<T>, expected: Record<string, T>): void {
  for (const { command, request } of exchanges(file)) {
    const value = expected[command];
    if (!value) continue;
    test(command, (t) => {
      const { write, read, header, nests, complete } = codecOf(value);
      t.deepEqual(read(request.body), complete(value));
      const w = new Writer();
      write(w, value);
      const ours = w.done();
      t.deepEqual(ours.subarray(0, header), Buffer.from(request.body.subarray(0, header)));
      t.deepEqual(canonical(ours.subarray(header), nests), canonical(request.body.subarray(header), nests));
    });
  }
  test(`every expectation of ${file} has a recording`, (t) => {
    const recorded = new Set(exchanges(file).map((row) => row.command));
    t.deepEqual(
      Object.keys(expected).filter((command) => !recorded.has(command)),
      [],
    );
  });
}

check<Link>('link', (link) => (link.info?.kind === 'veth' ? LINK : LINK_NO_PEER), {
  'ip link add br0 address 02:57:c0:00:02:01 type bridge mcast_snooping 0 ageing_time 30000 stp_state 0 forward_delay 0':
    {
      mac: '02:57:c0:00:02:01',
      name: 'br0',
      info: { kind: 'bridge', mcastSnooping: false, ageingTime: 30000, stpState: 0, forwardDelay: 0 },
    },
  'ip link add br1 type bridge vlan_default_pvid 0 vlan_filtering 0 nf_call_iptables 0 nf_call_ip6tables 0 nf_call_arptables 0':
    {
      name: 'br1',
      info: {
        kind: 'bridge',
        vlanDefaultPvid: 0,
        vlanFiltering: false,
        nfCallIptables: false,
        nfCallIp6tables: false,
        nfCallArptables: false,
      },
    },
  'ip link add vxlan0 address 02:42:00:00:00:01 mtu 1450 type vxlan id 4097 local 192.0.2.1 dstport 4789 nolearning proxy l2miss l3miss noudpcsum ageing 300':
    {
      mac: '02:42:00:00:00:01',
      mtu: 1450,
      name: 'vxlan0',
      info: {
        kind: 'vxlan',
        proxy: true,
        l2miss: true,
        l3miss: true,
        udpCsum: false,
        ageing: 300,
        id: 4097,
        local: '192.0.2.1',
        learning: false,
        port: 4789,
      },
    },
  'ip link add vxlan6 type vxlan id 4098 local 2001:db8::1 dstport 4789 nolearning udp6zerocsumtx udp6zerocsumrx df inherit ttl 64 tos 4':
    {
      name: 'vxlan6',
      info: {
        kind: 'vxlan',
        udpZeroCsum6Tx: true,
        udpZeroCsum6Rx: true,
        df: 2,
        ttl: 64,
        tos: 4,
        id: 4098,
        local: '2001:db8::1',
        learning: false,
        port: 4789,
      },
    },
  'ip link add vxmeta type vxlan external dstport 4790': {
    name: 'vxmeta',
    info: { kind: 'vxlan', collectMetadata: true, learning: false, port: 4790 },
  },
  'ip link add wf1 address 02:42:00:00:00:02 mtu 1450 txqueuelen 500 type veth peer name eth0 address 02:42:0a:00:00:02 mtu 1450 netns B':
    {
      mac: '02:42:00:00:00:02',
      mtu: 1450,
      txqlen: 500,
      name: 'wf1',
      info: { kind: 'veth', peer: { mac: '02:42:0a:00:00:02', mtu: 1450, netnsFd: 4, name: 'eth0' } },
    },
  'ip link add up0 type veth peer name up1': { name: 'up0', info: { kind: 'veth', peer: { name: 'up1' } } },
  'ip link add dm0 type dummy': { name: 'dm0', info: { kind: 'dummy' } },
  'ip link add mv0 link up0 type macvlan mode bridge': { link: 9, name: 'mv0', info: { kind: 'macvlan', mode: 4 } },
  'ip link add iv0 link up1 type ipvlan mode l2': { link: 8, name: 'iv0', info: { kind: 'ipvlan', mode: 0, flags: 0 } },
  'ip link set dev vxlan0 addrgenmode none': { index: 4, addrGenMode: 1 },
  'ip link set dev vxlan0 master br0': { index: 4, master: 2 },
  'ip link set dev wf1 master br0': { index: 7, master: 2 },
  'bridge link set dev wf1 learning on hairpin on isolated on neigh_suppress off flood on mcast_flood off bcast_flood off':
    {
      family: 7,
      index: 7,
      bridgePort: {
        hairpin: true,
        unicastFlood: true,
        mcastFlood: false,
        bcastFlood: false,
        learning: true,
        neighSuppress: false,
        isolated: true,
      },
    },
  'ip link set dev br0 alias weft:net-1': { index: 2, alias: 'weft:net-1' },
  'ip link set dev br0 group 87': { index: 2, group: 87 },
  'ip link set dev br0 up': { index: 2, flags: 1, change: 1 },
  'ip link set dev up0 up': { index: 9, flags: 1, change: 1 },
  'ip link set dev up1 up': { index: 8, flags: 1, change: 1 },
  'ip link set dev wf1 nomaster': { index: 7, master: 0 },
  'ip link set dev wf1 master br0 up': { index: 7, flags: 1, change: 1, master: 2 },
  'ip link add mv1 link up0 type macvlan mode private': { link: 9, name: 'mv1', info: { kind: 'macvlan', mode: 1 } },
  'ip link set dev mv1 netns B': { index: 11, netnsFd: 4 },
  'ip link del dev mv0': { index: 10 },
});

check<Address>('address', () => ADDRESS, {
  'ip addr add 10.0.0.1/24 dev br0': {
    family: 2,
    prefixLength: 24,
    scope: 0,
    index: 2,
    flags: 0,
    local: '10.0.0.1',
    address: '10.0.0.1',
  },
  'ip addr add 10.0.0.2/24 brd + dev br0 label br0:vip noprefixroute': {
    family: 2,
    prefixLength: 24,
    scope: 0,
    index: 2,
    flags: 512,
    local: '10.0.0.2',
    label: 'br0:vip',
    address: '10.0.0.2',
    broadcast: '10.0.0.255',
  },
  'ip addr add 10.0.0.200/32 dev br0 scope host': {
    family: 2,
    prefixLength: 32,
    scope: 254,
    index: 2,
    flags: 0,
    local: '10.0.0.200',
    address: '10.0.0.200',
  },
  'ip addr add 10.7.0.1 peer 10.7.0.2/32 dev up0': {
    family: 2,
    prefixLength: 32,
    scope: 0,
    index: 9,
    flags: 0,
    local: '10.7.0.1',
    address: '10.7.0.2',
  },
  'ip addr add fd00:1::1/64 dev br0 nodad noprefixroute': {
    family: 10,
    prefixLength: 64,
    scope: 0,
    index: 2,
    flags: 514,
    local: 'fd00:1::1',
    address: 'fd00:1::1',
  },
  'ip addr add fd00:2::1/64 dev up0 nodad': {
    family: 10,
    prefixLength: 64,
    scope: 0,
    index: 9,
    flags: 2,
    local: 'fd00:2::1',
    address: 'fd00:2::1',
  },
  'ip addr del 10.0.0.200/32 dev br0': {
    family: 2,
    prefixLength: 32,
    scope: 0,
    index: 2,
    flags: 0,
    local: '10.0.0.200',
    address: '10.0.0.200',
  },
});

check<Route>('route', () => ROUTE, {
  'ip route add 10.1.0.0/16 via 10.0.0.254 dev br0 proto 87 table 18600 mtu lock 1400 advmss 1360 metric 5': {
    family: 2,
    dstLength: 16,
    table: 18600,
    protocol: 87,
    scope: 0,
    type: 1,
    flags: 0,
    dst: '10.1.0.0',
    gateway: '10.0.0.254',
    priority: 5,
    oif: 2,
    metrics: { mtu: 1400, advmss: 1360, lock: 4 },
  },
  'ip route add default via 192.0.2.254 dev br0 onlink proto 87 src 10.0.0.1': {
    family: 2,
    dstLength: 0,
    table: 254,
    protocol: 87,
    scope: 0,
    type: 1,
    flags: 4,
    gateway: '192.0.2.254',
    prefsrc: '10.0.0.1',
    oif: 2,
  },
  'ip route replace 192.0.2.2/32 dev up0 proto 87 mtu lock 1400': {
    family: 2,
    dstLength: 32,
    table: 254,
    protocol: 87,
    scope: 253,
    type: 1,
    flags: 0,
    dst: '192.0.2.2',
    oif: 9,
    metrics: { mtu: 1400, lock: 4 },
  },
  'ip route add blackhole 198.51.100.0/24 proto 87': {
    family: 2,
    dstLength: 24,
    table: 254,
    protocol: 87,
    scope: 0,
    type: 6,
    flags: 0,
    dst: '198.51.100.0',
  },
  'ip route add 10.8.0.0/24 via inet6 fe80::9 dev br0': {
    family: 2,
    dstLength: 24,
    table: 254,
    protocol: 3,
    scope: 0,
    type: 1,
    flags: 0,
    dst: '10.8.0.0',
    gateway: 'fe80::9',
    oif: 2,
  },
  'ip -6 route add fd00:9::/48 via fd00:2::9 dev up0 proto 87 table 18601': {
    family: 10,
    dstLength: 48,
    table: 18601,
    protocol: 87,
    scope: 0,
    type: 1,
    flags: 0,
    dst: 'fd00:9::',
    gateway: 'fd00:2::9',
    oif: 9,
  },
  'ip -6 route add unreachable fd00:8::/48 proto 87': {
    family: 10,
    dstLength: 48,
    table: 254,
    protocol: 87,
    scope: 0,
    type: 7,
    flags: 0,
    dst: 'fd00:8::',
  },
  'ip route del blackhole 198.51.100.0/24 proto 87': {
    family: 2,
    dstLength: 24,
    table: 254,
    protocol: 87,
    scope: 255,
    type: 6,
    flags: 0,
    dst: '198.51.100.0',
  },
});

check<Rule>('rule', () => RULE, {
  'ip rule add pref 18600 fwmark 0x8000000/0x8000000 lookup 18600 protocol 87': {
    family: 2,
    table: 18600,
    action: 1,
    priority: 18600,
    fwmark: 134217728,
    fwmask: 134217728,
    protocol: 87,
  },
  'ip rule add pref 18601 from 10.0.0.0/24 iif br0 lookup main suppress_prefixlength 0 protocol 87': {
    family: 2,
    srcLength: 24,
    table: 254,
    action: 1,
    priority: 18601,
    src: '10.0.0.0',
    iif: 'br0',
    suppressPrefixLength: 0,
    protocol: 87,
  },
  'ip rule add pref 18602 to 10.3.0.0/16 oif up0 blackhole protocol 87': {
    family: 2,
    dstLength: 16,
    table: 0,
    action: 6,
    priority: 18602,
    dst: '10.3.0.0',
    oif: 'up0',
    protocol: 87,
  },
  'ip -6 rule add pref 18600 to fd00:5::/48 fwmark 7 lookup 18601 protocol 87': {
    family: 10,
    dstLength: 48,
    table: 18601,
    action: 1,
    priority: 18600,
    dst: 'fd00:5::',
    fwmark: 7,
    protocol: 87,
  },
  'ip rule add pref 32768 iif lo ipproto udp sport 80-82 lookup 18600 protocol 87': {
    family: 2,
    table: 18600,
    action: 1,
    priority: 32768,
    iif: 'lo',
    ipProto: 17,
    sourcePorts: { start: 80, end: 82 },
    protocol: 87,
  },
  'ip rule del pref 18602 to 10.3.0.0/16 oif up0 blackhole protocol 87': {
    family: 2,
    dstLength: 16,
    table: 0,
    action: 6,
    priority: 18602,
    dst: '10.3.0.0',
    oif: 'up0',
    protocol: 87,
  },
});

check<Neighbour>('neigh', () => NEIGH, {
  'ip neigh replace 10.0.0.9 lladdr 02:42:0a:00:00:09 dev vxlan0 nud permanent protocol 87': {
    family: 2,
    ifindex: 4,
    state: 128,
    flags: 0,
    protocol: 87,
    dst: '10.0.0.9',
    lladdr: '02:42:0a:00:00:09',
  },
  'ip neigh add 10.0.0.10 lladdr 02:42:0a:00:00:0a dev br0 nud permanent': {
    family: 2,
    ifindex: 2,
    state: 128,
    flags: 0,
    dst: '10.0.0.10',
    lladdr: '02:42:0a:00:00:0a',
  },
  'ip -6 neigh replace fd00:1::9 lladdr 02:42:0a:00:00:09 dev vxlan0 nud permanent protocol 87': {
    family: 10,
    ifindex: 4,
    state: 128,
    flags: 0,
    protocol: 87,
    dst: 'fd00:1::9',
    lladdr: '02:42:0a:00:00:09',
  },
  'ip neigh add proxy 10.0.0.77 dev br0 protocol 87': {
    family: 2,
    ifindex: 2,
    state: 128,
    flags: 8,
    protocol: 87,
    dst: '10.0.0.77',
  },
  'ip neigh del 10.0.0.10 dev br0': { family: 2, ifindex: 2, state: 128, flags: 0, dst: '10.0.0.10' },
});

check<Neighbour>('fdb', () => NEIGH, {
  'bridge fdb replace 02:42:0a:00:00:09 dev vxlan0 dst 192.0.2.2 self permanent': {
    family: 7,
    ifindex: 4,
    state: 192,
    flags: 2,
    lladdr: '02:42:0a:00:00:09',
    dst: '192.0.2.2',
  },
  'bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.3 self permanent': {
    family: 7,
    ifindex: 4,
    state: 192,
    flags: 2,
    lladdr: '00:00:00:00:00:00',
    dst: '192.0.2.3',
  },
  'bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.4 port 4790 vni 77 via up0 self permanent': {
    family: 7,
    ifindex: 4,
    state: 192,
    flags: 2,
    lladdr: '00:00:00:00:00:00',
    dst: '192.0.2.4',
    port: 4790,
    vni: 77,
    viaIfindex: 9,
  },
  'bridge fdb replace 02:42:0a:00:00:0b dev vxlan6 dst 2001:db8::2 self permanent': {
    family: 7,
    ifindex: 5,
    state: 192,
    flags: 2,
    lladdr: '02:42:0a:00:00:0b',
    dst: '2001:db8::2',
  },
  'bridge fdb replace 02:42:0a:00:00:09 dev vxlan0 master static': {
    family: 7,
    ifindex: 4,
    state: 66,
    flags: 4,
    lladdr: '02:42:0a:00:00:09',
  },
  'bridge fdb add 02:42:0a:00:00:02 dev wf1 master static sticky': {
    family: 7,
    ifindex: 7,
    state: 66,
    flags: 68,
    lladdr: '02:42:0a:00:00:02',
  },
  'bridge fdb replace 02:42:0a:00:00:0c dev vxlan0 vlan 5 master static': {
    family: 7,
    ifindex: 4,
    state: 66,
    flags: 4,
    lladdr: '02:42:0a:00:00:0c',
    vlan: 5,
  },
  'bridge fdb replace 02:42:0a:00:00:0d dev vxmeta src_vni 9 dst 192.0.2.9 vni 10 self permanent': {
    family: 7,
    ifindex: 6,
    state: 192,
    flags: 2,
    lladdr: '02:42:0a:00:00:0d',
    dst: '192.0.2.9',
    vni: 10,
    srcVni: 9,
  },
  'bridge fdb del 02:42:0a:00:00:0c dev vxlan0 vlan 5 master': {
    family: 7,
    ifindex: 4,
    state: 192,
    flags: 4,
    lladdr: '02:42:0a:00:00:0c',
    vlan: 5,
  },
});

check<Nsid>('nsid', () => NSID, {
  'ip netns set B 7': { fd: 6, nsid: 7 },
});
