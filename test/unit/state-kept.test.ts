import test from 'ava';
import { Shared } from '../../src/base/shared.js';
import { type Peer, peerBody } from '../../src/model/peer.js';
import { keptPeer } from '../../src/state/defaults.js';

const EVERYTHING = {
  network: 'app',
  address: '10.20.0.12',
  addressV6: 'fd00:20::12',
  mac: '02:42:0a:14:00:99',
  vtep: '192.168.72.1',
  service: 'web',
  state: 'draining',
  weight: 3,
  aliases: ['db'],
  sandbox: 's12',
} satisfies Peer;

test('a peer is kept with every field that its schema knows', (t) => {
  t.deepEqual(Object.keys(EVERYTHING).sort(), Object.keys(peerBody.shape).sort());
  t.deepEqual(keptPeer(peerBody.parse(EVERYTHING)), EVERYTHING);
});

test('what a peer does not say is not there, but for its MAC', (t) => {
  const { network, address, vtep } = EVERYTHING;
  t.deepEqual(keptPeer(peerBody.parse({ network, address, vtep })), {
    network,
    address,
    mac: '02:42:0a:14:00:0c',
    vtep,
    state: 'active',
    weight: 1,
    aliases: [],
  });
});

test('equal texts stay equal, however many came in between', (t) => {
  const shared = new Shared();
  for (let i = 0; i < 40_000; i++) t.is(shared.text(`n${i % 30_000}`), `n${i % 30_000}`);
});
