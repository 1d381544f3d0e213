// `table inet weft` of a node as text for nft: the guard of the data path port, which tunnels pass; see src/network/guard.ts.
import { APP, INGRESS } from './addresses.mjs';

const VNI = '@th,96,24';
const INNER_SOURCE = '@th,176,48';
const PORT = 4789;

/** @param {string} mac as the number that raw bytes are compared with */
const number = (mac) => `0x${mac.replaceAll(':', '')}`;

/**
 * @param {string} vtep the node's own
 * @param {readonly { network: { vni: number }, mac: string, vtep: string }[]} peers who may send, and from where
 */
export function guardTable(vtep, peers) {
  const elements = peers.map((peer) => `${peer.vtep} . ${peer.network.vni} . ${number(peer.mac)}`);
  return [
    'table inet weft {',
    `set vnis { typeof ${VNI}; elements = { ${APP.vni}, ${INGRESS.vni} }; }`,
    `set peers4 { typeof ip saddr . ${VNI} . ${INNER_SOURCE}; elements = { ${elements.join(', ')} }; }`,
    'chain guard {',
    '  type filter hook input priority -310;',
    '  iifname "weft-in" ct state & (established | related) == 0 drop',
    `  udp dport ${PORT} ip saddr . ${VNI} . ${INNER_SOURCE} @peers4 accept`,
    `  udp dport ${PORT} ${VNI} @vnis counter drop`,
    '}',
    `chain untracked-in { type filter hook prerouting priority -300; ip daddr ${vtep} udp dport ${PORT} notrack; }`,
    `chain untracked-out { type filter hook output priority -300; ip saddr ${vtep} udp dport ${PORT} notrack; }`,
    '}',
    '',
  ].join('\n');
}
