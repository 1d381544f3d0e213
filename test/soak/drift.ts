import { bridgeMac, endpointMac } from '../../src/base/mac.js';
import { addressOf, bridgeOf, familiesOf, LENGTH, type Network } from './model.js';
import type { Random } from './random.js';
import type { Operation, Soak } from './soak.js';

/** Somebody changes what is weft's, with the tools at hand; in turn all of it is put back. */
type Tampering = { what: string; script(random: Random, network: Network): string };

/** Near end of one of the endpoints at a bridge, in shell words; nobody else's link, as the node's way to the others is. */
const anyPort = (random: Random, bridge = 'br0'): string =>
  `$(ip -o link show master ${bridge} type veth | awk -F '[:@ ]+' -v n=${random.int(100)} '{ a[NR] = $2 } END { if (NR) print a[1 + n % NR] }')`;
/** Deletes every row of vxlan0 that stands there. */
const noRows = (where: 'self' | 'master br0'): string =>
  `bridge fdb show dev vxlan0 | grep '${where}' | awk '/02:4[23]/ { print "fdb del " $1 " dev vxlan0 ${where.split(' ')[0]}" }' | bridge -batch -`;
/** One of the network's addresses in one of its families. */
const anyAddress = (random: Random, network: Network, n: number): string =>
  addressOf(network, random.pick(familiesOf(network)) ?? 4, n);
const gateways = (random: Random, network: Network, dev: string): string => {
  const of = random.pick(familiesOf(network)) ?? 4;
  return `ip addr del ${addressOf(network, of, 1)}/${LENGTH[of]} dev ${dev}`;
};
const BOGUS = '02:42:0a:63:63:63';

const IN_NETWORK: readonly Tampering[] = [
  { what: 'bridge down', script: () => 'ip link set br0 down' },
  { what: 'tunnel down', script: () => 'ip link set vxlan0 down' },
  { what: 'tunnel deleted', script: () => 'ip link del vxlan0' },
  { what: 'bridge deleted', script: () => 'ip link del br0' },
  { what: 'tunnel out of the bridge', script: () => 'ip link set vxlan0 nomaster' },
  { what: 'MTU', script: (random) => `ip link set ${random.chance(0.5) ? 'br0' : 'vxlan0'} mtu 1280` },
  { what: 'gateway address', script: (random, network) => gateways(random, network, 'br0') },
  { what: 'rows of the tunnel', script: () => noRows('self') },
  { what: 'rows of the bridge', script: () => noRows('master br0') },
  {
    what: 'a row bent',
    script: (random, network) =>
      `bridge fdb replace ${endpointMac(anyAddress(random, network, 2 + random.int(40)))} dev vxlan0 dst 192.0.2.1`,
  },
  { what: 'a stray row', script: () => `bridge fdb replace ${BOGUS} dev vxlan0 dst 192.0.2.1` },
  { what: 'neighbours flushed', script: () => 'ip neigh flush dev vxlan0 nud permanent' },
  {
    what: 'a neighbour bent',
    script: (random, network) =>
      `ip neigh replace ${anyAddress(random, network, 2 + random.int(40))} lladdr ${BOGUS} dev vxlan0 nud permanent`,
  },
  { what: 'port deleted', script: (random) => `ip link del ${anyPort(random)}` },
  { what: 'port out of the bridge', script: (random) => `ip link set ${anyPort(random)} nomaster` },
  { what: 'port down', script: (random) => `ip link set ${anyPort(random)} down` },
  { what: 'limits', script: (random) => `tc qdisc del dev ${anyPort(random)} root` },
  { what: 'hairpin off', script: (random) => `bridge link set dev ${anyPort(random)} hairpin off` },
  { what: 'MAC of the bridge', script: () => `ip link set br0 address ${bridgeMac('192.0.2.1')}` },
];

