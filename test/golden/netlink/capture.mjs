// Records what iproute2 sends and what the kernel answers, with strace, in two network namespaces of its own:
//   sudo node test/golden/netlink/capture.mjs
// rewrites the *.json files beside it. Needs ip, bridge and strace. Interface indexes and generated MACs are the kernel's:
// test/unit/codec-rtnl-*.test.ts name the indexes, so look there after a new recording.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const A = `weft-golden-${process.pid}-a`;
const B = `weft-golden-${process.pid}-b`;
const scratch = mkdtempSync(join(tmpdir(), 'weft-golden-'));

const [NEWLINK, DELLINK, GETLINK, SETLINK] = [16, 17, 18, 19];
const [NEWADDR, DELADDR, GETADDR] = [20, 21, 22];
const [NEWROUTE, DELROUTE, GETROUTE] = [24, 25, 26];
const [NEWNEIGH, DELNEIGH, GETNEIGH] = [28, 29, 30];
const [NEWRULE, DELRULE, GETRULE] = [32, 33, 34];
const [NEWQDISC, DELQDISC, GETQDISC] = [36, 37, 38];
const [NEWTFILTER, DELTFILTER, GETTFILTER] = [44, 45, 46];
const [NEWNSID, GETNSID] = [88, 90];

// file, message type to keep, command (B is replaced by the second namespace's name)
const STEPS = [
  // First: a veth into B would give B an id by itself.
  ['nsid', NEWNSID, 'ip netns set B 7'],
  ['nsid', NEWNSID, 'ip netns set B 8'],

  [
    'link',
    NEWLINK,
    'ip link add br0 address 02:57:c0:00:02:01 type bridge mcast_snooping 0 ageing_time 30000 stp_state 0 forward_delay 0',
  ],
  [
    'link',
    NEWLINK,
    'ip link add br1 type bridge vlan_default_pvid 0 vlan_filtering 0 nf_call_iptables 0 nf_call_ip6tables 0 nf_call_arptables 0',
  ],
  [
    'link',
    NEWLINK,
    'ip link add vxlan0 address 02:42:00:00:00:01 mtu 1450 type vxlan id 4097 local 192.0.2.1 dstport 4789 nolearning proxy l2miss l3miss noudpcsum ageing 300',
  ],
  [
    'link',
    NEWLINK,
    'ip link add vxlan6 type vxlan id 4098 local 2001:db8::1 dstport 4789 nolearning udp6zerocsumtx udp6zerocsumrx df inherit ttl 64 tos 4',
  ],
  ['link', NEWLINK, 'ip link add vxmeta type vxlan external dstport 4790'],
  [
    'link',
    NEWLINK,
    'ip link add wf1 address 02:42:00:00:00:02 mtu 1450 txqueuelen 500 type veth peer name eth0 address 02:42:0a:00:00:02 mtu 1450 netns B',
  ],
  ['link', NEWLINK, 'ip link add up0 type veth peer name up1'],
  ['link', NEWLINK, 'ip link add dm0 type dummy'],
  ['link', NEWLINK, 'ip link add mv0 link up0 type macvlan mode bridge'],
  ['link', NEWLINK, 'ip link add iv0 link up1 type ipvlan mode l2'],
  ['link', NEWLINK, 'ip link set dev vxlan0 addrgenmode none'],
  ['link', NEWLINK, 'ip link set dev vxlan0 master br0'],
  ['link', NEWLINK, 'ip link set dev wf1 master br0'],
  [
    'link',
    NEWLINK,
    'ip link set dev vxlan0 type bridge_slave learning off flood off mcast_flood off bcast_flood off hairpin off isolated on neigh_suppress on',
  ],
  [
    'link',
    SETLINK,
    'bridge link set dev wf1 learning on hairpin on isolated on neigh_suppress off flood on mcast_flood off bcast_flood off',
  ],
  ['link', NEWLINK, 'ip link set dev br0 alias weft:net-1'],
  ['link', NEWLINK, 'ip link set dev br0 group 87'],
  ['link', NEWLINK, 'ip link set dev br0 up'],
  ['link', NEWLINK, 'ip link set dev up0 up'],
  ['link', NEWLINK, 'ip link set dev up1 up'],
  ['link', NEWLINK, 'ip link set dev wf1 nomaster'],
  ['link', NEWLINK, 'ip link set dev wf1 master br0 up'],
  ['link', NEWLINK, 'ip link add mv1 link up0 type macvlan mode private'],
  ['link', NEWLINK, 'ip link set dev mv1 netns B'],
  ['link', DELLINK, 'ip link del dev mv0'],
  ['link', GETLINK, 'ip link show master br0'],
  ['link', GETLINK, 'ip link show type vxlan'],
  ['link', GETLINK, 'ip -d -s link show dev br0'],
  ['link', GETLINK, 'ip -d -s link show'],
  ['link', GETLINK, 'bridge -d link show'],

  ['address', NEWADDR, 'ip addr add 10.0.0.1/24 dev br0'],
  ['address', NEWADDR, 'ip addr add 10.0.0.2/24 brd + dev br0 label br0:vip noprefixroute'],
  ['address', NEWADDR, 'ip addr add 10.0.0.200/32 dev br0 scope host'],
  ['address', NEWADDR, 'ip addr add 10.7.0.1 peer 10.7.0.2/32 dev up0'],
  ['address', NEWADDR, 'ip addr add fd00:1::1/64 dev br0 nodad noprefixroute'],
  ['address', NEWADDR, 'ip addr add fd00:2::1/64 dev up0 nodad'],
  ['address', DELADDR, 'ip addr del 10.0.0.200/32 dev br0'],
  ['address', GETADDR, 'ip addr show dev br0'],
  ['address', GETADDR, 'ip -6 addr show'],
  ['address', GETADDR, 'ip addr show'],

  [
    'route',
    NEWROUTE,
    'ip route add 10.1.0.0/16 via 10.0.0.254 dev br0 proto 87 table 18600 mtu lock 1400 advmss 1360 metric 5',
  ],
  ['route', NEWROUTE, 'ip route add default via 192.0.2.254 dev br0 onlink proto 87 src 10.0.0.1'],
  ['route', NEWROUTE, 'ip route replace 192.0.2.2/32 dev up0 proto 87 mtu lock 1400'],
  ['route', NEWROUTE, 'ip route add blackhole 198.51.100.0/24 proto 87'],
  ['route', NEWROUTE, 'ip route add 10.8.0.0/24 via inet6 fe80::9 dev br0'],
  ['route', NEWROUTE, 'ip route add 10.9.0.0/24 nexthop via 10.0.0.3 dev br0 weight 2 nexthop via 10.0.0.4 dev br0'],
  ['route', NEWROUTE, 'ip -6 route add fd00:9::/48 via fd00:2::9 dev up0 proto 87 table 18601'],
  ['route', NEWROUTE, 'ip -6 route add unreachable fd00:8::/48 proto 87'],
  ['route', NEWROUTE, 'ip route add 10.99.0.0/16 via 203.0.113.1'],
  ['route', DELROUTE, 'ip route del blackhole 198.51.100.0/24 proto 87'],
  ['route', GETROUTE, 'ip route get 192.0.2.2'],
  ['route', GETROUTE, 'ip route show table 18600'],
  ['route', GETROUTE, 'ip route show table 18699'],
  ['route', GETROUTE, 'ip route show table all'],
  ['route', GETROUTE, 'ip -6 route show table all'],

  ['rule', NEWRULE, 'ip rule add pref 18600 fwmark 0x8000000/0x8000000 lookup 18600 protocol 87'],
  ['rule', NEWRULE, 'ip rule add pref 18601 from 10.0.0.0/24 iif br0 lookup main suppress_prefixlength 0 protocol 87'],
  ['rule', NEWRULE, 'ip rule add pref 18602 to 10.3.0.0/16 oif up0 blackhole protocol 87'],
  ['rule', NEWRULE, 'ip -6 rule add pref 18600 to fd00:5::/48 fwmark 7 lookup 18601 protocol 87'],
  ['rule', DELRULE, 'ip rule del pref 18602 to 10.3.0.0/16 oif up0 blackhole protocol 87'],
  ['rule', GETRULE, 'ip rule show'],
  ['rule', GETRULE, 'ip -6 rule show'],
  ['rule', NEWRULE, 'ip rule add pref 32768 iif lo ipproto udp sport 80-82 lookup 18600 protocol 87'],

  ['neigh', NEWNEIGH, 'ip neigh replace 10.0.0.9 lladdr 02:42:0a:00:00:09 dev vxlan0 nud permanent protocol 87'],
  ['neigh', NEWNEIGH, 'ip neigh add 10.0.0.10 lladdr 02:42:0a:00:00:0a dev br0 nud permanent'],
  ['neigh', NEWNEIGH, 'ip -6 neigh replace fd00:1::9 lladdr 02:42:0a:00:00:09 dev vxlan0 nud permanent protocol 87'],
  ['neigh', NEWNEIGH, 'ip neigh add proxy 10.0.0.77 dev br0 protocol 87'],
  ['neigh', DELNEIGH, 'ip neigh del 10.0.0.10 dev br0'],
  ['neigh', GETNEIGH, 'ip neigh get 10.0.0.9 dev vxlan0'],
  ['neigh', GETNEIGH, 'ip neigh show dev vxlan0'],
  ['neigh', GETNEIGH, 'ip neigh show master br0'],
  ['neigh', GETNEIGH, 'ip neigh show proxy'],
  ['neigh', GETNEIGH, 'ip -s neigh show nud all'],

  ['fdb', NEWNEIGH, 'bridge fdb replace 02:42:0a:00:00:09 dev vxlan0 dst 192.0.2.2 self permanent'],
  ['fdb', NEWNEIGH, 'bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.3 self permanent'],
  [
    'fdb',
    NEWNEIGH,
    'bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.4 port 4790 vni 77 via up0 self permanent',
  ],
  ['fdb', NEWNEIGH, 'bridge fdb replace 02:42:0a:00:00:0b dev vxlan6 dst 2001:db8::2 self permanent'],
  ['fdb', NEWNEIGH, 'bridge fdb replace 02:42:0a:00:00:09 dev vxlan0 master static'],
  ['fdb', NEWNEIGH, 'bridge fdb add 02:42:0a:00:00:02 dev wf1 master static sticky'],
  ['fdb', NEWNEIGH, 'bridge fdb replace 02:42:0a:00:00:0c dev vxlan0 vlan 5 master static'],
  ['fdb', NEWNEIGH, 'bridge fdb replace 02:42:0a:00:00:0d dev vxmeta src_vni 9 dst 192.0.2.9 vni 10 self permanent'],
  ['fdb', DELNEIGH, 'bridge fdb del 02:42:0a:00:00:0c dev vxlan0 vlan 5 master'],
  ['fdb', GETNEIGH, 'bridge fdb get 02:42:0a:00:00:09 dev vxlan0 self'],
  ['fdb', GETNEIGH, 'bridge fdb get 02:42:0a:00:00:09 dev vxlan0 master'],
  ['fdb', GETNEIGH, 'bridge fdb get 02:42:0a:00:00:09 br br0'],
  ['fdb', GETNEIGH, 'bridge fdb show dev vxlan0'],
  ['fdb', GETNEIGH, 'bridge fdb show br br0'],
  ['fdb', GETNEIGH, 'bridge -s fdb show'],

  ['nsid', GETNSID, 'ip netns list-id'],

  ['tc', NEWLINK, 'ip link add wi1 type ifb'],
  ['tc', NEWQDISC, 'tc qdisc add dev wf1 root handle 57: tbf rate 50mbit burst 64kb limit 300000'],
  ['tc', NEWQDISC, 'tc qdisc add dev wi1 root handle 57: tbf rate 40gbit burst 1mb limit 3000000'],
  ['tc', NEWQDISC, 'tc qdisc add dev up0 root handle 9: pfifo limit 3'],
  ['tc', NEWQDISC, 'tc qdisc add dev wf1 ingress'],
  [
    'tc',
    NEWTFILTER,
    'tc filter add dev wf1 ingress protocol all pref 87 u32 match u32 0 0 action mirred egress redirect dev wi1',
  ],
  [
    'tc',
    NEWTFILTER,
    'tc filter add dev wf1 ingress protocol ip pref 90 u32 match ip src 10.0.0.0/8 action mirred egress redirect dev wi1',
  ],
  ['tc', GETQDISC, 'tc qdisc show'],
  ['tc', GETTFILTER, 'tc filter show dev wf1 ingress'],
  ['tc', DELTFILTER, 'tc filter del dev wf1 ingress protocol all pref 87 u32'],
  ['tc', DELQDISC, 'tc qdisc del dev wf1 root'],
];

