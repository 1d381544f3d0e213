import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import t from 'tap';
import { inGuest, KERNEL_NEEDS, missing, NOT_IN_GUESTS, needs } from '../support/needs.js';

/** Runs a script in a network namespace of its own (mounts too) and returns what it printed. */
function inNamespace(script: string): string {
  return execFileSync('unshare', ['--net', '--mount', 'sh', '-ec', script], { encoding: 'utf8' });
}

t.test('this is a guest', async (t) => {
  t.ok(inGuest(), 'WEFT_GUEST is set');
  t.match(execFileSync('uname', ['-r'], { encoding: 'utf8' }), /^6\./, 'a kernel of its own');
});

t.test('this kernel has what a test may need', async (t) => {
  const absent = KERNEL_NEEDS.filter((need) => missing([need]) !== '');
  t.same([...absent].sort(), [...NOT_IN_GUESTS].sort());
});

t.test('IPVS takes a fwmark service with a direct-routing destination', async (t) => {
  if (!needs(t, ['ip_vs', 'ipvsadm'])) return;
  const saved = inNamespace(`
    ip link set lo up  # makes the local route table: without one IPVS takes no address for unicast
    ipvsadm -A -f 256 -s rr
    ipvsadm -a -f 256 -r 192.0.2.7:0 -g -w 3
    ipvsadm -S -n`);
  t.match(saved, '-A -f 256 -s rr');
  t.match(saved, '-a -f 256 -r 192.0.2.7:0 -g -w 3');
});

t.test('VXLAN carries a ping between two namespaces', async (t) => {
  if (!needs(t, ['veth', 'bridge', 'vxlan', 'ip'])) return;
  // Two nodes on one cable; the inner address of each sits on a bridge over its VXLAN device.
  const node = (n: number, peer: number) => `
    ip -n n${n} address add 192.0.2.${n}/24 dev u${n}
    ip -n n${n} link set u${n} up
    ip -n n${n} link add vxlan0 type vxlan id 4096 dstport 4789 local 192.0.2.${n} nolearning
    ip -n n${n} link add br0 type bridge
    ip -n n${n} link set vxlan0 master br0 up
    ip -n n${n} address add 198.51.100.${n}/24 dev br0
    ip -n n${n} link set br0 up
    bridge -n n${n} fdb append 00:00:00:00:00:00 dev vxlan0 dst 192.0.2.${peer}`;
  const printed = inNamespace(`
    mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns
    ip netns add n1
    ip netns add n2
    ip -n n1 link add u1 type veth peer name u2 netns n2
    ${node(1, 2)}
    ${node(2, 1)}
    ip netns exec n1 ping -c 1 -W 5 198.51.100.2`);
  t.match(printed, '1 received');
});

t.test('nf_tables has the bridge family with what the balancer uses', async (t) => {
  if (!needs(t, ['nft-bridge', 'nft-numgen', 'nf_conntrack_bridge'])) return;
  const listed = inNamespace(`nft '
    table bridge weft {
      map nodes {
        type ipv4_addr : ether_addr
        elements = { 192.0.2.9 : 02:42:c0:00:02:09 }
      }
      map backends { type ipv4_addr . mark : ether_addr; }
      chain untracked {
        type filter hook prerouting priority -300
        ether type arp notrack
      }
      chain choose {
        ct mark set numgen inc mod 2 map { 0 : 1, 1 : 2 }
        ether daddr set ip daddr . ct mark map @backends accept
      }
      map services {
        type ipv4_addr : verdict
        elements = { 198.51.100.200 : jump choose }
      }
      chain balance {
        type filter hook prerouting priority -150
        ct state invalid drop
        ether daddr 02:57:c0:00:02:09 ip daddr vmap @services
        ether daddr set ip saddr map @nodes accept
      }
    }' && nft list ruleset`);
  t.match(listed, 'numgen inc mod 2');
  t.match(listed, 'ether daddr set ip saddr map @nodes');
});

t.test('iptables is the legacy flavour and has what a sandbox uses', async (t) => {
  if (!needs(t, ['iptables', 'ip6tables', 'iptables-nat', 'iptables-notrack', 'iptables-connmark'])) return;
  for (const program of ['iptables', 'ip6tables', 'iptables-restore', 'iptables-save']) {
    t.match(execFileSync(program, ['--version'], { encoding: 'utf8' }), 'legacy', program);
  }
  const saved = inNamespace(`
    iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 8080 -j DNAT --to-destination 192.0.2.1:80
    iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
    iptables-save`);
  t.match(saved, '--to-destination 192.0.2.1:80');
  t.match(saved, '--clamp-mss-to-pmtu');
});

t.test('the native addon loads', async (t) => {
  const addon = new URL('../../../native/build/weft.node', import.meta.url);
  if (!existsSync(addon)) {
    t.plan(0, 'native/build/weft.node is not built');
    return;
  }
  t.type(createRequire(import.meta.url)(addon.pathname), 'object');
});
