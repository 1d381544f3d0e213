// Endpoints on other nodes, made up: 64 a node, on one network.

/** The network of the peers. */
export const NETWORK = { name: 'app', vni: 4097, subnet: '10.20.0.0/15' };
const A_NODE = 64;

/** The n-th peer, from 1. @param {number} n below 2^16 @returns {{ ip: string, mac: string, vtep: string }} */
export function peer(n) {
  const bytes = [10, 20, n >> 8, n & 255];
  const node = Math.floor(n / A_NODE);
  return {
    ip: bytes.join('.'),
    mac: `02:42:${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`,
    vtep: `192.168.${200 + (node >> 8)}.${node & 255}`,
  };
}

/** @param {number} first @param {number} count */
export const peers = (first, count) => Array.from({ length: count }, (_, i) => peer(first + i));

/** Lines for `bridge -batch`. @param {ReturnType<typeof peers>} rows */
export const forBridge = (rows) =>
  rows
    .flatMap(({ mac, vtep }) => [
      `fdb replace ${mac} dev vxlan0 dst ${vtep}\n`,
      `fdb replace ${mac} dev vxlan0 master static sticky\n`,
    ])
    .join('');

/** Lines for `ip -batch`. @param {ReturnType<typeof peers>} rows */
export const forIp = (rows) =>
  rows.map(({ ip, mac }) => `neigh replace ${ip} lladdr ${mac} dev vxlan0 nud permanent protocol 87\n`).join('');

/** Gossip about them, one batch. @param {number} first @param {number} count */
export const gossip = (first, count) =>
  peers(first, count)
    .map(({ ip, vtep }, i) => {
      const value = { network: NETWORK.name, address: ip, vtep, sandbox: `s${first + i}` };
      const node = `n${vtep}`;
      const key = `${node}/s${first + i}:${NETWORK.name}`;
      return `${JSON.stringify({ table: 'peers', op: 'set', key, node, ltime: 1, value })}\n`;
    })
    .join('');

/** A snapshot that names nobody. */
export const NOBODY = ['snapshot-begin', 'snapshot-end']
  .map((op) => `${JSON.stringify({ table: 'peers', op })}\n`)
  .join('');
