import t from 'tap';
import { Lab, outcomeOf, patient } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { connectAll } from '../support/overlay.js';
import { carries, onTheWire } from '../support/transfer.js';

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'socat'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 2, agents: false, args: ['--probe-port', '0'] });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];
  await onTheWire(lab.nodes);
  await connectAll(lab);

  t.test('without the probe a mute router that drops what is too big stalls a transfer', async (t) => {
    t.ok(await carries([n1, 'c1'], [n2, 'c2'], '10.20.0.12'));
    const drop = ['iptables', '-A', 'FORWARD', '-p', 'udp', '-m', 'length', '--length', '1401:65535', '-j', 'DROP'];
    t.equal((await outcomeOf('ip', ['netns', 'exec', lab.router, ...drop])).code, 0);
    t.notOk(await carries([n1, 'c1'], [n2, 'c2'], '10.20.0.12', 3000));
    t.match(await n1.must('status'), /paths +probe off; 0 as wide/);
    t.equal((await n1.exec('ss', '-lunH', 'sport = 4798')).stdout, '');
  });
}
