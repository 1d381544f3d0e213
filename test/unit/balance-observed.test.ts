import test from 'ava';
import { IPPROTO } from '../../src/balance/backends.js';
import { frontendKey } from '../../src/balance/frontend.js';
import { ObservedBalancing } from '../../src/balance/observed.js';
import type { Family } from '../../src/base/ip.js';
import { valueHex } from '../../src/codec/nft/types.js';
import type { NftElement } from '../../src/objects/nft.js';

const VIP = { ip: '10.20.0.200', label: '4-0' };
const OTHER = { ip: '10.20.0.201', label: '4-0' };
const VIP6 = { ip: 'fd00::200', label: '6-0' };
const PORT = { ip: '10.0.0.101', port: { proto: IPPROTO.tcp, number: 8080 }, label: '8080-tcp' };

const element = (set: string, key: string, value: string): NftElement => ({
  ...{ what: 'element', family: 'bridge', table: 'weft' },
  set,
  key,
  value,
});
const backend = (which: 'live' | 'drain', of: Family, frontend: typeof VIP, mark: number): NftElement =>
  element(`${which}${of}`, frontendKey(of, frontend, [['mark', mark]]), '02420a140015');

test('balancer nft: elements of the live and the draining map, frontend by frontend', (t) => {
  const seen = new ObservedBalancing(
    [
      backend('live', 4, VIP, 1),
      backend('live', 4, VIP, 2),
      backend('drain', 4, VIP, 3),
      backend('live', 4, OTHER, 1),
      backend('live', 6, VIP6, 1),
      backend('drain', 4, PORT, 1),
    ],
    [],
  );
  t.deepEqual(seen.backends('nft', 4, VIP), { active: 2, draining: 1 });
  t.deepEqual(seen.backends('nft', 4, OTHER), { active: 1, draining: 0 });
  t.deepEqual(seen.backends('nft', 6, VIP6), { active: 1, draining: 0 });
  t.deepEqual(seen.backends('nft', 4, PORT), { active: 0, draining: 1 });
  t.deepEqual(seen.backends('nft', 4, { ip: '10.20.0.202', label: '' }), { active: 0, draining: 0 });
});

const marked = (frontend: typeof VIP & { port?: typeof PORT.port }, proto: number, mark: number): NftElement =>
  element(
    'mark4',
    frontend.port ? frontendKey(4, frontend) : frontendKey(4, frontend, [['inet_proto', proto]]),
    valueHex('mark', mark),
  );

test('balancer ipvs: real servers behind the marks of the frontend, each address once', (t) => {
  const server = (fwmark: number, ip: string, weight: number) => ({ family: 4 as const, fwmark, ip, weight });
  const seen = new ObservedBalancing(
    [marked(VIP, IPPROTO.tcp, 256), marked(VIP, IPPROTO.udp, 257), marked(PORT, IPPROTO.tcp, 258)],
    [
      server(256, '10.20.0.21', 1),
      server(257, '10.20.0.21', 1),
      server(256, '10.20.0.22', 0),
      server(258, '10.0.0.21', 1),
      server(999, '10.20.0.99', 1),
      { ...server(256, 'fd00::1', 1), family: 6 },
    ],
  );
  t.deepEqual(seen.backends('ipvs', 4, VIP), { active: 1, draining: 1 });
  t.deepEqual(seen.backends('ipvs', 4, PORT), { active: 1, draining: 0 });
  t.deepEqual(seen.backends('ipvs', 4, OTHER), { active: 0, draining: 0 });
});
