// weft's data path made by ip, bridge, nft and iptables: two nodes, a client on the first, a backend on the second.
import { APP, HOST, INGRESS, NUMBER, nodeAddress, PUBLISHED, TARGET, VIP } from './addresses.mjs';
import { attach, boxOf, bridgeMac, carry, endpointMac, gateway, know, spaceOf } from './by-hand.mjs';
import { addWeftResolverRules } from './resolver-rules.mjs';
import { ip, iptables, namespaces, nft, sysctls } from './run.mjs';
import { guardTable } from './twin-guard.mjs';
import { balancerTable, returnMap } from './twin-table.mjs';
import { plugHost } from './underlay.mjs';

const GATEWAY = '172.31';
const BIT = '0x8000000/0x8000000';

/**
 * @param {{ resolver: boolean }} like have weft's containers rules for a resolver?
 * @returns {{ client: string, backend: string, node: string }} namespaces, and the first node's address
 */
export function plugTwin({ resolver }) {
  const hosts = HOST.shell.map((number, i) => ({ name: `s${i + 1}`, vtep: plugHost(`s${i + 1}`, number) }));
  const [here, there] = hosts;
  for (const host of hosts) for (const network of [APP, INGRESS]) carry(host, network);
  const [client, backend] = [boxOf(here, 'c1'), boxOf(there, 'b1')];
  namespaces(client, backend);
  const gateways = hosts.map((host) => gateway(host, GATEWAY, 'weft-gw'));
  const caller = attach(here, APP, client, 'eth0', NUMBER.client);
  gateways[0](client, 'gw0', 2);
  const server = attach(there, APP, backend, 'eth0', NUMBER.backend);
  const published = attach(there, INGRESS, backend, 'eth1', NUMBER.backend);
  const answering = gateways[1](backend, 'gw0', 2);
  know(here, APP, server);
  know(here, INGRESS, published);
  know(there, APP, caller);
  task(backend, server, published, answering);
  if (resolver) for (const box of [client, backend]) addWeftResolverRules(box);
  const legs = hosts.map((host, i) => leg(host, nodeAddress(i + 1)));
  know(here, INGRESS, { mac: legs[1].mac, host: there });
  know(there, INGRESS, { mac: legs[0].mac, host: here });
  hosts.forEach((host, i) => {
    balance(host, nodeAddress(i + 1), server, published, legs);
    nodeRules(host, nodeAddress(i + 1));
  });
  const from = (host, network, ...macs) => macs.map((mac) => ({ network, mac, vtep: host.vtep }));
  nft(
    here.name,
    guardTable(here.vtep, [...from(there, APP, server.mac), ...from(there, INGRESS, published.mac, legs[1].mac)]),
  );
  nft(there.name, guardTable(there.vtep, [...from(here, APP, caller.mac), ...from(here, INGRESS, legs[0].mac)]));
  return { client, backend, node: here.vtep };
}

/** The node's way into the ingress network. */
function leg(host, address) {
  const ns = spaceOf(host, INGRESS);
  const mac = endpointMac(address);
  ip(
    ns,
    `link add name wfnode mtu 1450 type veth peer name weft-in address ${mac} mtu 1450 netns ${host.name}`,
    'link set wfnode master br0',
    'link set wfnode up',
    `addr add ${address}/32 dev br0`,
    `neigh replace 169.254.87.1 lladdr ${mac} dev br0 nud permanent`,
    'route add default via 169.254.87.1 dev br0 onlink',
  );
  ip(
    host.name,
    'link set weft-in up',
    `route add ${address}/32 dev weft-in`,
    `neigh replace ${address} lladdr ${bridgeMac(host)} dev weft-in nud permanent`,
  );
  sysctls(host.name, { 'net/ipv4/conf/weft-in/route_localnet': 1 });
  return { address, mac };
}

function balance(host, address, server, published, legs) {
  const bridge = bridgeMac(host);
  ip(spaceOf(host, APP), `addr add ${VIP}/32 dev br0`);
  nft(spaceOf(host, APP), balancerTable({ bridge, key: 'ip daddr', frontend: VIP, backend: server }));
  const key = 'ip daddr . meta l4proto . th dport';
  const frontend = `${address} . tcp . ${PUBLISHED}`;
  nft(spaceOf(host, INGRESS), balancerTable({ bridge, key, frontend, backend: published }, returnMap(bridge, legs)));
}

