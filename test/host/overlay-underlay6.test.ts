import t from 'tap';
import { dualStack } from '../support/dual-stack.js';
import { patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { lost } from '../support/overlay.js';

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'socat'])) {
  t.setTimeout(patient(110_000));
  const [n1] = await dualStack(t, 6);

  t.test('a node with a VTEP of IPv4 is refused, and hearsay of one harms nobody', async (t) => {
    const told = await n1.weft('node', 'add', 'n4', '--vtep', '192.168.74.1');
    t.equal(told.code, 1);
    t.match(told.stderr, /WEFT_INVALID_ADDRESS: VTEP 192\.168\.74\.1 of node "n4" is IPv4, and this node advertises/);
    const value = { network: 'app', address: '10.20.0.14', vtep: '192.168.74.1' };
    const row = { table: 'peers', op: 'set', key: 'n4/a4:app', node: 'n4', ltime: 1, value };
    await n1.api.post('/v1/gossip', `${JSON.stringify(row)}\n`);
    const status = async () => (await n1.api.get<{ status: object }>('/v1/peers/n4%2Fa4:app')).status;
    await until('the row is said to be unusable', async () => JSON.stringify(await status()).includes('degraded'));
    t.match(await status(), { phase: 'degraded', reason: /EAFNOSUPPORT/, hint: /its VTEP is not of the family/ });
    t.equal(await lost(n1, 'a1', '10.20.0.12', 2, '-i', '0.1'), 0);
  });
}
