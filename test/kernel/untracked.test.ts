import t from 'tap';
import { Lab, patient, until } from '../support/lab.js';
import { missing, needs } from '../support/needs.js';
import { connectAll, lastAdoption, reaches } from '../support/overlay.js';

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'conntrack'])) {
  t.setTimeout(patient(60_000));
  const lab = await Lab.up({ nodes: 2, agents: false });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];
  await connectAll(lab);
  const guarded = missing(['nft-inet']) === '';
  const flows = async () => (await n1.exec('conntrack', '-L')).stdout;

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
      : ['iptables -t raw -F WEFT-RAW-IN', 'iptables -t raw -F WEFT-RAW-OUT'];
    for (const command of commands) t.equal((await n1.exec(...command.split(' '))).code, 0, command);
    const rules = guarded ? ['nft', 'list', 'ruleset'] : ['iptables-save', '-t', 'raw'];
    await until('the rules are back', async () => {
      const { stdout } = await n1.exec(...rules);
      return (stdout.match(/notrack/g)?.length ?? 0) >= 2;
    });
    await n1.exec('conntrack', '-F');
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