/** What a backend's own namespace translates; see src/network/task.ts. */
function task(box, { address }, published, answering) {
  sysctls(box, {
    'net/ipv4/conf/eth0/accept_local': 1,
    'net/ipv4/conf/eth1/src_valid_mark': 1,
    'net/ipv4/tcp_fwmark_accept': 1,
    'net/ipv4/tcp_early_demux': 0,
  });
  const outside = `! -d ${published.address}/32 -i eth1`;
  iptables(box, {
    raw: [
      'WEFT-TASK-RAW-IN -',
      'WEFT-TASK-RAW-OUT -',
      'PREROUTING -j WEFT-TASK-RAW-IN',
      'OUTPUT -j WEFT-TASK-RAW-OUT',
      `WEFT-TASK-RAW-IN -s ${VIP}/32 -i eth0 -j CT --notrack`,
      `WEFT-TASK-RAW-OUT -d ${VIP}/32 -j CT --notrack`,
    ],
    mangle: [
      'WEFT-TASK-IN -',
      'WEFT-TASK-OUT -',
      'PREROUTING -j WEFT-TASK-IN',
      'OUTPUT -j WEFT-TASK-OUT',
      `WEFT-TASK-IN ${outside} -j CONNMARK --set-xmark ${BIT}`,
      `WEFT-TASK-IN ${outside} -j MARK --set-xmark ${BIT}`,
      `WEFT-TASK-OUT -m connmark --mark ${BIT} -j MARK --set-xmark ${BIT}`,
    ],
    nat: [
      'WEFT-TASK-IN -',
      'PREROUTING -j WEFT-TASK-IN',
      `WEFT-TASK-IN -d ${VIP}/32 -i eth0 -j DNAT --to-destination ${address}`,
      `WEFT-TASK-IN -i eth1 -p tcp -m tcp --dport ${PUBLISHED} -j DNAT --to-destination ${answering}:${TARGET}`,
    ],
  });
  ip(
    box,
    `rule add priority 18600 fwmark ${BIT} lookup 18600`,
    `route add default via ${INGRESS.prefix}.1 dev eth1 table 18600`,
  );
}

/** See src/network/node-rules.ts. */
function nodeRules({ name, vtep }, address) {
  const clamp = '-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu';
  iptables(name, {
    nat: [
      'WEFT-INGRESS -',
      'WEFT-POSTROUTING -',
      'PREROUTING -m addrtype --dst-type LOCAL -j WEFT-INGRESS',
      'OUTPUT -m addrtype --dst-type LOCAL -j WEFT-INGRESS',
      'POSTROUTING -j WEFT-POSTROUTING',
      `WEFT-INGRESS -p tcp -m tcp --dport ${PUBLISHED} -j DNAT --to-destination ${address}:${PUBLISHED}`,
      `WEFT-POSTROUTING -s ${GATEWAY}.0.0/16 -o weft-in -j SNAT --to-source ${vtep}`,
      `WEFT-POSTROUTING -s 127.0.0.0/8 -o weft-in -j SNAT --to-source ${vtep}`,
      `WEFT-POSTROUTING -s ${GATEWAY}.0.0/16 ! -o weft-gw -j MASQUERADE`,
    ],
    mangle: [
      'WEFT-GUARD -',
      'WEFT-MSS -',
      'FORWARD -j WEFT-GUARD',
      'FORWARD -j WEFT-MSS',
      'WEFT-GUARD -i weft-in -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP',
      `WEFT-MSS -o weft-in ${clamp}`,
      `WEFT-MSS -i weft-in ${clamp}`,
    ],
    filter: [
      'WEFT-USER -',
      'WEFT-FORWARD -',
      'FORWARD -j WEFT-FORWARD',
      'WEFT-FORWARD -j WEFT-USER',
      'WEFT-FORWARD -o weft-in -m conntrack --ctstate DNAT -j ACCEPT',
      'WEFT-FORWARD -i weft-in -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      'WEFT-FORWARD -o weft-gw -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      'WEFT-FORWARD -o weft-gw -j DROP',
      'WEFT-FORWARD -i weft-gw -j ACCEPT',
    ],
  });
}