const IN_SANDBOX: readonly Tampering[] = [
  { what: 'interface deleted', script: () => 'ip link del eth0' },
  { what: 'interface down', script: () => 'ip link set eth0 down' },
  { what: 'addresses flushed', script: () => 'ip addr flush dev eth0' },
  { what: 'default route', script: () => 'ip route del default' },
  { what: 'IPv6 default route', script: () => 'ip -6 route del default' },
  { what: 'IPv6 addresses flushed', script: () => 'ip -6 addr flush dev eth0 scope global' },
  { what: 'static routes', script: () => 'ip route flush root 10.98.0.0/16; ip -6 route flush root fd98::/16' },
  { what: 'leg to the gateway', script: () => 'ip link del gw0' },
  { what: 'rules', script: () => 'iptables -t nat -F' },
];

const IN_NODE: readonly Tampering[] = [
  { what: 'gateway bridge deleted', script: () => 'ip link del weft-gw' },
  { what: 'gateway bridge down', script: () => 'ip link set weft-gw down' },
  { what: 'masquerade', script: () => 'iptables -t nat -F WEFT-POSTROUTING' },
  { what: 'IPv6 masquerade', script: () => 'ip6tables -t nat -F WEFT-POSTROUTING' },
  { what: 'published ports', script: () => 'iptables -t nat -F WEFT-PORTS; ip6tables -t nat -F WEFT-PORTS' },
  { what: 'jump to WEFT-FORWARD', script: () => 'iptables -D FORWARD -j WEFT-FORWARD' },
];

const AT_BRIDGE: readonly Tampering[] = [
  { what: 'bridge deleted', script: (_, network) => `ip link del ${bridgeOf(network)}` },
  { what: 'bridge down', script: (_, network) => `ip link set ${bridgeOf(network)} down` },
  { what: 'gateway address', script: (random, network) => gateways(random, network, bridgeOf(network)) },
  {
    what: 'port out of the bridge',
    script: (random, network) => `ip link set ${anyPort(random, bridgeOf(network))} nomaster`,
  },
  { what: 'port deleted', script: (random, network) => `ip link del ${anyPort(random, bridgeOf(network))}` },
  { what: 'limits', script: (random, network) => `tc qdisc del dev ${anyPort(random, bridgeOf(network))} root` },
];

const PLACES: Record<string, (soak: Soak, random: Random) => Promise<string | undefined>> = {
  async network(soak, random) {
    const node = random.pick(soak.lab.nodes);
    const network = node && random.pick(soak.model.carriedBy(node.number, 'overlay'));
    if (!network) return undefined;
    const { what, script } = random.pick(IN_NETWORK) as Tampering;
    // What is not there (the agent may be dead, or not yet there) cannot be tampered with: that is no failure.
    await node.execIn(`net-${network.name}`, 'sh', '-c', script(random, network));
    return `${what} in net-${network.name} on ${node.name}`;
  },
  async sandbox(soak, random) {
    const sandbox = random.pick(soak.model.sandboxes.values());
    if (!sandbox) return undefined;
    const { what, script } = random.pick(IN_SANDBOX) as Tampering;
    const node = soak.lab.node(sandbox.node);
    await node.execIn(sandbox.name, 'sh', '-c', script(random, undefined as never));
    return `${what} in ${sandbox.name} on ${node.name}`;
  },
  async 'bridge network'(soak, random) {
    const node = random.pick(soak.lab.nodes);
    const network = node && random.pick(soak.model.carriedBy(node.number, 'bridge'));
    if (!network) return undefined;
    const { what, script } = random.pick(AT_BRIDGE) as Tampering;
    await node.exec('sh', '-c', script(random, network));
    return `${what} of ${network.name} on ${node.name}`;
  },
  async node(soak, random) {
    const node = random.pick(soak.lab.nodes);
    if (!node) return undefined;
    const { what, script } = random.pick(IN_NODE) as Tampering;
    await node.exec('sh', '-c', script(random, undefined as never));
    return `${what} on ${node.name}`;
  },
};

export const DRIFT_OPERATIONS: readonly Operation[] = Object.entries(PLACES).map(([name, run]) => ({
  name: `drift in a ${name}`,
  weight: name === 'network' ? 6 : 2,
  run,
}));
