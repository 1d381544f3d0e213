// Services with ten backends each, on other nodes, made up: 64 endpoints a node, on one network.

/** The network of the services: a /10, so that all addresses follow from numbers. */
export const NETWORK = { name: 'mesh', vni: 4098, subnet: '10.64.0.0/10' };
export const BACKENDS = 10;

const BASE = (10 << 24) | (64 << 16);
/** Below it backends, from it VIPs, from the last containers that the benches connect. */
const [VIPS, CONTAINERS] = [0x200000, 0x300000];
const A_NODE = 64;

const bytesOf = (number) => [24, 16, 8, 0].map((shift) => (number >> shift) & 255);
const address = (offset) => bytesOf(BASE + offset).join('.');

/** @param {number} n service, from 0 */
export const vip = (n) => address(VIPS + 256 + n);
/** @param {number} n from 0 */
export const container = (n) => address(CONTAINERS + 256 + n);

/** The k-th backend of the n-th service. @param {number} n from 0 @param {number} k below BACKENDS */
export function backend(n, k) {
  const number = 256 + n * BACKENDS + k;
  const node = Math.floor(number / A_NODE);
  const ip = address(number);
  const mac = `02:42:${ip
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0'))
    .join(':')}`;
  return { ip, mac, vtep: `172.16.${node >> 8}.${node & 255}` };
}

export const serviceName = (n) => `s${n}`;
export const serviceSpec = (n) => ({ networks: [NETWORK.name], vips: { [NETWORK.name]: [vip(n)] } });

const line = (row) => `${JSON.stringify(row)}\n`;
const set = (table, key, node, value) => line({ table, op: 'set', key, node, ltime: 1, value });

/** Gossip about one backend. @param {number} n @param {number} k */
export function backendRow(n, k) {
  const { ip, vtep } = backend(n, k);
  const node = `n${vtep}`;
  const value = { network: NETWORK.name, address: ip, vtep, service: serviceName(n), sandbox: `b${n}-${k}` };
  return set('peers', `${node}/b${n}-${k}:${NETWORK.name}`, node, value);
}

/** Gossip about services and their backends, one batch. @param {number} first @param {number} count */
export function gossip(first, count) {
  const numbers = Array.from({ length: count }, (_, i) => first + i);
  const ks = Array.from({ length: BACKENDS }, (_, k) => k);
  return numbers
    .flatMap((n) => [set('services', serviceName(n), 'manager', serviceSpec(n)), ...ks.map((k) => backendRow(n, k))])
    .join('');
}

/** Snapshots that name nobody. */
export const NOBODY = ['peers', 'services']
  .flatMap((table) => ['snapshot-begin', 'snapshot-end'].map((op) => line({ table, op })))
  .join('');
