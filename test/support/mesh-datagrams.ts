import type { Test } from 'tap';
import type { Family } from '../../src/base/ip.js';
import { until } from './lab.js';
import { type MeshLab, PUBLISHED, REPLICA_NAMES, TARGET, underlay, VIP } from './mesh-lab.js';

const LATE = 9090;
/** Of the same tasks; who answers there says so. */
const OTHER = 81;

/** A flow of datagrams has no end: it follows its port, whatever it was when the flow began. */
export async function datagrams(t: Test, lab: MeshLab, of: Family): Promise<void> {
  const client = lab.outside;
  const [iptables, icmp] = of === 4 ? ['iptables', 'icmp'] : ['ip6tables', 'ipv6-icmp'];
  const unreachable = `-p ${icmp} --${of === 4 ? 'icmp-type destination-unreachable' : 'icmpv6-type destination-unreachable'}`;
  // The kernel would end the client's socket, and another would have another port.
  const deaf = (verb: '-I' | '-D') => lab.sh(lab.netns('client'), `${iptables} ${verb} INPUT ${unreachable} -j DROP`);
  const tracked = () =>
    lab
      .sh(lab.netns(1), `conntrack -L -f ipv${of} -p udp --dport ${LATE} 2>/dev/null`)
      .trim()
      .split('\n')
      .filter(Boolean);
  const udp = (published: number, target = TARGET) => ({ published, target, proto: 'udp' });
  const tcp = { published: PUBLISHED, target: TARGET, proto: 'tcp' };

  deaf('-I');
  await client.open('early', 'udp', underlay(1, of), LATE);
  t.equal(await client.say('early'), 'ETIMEDOUT', 'nobody answers');
  t.match(tracked(), [/UNREPLIED/], 'and the node remembers that');
  await lab.service({ publish: [tcp, udp(PUBLISHED), udp(LATE)] });
  t.match(await client.say('early'), /^b[123] /, 'published, the same flow is answered');

  for (const name of REPLICA_NAMES) await lab.replica(name).serve(OTHER, `other-${name}`);
  const c1 = lab.container(1);
  await c1.open('declared', 'udp', VIP[of], LATE);
  const declare = (target: number) =>
    lab.service({ publish: [tcp, udp(PUBLISHED), udp(LATE, target)], ports: [{ port: LATE, target, proto: 'udp' }] });
  await declare(TARGET);
  t.match(await c1.say('declared'), /^b[123] /, 'declared');
  await declare(OTHER);
  for (const [from, flow] of [
    [client, 'early'],
    [c1, 'declared'],
  ] as const)
    t.match(
      await from.say(flow),
      /^other-b[123] /,
      `${flow}: the same flow, when the target is another port of the task`,
    );
  await c1.close('declared');
  for (const name of REPLICA_NAMES) await lab.replica(name).deafen(OTHER);

  await lab.service({});
  await until('nobody answers again', async () => (await client.say('early')) === 'ETIMEDOUT', 10_000);
  t.notOk(
    tracked().some((flow) => !flow.includes('UNREPLIED')),
    'the flow into the mesh is forgotten',
  );
  await client.close('early');
  deaf('-D');
}
