import t, { type Test } from 'tap';
import { Lab, patient, until } from '../support/lab.js';
import { missing, needs } from '../support/needs.js';
import { connectAll, lastAdoption, reaches } from '../support/overlay.js';

/** The same over an underlay of either family. */
async function cases(t: Test, underlay: 4 | 6): Promise<void> {
  const program = underlay === 4 ? 'iptables' : 'ip6tables';
  const lab = await Lab.up({ nodes: 2, agents: false, underlay });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];
  await connectAll(lab);
  // A rule of the node's own that wants connections tracked, in case weft's of this family do not.
  await n1.exec(program, '-A', 'INPUT', '-m', 'conntrack', '--ctstate', 'ESTABLISHED', '-j', 'ACCEPT');
  const guarded = missing(['nft-inet']) === '';
  const flows = async () => (await n1.exec('conntrack', '-L', '-f', `ipv${underlay}`)).stdout;

  t.test('tunnel packets are no flows of the underlay, both ways', async (t) => {
    t.ok(await reaches(n1, 'c1', '10.20.0.12'));
    t.ok(await reaches(n2, 'c2', '10.20.0.11'));
    t.equal((await n1.exec('ping', '-c1', n2.vtep)).code, 0);
    t.match(await flows(), `dst=${n2.vtep}`, 'others are: connection tracking is at work');
    t.notMatch(await flows(), 'dport=4789');
  });

  t.test('and become none when somebody takes the rules away', async (t) => {
    const commands = guarded
      ? ['nft delete table inet weft']
      : [`${program} -t raw -F WEFT-RAW-IN`, `${program} -t raw -F WEFT-RAW-OUT`];
    for (const command of commands) t.equal((await n1.exec(...command.split(' '))).code, 0, command);
    const rules = guarded ? ['nft', 'list', 'ruleset'] : [`${program}-save`, '-t', 'raw'];
    await until('the rules are back', async () => {
      const { stdout } = await n1.exec(...rules);
      return (stdout.match(/notrack/g)?.length ?? 0) >= 2;
    });
    await n1.exec('conntrack', '-F', '-f', `ipv${underlay}`);
    t.ok(await reaches(n1, 'c1', '10.20.0.12'));
    t.notMatch(await flows(), 'dport=4789');
    await n1.restart();
    t.match(lastAdoption(n1), /, 0 changes$/);
  });

  t.test('status says whether frames are checked, and what helps where they are not', async (t) => {
    const status = await n1.must('status');
    if (guarded) t.match(status, /guard +on, 0 packets dropped/);
    else t.match(status, /guard +off: the kernel has no nf_tables of family inet.*CONFIG_NF_TABLES_INET/);
    t.match(status, /phase +ready/);
  });
}

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'ip6tables', 'conntrack'])) {
  t.setTimeout(patient(110_000));
  for (const underlay of [4, 6] as const)
    await t.test(`underlay of IPv${underlay}`, { timeout: patient(50_000) }, (t) => cases(t, underlay));
}
