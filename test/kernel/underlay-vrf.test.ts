import t from 'tap';
import { Lab, type LabNode, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { connectAll, lastAdoption, lost, standing } from '../support/overlay.js';

const tuned = patient(60_000);
const TABLE = '10';

/** Puts the node's uplink into a VRF, whose table then has the only way to the other nodes. */
async function enslave(node: LabNode): Promise<void> {
  const uplink = `192.168.${node.subnet}`;
  for (const command of [
    `link add blue type vrf table ${TABLE}`,
    'link set blue up',
    'link set u0 master blue',
    `route replace default via ${uplink}.254 dev u0 mtu 1400 table ${TABLE}`,
  ]) {
    const { code, stderr } = await node.exec('ip', ...command.split(' '));
    if (code !== 0) throw new Error(`ip ${command}: ${stderr}`);
  }
}

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'vrf', 'ip', 'iptables'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 2, agents: false });
  t.teardown(() => lab.down());
  const n1 = lab.node(1);
  for (const node of lab.nodes) await enslave(node);
  // The program makes a whole table with its built-in chains when it is first asked for one, and never removes it.
  for (const program of ['iptables', 'ip6tables']) {
    for (const table of ['filter', 'nat', 'raw', 'mangle']) await n1.exec(program, '-t', table, '-S');
  }
  const settled = async () => (await standing(n1)).replace(/.*fe80:.*\n/g, '');
  const before = await settled();
  await connectAll(lab);
  const biggest = ['-M', 'do', '-s', String(1350 - 28), '-i', '0.1'];

  t.test('outside the VRF there is no way to the other node', { timeout: tuned }, async (t) => {
    t.equal((await n1.exec('ip', 'route', 'show', 'default', 'table', 'main')).stdout, '');
  });

  t.test('containers reach each other; the MTU is that of the route in the VRF', { timeout: tuned }, async (t) => {
    const mtu = async () => (await n1.execIn('c1', 'ip', '-o', 'link', 'show', 'eth0')).stdout;
    await until('the MTU is that of the route', async () => / mtu 1350 /.test(await mtu()), 10_000);
    t.equal(await lost(n1, 'c1', '10.20.0.12', 2, ...biggest), 0);
    t.equal(await lost(lab.node(2), 'c2', '10.20.0.11', 2, ...biggest), 0);
  });

  t.test('the probe measures the path', { timeout: tuned }, async (t) => {
    for (const node of lab.nodes) {
      await until('measured', async () => /paths +.*1 as wide/.test(await node.must('status')), 20_000);
    }
    t.match((await n1.exec('ss', '-Hlun', 'sport', '=', ':4798')).stdout, /192\.168\.71\.1%blue:/);
  });

  t.test('a restart changes nothing', { timeout: tuned }, async (t) => {
    await n1.restart();
    t.match(lastAdoption(n1), /, 0 changes$/);
    t.equal(await lost(n1, 'c1', '10.20.0.12', 2), 0);
  });

  t.test('no trouble; down leaves what was there before', { timeout: tuned }, async (t) => {
    t.same(
      (await n1.events()).filter(({ type }) => type !== 'change').map(({ message }) => message),
      [],
    );
    await n1.must('down');
    t.equal(await settled(), before);
  });
}
