import t from 'tap';
import { patient, until } from '../support/lab.js';
import { appAddress, MeshLab, NODES, TARGET, VIP } from '../support/mesh-lab.js';
import { needs } from '../support/needs.js';

const FAMILIES = [4, 6] as const;
/** Some thousand segments: with 3 % loss, a hundred of them are sent again. */
const BYTES = 2_000_000;
/** A lost handshake by itself takes 1 s, two of them 3 s; a stall of TCP takes a minute. */
const TIME_MS = patient(10_000);
const NEEDS = ['root', 'veth', 'bridge', 'vxlan', 'netem', 'ip_vs', 'ip6tables-nat', 'ip6tables-notrack'] as const;

if (needs(t, NEEDS)) {
  t.setTimeout(patient(110_000));
  const mesh = new MeshLab('ipvs', FAMILIES);
  t.teardown(() => mesh.down());
  await mesh.network();
  // Delay and its spread reorder too. Each way of a round trip passes one of them.
  for (const node of NODES) mesh.sh(mesh.netns(node), 'tc qdisc add dev u0 root netem delay 10ms 5ms loss 3%');
  await mesh.up();
  const caller = mesh.container(3);

  for (const of of FAMILIES) {
    const targets = { 'a container': appAddress(23, of), 'a VIP': VIP[of] };
    for (const [what, host] of Object.entries(targets)) {
      t.test(`IPv${of}: ${what} sends megabytes`, { timeout: patient(30_000) }, async (t) => {
        t.equal(await caller.download(host, TARGET, BYTES, TIME_MS), BYTES);
      });

      t.test(`IPv${of}: a client of ${what} that asks again is answered by UDP`, async (t) => {
        for (let i = 0; i < 10; i++) {
          const answered = async () => {
            const [word = ''] = Object.keys(await caller.ask('udp', host, TARGET, 1, 500));
            return /^b\d /.test(word);
          };
          await until('an answer', answered, 5000);
        }
        t.pass('each request was answered in the end');
      });
    }
  }

  t.test('packets were lost indeed', async (t) => {
    // A node may have sent so few that none of them fell.
    const shown = NODES.map((node) => mesh.sh(mesh.netns(node), 'tc -s qdisc show dev u0'));
    for (const one of shown) t.match(one, /netem .*loss 3%/);
    t.match(shown.join(''), /dropped [1-9]/);
  });

  t.test('lost probes do not make a path narrow, and gossip is applied', async (t) => {
    await mesh.change('b3', { state: 'draining' });
    await mesh.change('b3', {});
    const wide = async () => /paths +.*2 as wide/.test(await mesh.lab.node(3).must('status'));
    await until('both paths are measured', wide, 20_000);
    t.notMatch(mesh.sh(mesh.netns(3), 'ip route show proto 87'), / mtu /);
  });
}
