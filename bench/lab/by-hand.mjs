// An overlay network made with ip and bridge alone: the same layout as weft's, see src/network/overlay/README.md.
import { bridge, ip, namespaces, sysctls } from './run.mjs';
import { BRIDGE_ONLY } from './underlay.mjs';

/** Bytes that VXLAN adds over IPv4 (RFC 7348 section 5). */
const MTU = 1500 - 50;

/**
 * @typedef {{ name: string, vtep: string }} Host a node: its namespace and underlay address
 * @typedef {{ name: string, vni: number, prefix: string }} Network a /24, by its first three bytes
 * @typedef {{ address: string, mac: string, host: Host }} Peer what a network's other nodes must know
 */

const bytes = (address) =>
  address
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0'))
    .join(':');

/** MAC of an endpoint. @param {string} address */
export const endpointMac = (address) => `02:42:${bytes(address)}`;

/** MAC of a node's `br0`. @param {Host} host */
export const bridgeMac = (host) => `02:57:${bytes(host.vtep)}`;

/** Namespace of a network on a node. @param {Host} host @param {Network} network */
export const spaceOf = (host, network) => `${host.name}-${network.name}`;

/** Namespace of a container on a node. @param {Host} host @param {string} name */
export const boxOf = (host, name) => `${host.name}-${name}`;

/** A network's namespace on a node, with bridge, gateway address and tunnel. @param {Host} host @param {Network} network */
export function carry(host, network) {
  const ns = spaceOf(host, network);
  namespaces(ns);
  sysctls(ns, BRIDGE_ONLY, { optional: true });
  sysctls(ns, {
    'net/ipv4/ip_forward': 0,
    'net/ipv4/conf/all/send_redirects': 0,
    'net/ipv4/conf/default/send_redirects': 0,
  });
  ip(
    ns,
    `link add name br0 address ${bridgeMac(host)} mtu ${MTU} type bridge`,
    `addr add ${network.prefix}.1/24 dev br0`,
  );
  ip(
    host.name,
    `link add name vxlan0 netns ${ns} type vxlan id ${network.vni} local ${host.vtep} dstport 4789 nolearning proxy`,
  );
  ip(
    ns,
    `link set vxlan0 mtu ${MTU} master br0`,
    'link set vxlan0 type bridge_slave learning off',
    'link set vxlan0 up',
  );
  ip(ns, 'link set br0 up');
}

/**
 * Puts a container's namespace on a network.
 * @param {Host} host @param {Network} network @param {string} box its namespace @param {string} dev interface in it
 * @param {number} number last byte of its address @returns {Peer}
 */
export function attach(host, network, box, dev, number) {
  const ns = spaceOf(host, network);
  const address = `${network.prefix}.${number}`;
  const near = `wf${number}`;
  const mac = endpointMac(address);
  ip(
    ns,
    `link add name ${near} mtu ${MTU} type veth peer name ${dev} address ${mac} mtu ${MTU} netns ${box}`,
    `link set ${near} master br0`,
    `link set ${near} type bridge_slave hairpin on`,
    `link set ${near} up`,
  );
  ip(box, `addr add ${address}/24 dev ${dev}`, `link set ${dev} up`);
  return { address, mac, host };
}

/** Rows for an endpoint of another node; one without `address` is not asked for by ARP. */
export function know(host, network, { address, mac, host: theirs }) {
  const ns = spaceOf(host, network);
  if (address !== undefined) ip(ns, `neigh replace ${address} lladdr ${mac} dev vxlan0 nud permanent`);
  bridge(
    ns,
    `fdb replace ${mac} dev vxlan0 dst ${theirs.vtep} self permanent`,
    `fdb replace ${mac} dev vxlan0 master static`,
  );
}

/**
 * The gateway bridge of a node and a container's leg to it, with the default route.
 * @param {Host} host @param {string} subnet first two bytes of a /16 @param {string} link the bridge's name
 */
export function gateway(host, subnet, link) {
  ip(host.name, `link add name ${link} type bridge`, `addr add ${subnet}.0.1/16 dev ${link}`, `link set ${link} up`);
  sysctls(host.name, { 'net/ipv4/ip_forward': 1 });
  return (box, dev, number) => {
    const address = `${subnet}.0.${number}`;
    ip(
      host.name,
      `link add name gw${number} type veth peer name ${dev} netns ${box}`,
      `link set gw${number} master ${link}`,
      `link set gw${number} type bridge_slave isolated on`,
      `link set gw${number} up`,
    );
    ip(box, `addr add ${address}/16 dev ${dev}`, `link set ${dev} up`, `route add default via ${subnet}.0.1`);
    return address;
  };
}
