import { spawn } from 'node:child_process';
import type { Test } from 'tap';
import { bridgeMac, endpointMac } from '../../src/base/mac.js';
import { Lab, type LabNode, patient, until } from './lab.js';
import { needs } from './needs.js';
import { connectAll, lastAdoption, lost } from './overlay.js';
import { type Forged, vxlanPayload } from './vxlan-frame.js';

const PORT = 9999;
const VNI = 4097;
/** Sends hex bytes from a host to the data path port. */
const SEND = `const s = require('node:dgram').createSocket(process.argv[3]);
s.send(Buffer.from(process.argv[2], 'hex'), 4789, process.argv[1], () => s.close());`;

/** What the guard of the data path port lets through and what it does not, over an underlay of one family. */
export async function guardCases(t: Test, underlay: 4 | 6): Promise<void> {
  if (!needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'nft', 'nft-inet', 'iptables', 'socat'])) return;
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 3, agents: false, underlay });
  t.teardown(() => lab.down());
  const [n1, n2, n3] = [lab.node(1), lab.node(2), lab.node(3)];
  await connectAll(lab);
  await n1.must('network', 'create', 'other', '--subnet', '10.21.0.0/24', '--vni', '4098', '--wait');

  let heard = '';
  const ear = spawn('nsenter', [`--net=${n1.pin('c1')}`, 'socat', '-u', `UDP-RECV:${PORT}`, 'STDOUT']);
  ear.stdout.on('data', (bytes) => {
    heard += String(bytes);
  });
  t.teardown(() => ear.kill());

  let count = 0;
  const genuine: Forged = {
    vni: VNI,
    fromMac: endpointMac('10.20.0.12'),
    toMac: endpointMac('10.20.0.11'),
    from: '10.20.0.12',
    to: '10.20.0.11',
    port: PORT,
    text: '',
  };
  /** Sends a frame from a node's own address to n1. @returns its text */
  const send = async (from: LabNode, change: Partial<Forged> = {}): Promise<string> => {
    const text = `<${++count}>`;
    const bytes = vxlanPayload({ ...genuine, ...change, text });
    const { code, stderr } = await from.exec(
      process.execPath,
      '-e',
      SEND,
      n1.vtep,
      bytes.toString('hex'),
      `udp${underlay}`,
    );
    if (code !== 0) throw new Error(stderr);
    return text;
  };
  const dropped = async (): Promise<number> => {
    const { guard } = await n1.api.get<{ guard: { on: boolean; dropped: number } }>('/v1/status');
    return guard.dropped;
  };
  const arrives = (text: string) => until(`${text} arrives`, () => heard.includes(text));

  t.test('frames of peers pass, and those of their node’s bridge', async (t) => {
    await until('there is a listener', async () => (await n1.execIn('c1', 'ss', '-lunH')).stdout.includes(`:${PORT}`));
    for (const node of [n1, n2, n3]) t.equal(await lost(node, `c${node.number}`, '10.20.0.11', 2, '-i', '0.1'), 0);
    await arrives(await send(n2));
    await arrives(await send(n2, { fromMac: bridgeMac(n2.vtep) }));
    t.equal(await dropped(), 0);
    t.match(await n1.must('status'), /guard +on, 0 packets dropped/);
  });

  t.test('all others are dropped and counted', async (t) => {
    const forgeries: [what: string, from: LabNode, change: Partial<Forged>][] = [
      ['a peer’s MAC from another node', n3, {}],
      ['a MAC of nobody from a known node', n2, { fromMac: '02:42:0a:14:00:63' }],
      ['the MAC of another node’s bridge', n2, { fromMac: bridgeMac(n3.vtep) }],
      ['a peer’s MAC on a network it is not on', n2, { vni: 4098 }],
    ];
    for (const [what, from, change] of forgeries) {
      const before = await dropped();
      const text = await send(from, change);
      await until(`${what} is counted`, async () => (await dropped()) === before + 1);
      t.notOk(heard.includes(text), what);
    }
    const before = await dropped();
    await n3.exec(
      process.execPath,
      '-e',
      SEND,
      n1.vtep,
      `08000000${VNI.toString(16).padStart(6, '0')}00ff`,
      `udp${underlay}`,
    );
    await until('a stump without inner frame is counted', async () => (await dropped()) === before + 1);
  });

  t.test('tunnels of others on the same port work', async (t) => {
    for (const [node, other, number] of [
      [n1, n2, 1],
      [n2, n1, 2],
    ] as const) {
      const made = `vx9 type vxlan id 99 dstport 4789 local ${node.vtep} remote ${other.vtep}`;
      for (const command of [`ip link add ${made}`, `ip addr add 10.99.0.${number}/24 dev vx9`, 'ip link set vx9 up']) {
        t.equal((await node.exec(...command.split(' '))).code, 0, command);
      }
    }
    t.equal((await n1.exec('ping', '-c1', '-W2', '10.99.0.2')).code, 0);
    for (const node of [n1, n2]) await node.exec('ip', 'link', 'del', 'vx9');
  });

  t.test('without the guard forged frames would arrive; a new agent puts it back', async (t) => {
    await n1.kill9();
    await n1.exec('nft', 'delete', 'table', 'inet', 'weft');
    await arrives(await send(n3));
    await n1.start();
    t.match(lastAdoption(n1), /, [1-9]\d* changes$/);
    const text = await send(n3);
    await until('it is dropped', async () => (await dropped()) === 1);
    t.notOk(heard.includes(text));
    await n1.restart();
    t.match(lastAdoption(n1), /, 0 changes$/);
    t.equal(await dropped(), 1, 'the count outlives the agent');
  });

  t.test('drift is put back', async (t) => {
    const key = `${n2.vtep} . ${VNI} . 0x${genuine.fromMac.replaceAll(':', '')}`;
    const sabotage = [
      `delete element inet weft peers${underlay} { ${key} }`,
      `delete element inet weft vnis { ${VNI} }`,
      'flush chain inet weft guard',
    ];
    const { stdout } = await n1.exec('nft', 'list', 'ruleset');
    for (const command of sabotage) {
      const { code, stderr } = await n1.exec('nft', ...command.split(' '));
      t.equal(code, 0, `${command}: ${stderr}`);
      await until(`${command} is undone`, async () => {
        const now = (await n1.exec('nft', 'list', 'ruleset')).stdout;
        const same = (text: string) =>
          text
            .split(/\n|, /)
            .map((s) => s.replace(/packets \d+ bytes \d+/, '').trim())
            .sort();
        return same(now).join() === same(stdout).join();
      });
    }
    t.equal(await lost(n1, 'c1', '10.20.0.12', 2, '-i', '0.1'), 0);
  });

  t.test('an endpoint that moves is heard from its new node, and no longer from its old one', async (t) => {
    await n2.must('disconnect', 'c2', 'app', '--wait');
    const gone = '{"table":"peers","op":"delete","key":"n2/c2:app","node":"n2","ltime":1000000}';
    for (const node of [n1, n3]) await node.api.post('/v1/gossip?wait=applied', gone);
    await n3.must('sandbox', 'create', 'c4');
    await n3.must('connect', 'c4', 'app', '--ip', '10.20.0.12', '--wait');
    await lab.exchangeGossip([n1, n3]);
    t.equal(await lost(n3, 'c4', '10.20.0.11', 2, '-i', '0.1'), 0);
    const before = await dropped();
    const text = await send(n2);
    await until('it is dropped', async () => (await dropped()) === before + 1);
    t.notOk(heard.includes(text));
  });

  t.test('nothing of it stays when the last network goes', async (t) => {
    await n1.must('down');
    t.notMatch((await n1.exec('nft', 'list', 'ruleset')).stdout, 'inet weft');
  });
}