/** One sent or received buffer: strace's line and the hex dump under it. */
function* buffers(trace) {
  let current;
  for (const line of trace.split('\n')) {
    const call = /^\d+ +(sendmsg|sendto|recvmsg|recvfrom)\((\d+),/.exec(line);
    if (call) {
      if (current) yield current;
      const peek = line.includes('MSG_PEEK');
      current = peek ? undefined : { sent: call[1].startsWith('send'), fd: call[2], hex: '' };
    }
    const dump = /^ \| [0-9a-f]+ {2}((?:[0-9a-f]{2} {1,2})+)/.exec(line);
    if (dump && current) current.hex += dump[1].replaceAll(' ', '');
  }
  if (current) yield current;
}

/**
 * The last request of that message type and what came back on its socket until the next request. Dumps are preferred: ip
 * asks for single links too, to learn their names.
 */
function exchange(trace, type) {
  const rows = [];
  for (const b of buffers(trace)) {
    const bytes = Buffer.from(b.hex, 'hex');
    // iproute2 sends some requests with more bytes behind them than the header says.
    if (b.sent) rows.push({ fd: b.fd, sent: bytes.subarray(0, bytes.readUInt32LE(0)), received: '' });
    else {
      const row = rows.findLast((row) => row.fd === b.fd);
      if (row) row.received += b.hex;
    }
  }
  const wanted = rows.filter((row) => row.sent.readUInt16LE(4) === type);
  const isGet = type % 4 === 2;
  const found = (isGet && wanted.findLast((row) => (row.sent.readUInt16LE(6) & 0x300) === 0x300)) || wanted.at(-1);
  if (!found) throw new Error('no such request was sent');
  return { sent: found.sent.toString('hex'), received: found.received };
}

function record(type, command) {
  const out = join(scratch, 'trace');
  const words = command.split(' ').map((word) => (word === 'B' ? B : word));
  const calls = 'trace=sendmsg,sendto,recvmsg,recvfrom';
  const strace = ['-f', '-e', calls, '-e', 'write=all', '-e', 'read=all', '-e', 'verbose=none', '-o', out];
  const run = spawnSync('ip', ['netns', 'exec', A, 'strace', ...strace, ...words], { encoding: 'utf8' });
  if (run.status !== 0) process.stderr.write(`${command}: ${run.stderr}`);
  try {
    return { command, ...exchange(readFileSync(out, 'latin1'), type) };
  } catch (error) {
    throw new Error(`${command}: ${error.message}`);
  }
}

const files = new Map();
try {
  for (const name of [A, B]) execFileSync('ip', ['netns', 'add', name]);
  for (const [file, type, command] of STEPS) {
    const rows = files.get(file) ?? [];
    rows.push(record(type, command));
    files.set(file, rows);
  }
  for (const [file, rows] of files) {
    writeFileSync(join(import.meta.dirname, `${file}.json`), `${JSON.stringify(rows, undefined, 2)}\n`);
  }
} finally {
  for (const name of [A, B]) spawnSync('ip', ['netns', 'del', name]);
  rmSync(scratch, { recursive: true });
}
