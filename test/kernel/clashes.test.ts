import { spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ApiClient } from '../../src/api/client.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { Lab, outcomeOf, patient, until } from '../support/lab.js';
import { needs } from '../support/needs.js';

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'socat'])) {
  t.setTimeout(patient(110_000));
  const limited = { timeout: patient(60_000) };
  const lab = await Lab.up({ nodes: 1 });
  const n1 = lab.node(1);
  const blue = `w${process.pid}blue`;
  t.teardown(async () => {
    await outcomeOf('ip', ['netns', 'del', blue]);
    await lab.down();
  });

  const statusOf = async (network: string, api = n1.api) =>
    (await api.get<{ status: { phase: string; reason?: string; hint?: string } }>(`/v1/networks/${network}`)).status;
  const ready = (network: string, api = n1.api) =>
    until(`${network} is ready`, async () => (await statusOf(network, api)).phase === 'ready', 40_000);
  const degraded = async (network: string, api = n1.api) => {
    await until(`${network} is degraded`, async () => (await statusOf(network, api)).phase === 'degraded');
    return statusOf(network, api);
  };
  const create = (network: string, n: number, vni: number) =>
    n1.must('network', 'create', network, '--subnet', `10.2${n}.0.0/24`, '--vni', String(vni));
  const ip = async (...args: string[]) => {
    const { code, stderr } = await n1.exec('ip', ...args);
    if (code !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
  };

  t.test('a program on the data path port is named; the tunnel comes up when it goes', limited, async (t) => {
    const program = spawn('nsenter', [`--net=/run/netns/${n1.ns}`, 'socat', '-u', 'UDP-RECV:4789', 'STDOUT']);
    t.teardown(() => program.kill());
    await until('it listens', async () => (await n1.exec('ss', '-lunH', 'sport = 4789')).stdout !== '');
    await create('app', 0, 4097);
    const { reason, hint } = await degraded('app');
    t.equal(reason, `UDP port 4789 is taken by socat (pid ${program.pid})`);
    t.match(hint, /end it, or give weft another --data-path-port/);
    t.match(await n1.must('status'), /network\/app: WEFT_CONFLICT: UDP port 4789/);
    program.kill();
    await ready('app');
    await n1.must('network', 'rm', 'app', '--wait');
  });

  t.test('so is a device that takes every VNI there', limited, async (t) => {
    await ip('link', 'add', 'vxall', 'type', 'vxlan', 'external', 'dstport', '4789');
    await ip('link', 'set', 'vxall', 'up');
    await create('app', 0, 4097);
    const { reason } = await degraded('app');
    t.match(reason, /^UDP port 4789 is taken by VXLAN device \(external: every VNI\) vxall in /);
    await ip('link', 'del', 'vxall');
    await ready('app');
  });

  t.test('a device of somebody else with the VNI is named, wherever it is, and left alone', limited, async (t) => {
    await outcomeOf('ip', ['netns', 'add', blue]);
    await ip('link', 'add', 'vx9', 'type', 'vxlan', 'id', '4099', 'dstport', '4789', 'local', n1.vtep);
    await ip('link', 'set', 'vx9', 'netns', blue);
    await create('second', 1, 4099);
    const { reason, hint } = await degraded('second');
    t.equal(reason, `VNI 4099 with UDP port 4789 is taken by VXLAN device vx9 in /run/netns/${blue}`);
    t.match(hint, /delete that device, or create the network anew with another VNI/);
    t.equal((await statusOf('app')).phase, 'ready', 'other networks are well');
    t.equal((await outcomeOf('ip', ['-n', blue, 'link', 'show', 'vx9'])).code, 0);
    await outcomeOf('ip', ['-n', blue, 'link', 'del', 'vx9']);
    await ready('second');
    await n1.must('network', 'rm', 'second', '--wait');
  });

  t.test('a tunnel in a namespace that only a process keeps alive makes room', limited, async (t) => {
    const pin = n1.pin('net-app');
    const inside = spawn('nsenter', [`--net=${pin}`, 'sleep', '600']);
    t.teardown(() => inside.kill());
    const own = readlinkSync('/proc/self/ns/net');
    await until('it is inside', () => readlinkSync(`/proc/${inside.pid}/ns/net`) !== own);
    const tunnel = () => outcomeOf('nsenter', [`--net=/proc/${inside.pid}/ns/net`, 'ip', 'link', 'show', 'vxlan0']);
    t.equal((await tunnel()).code, 0);
    await n1.kill9();
    loadNative().netnsDelete(pin);
    await n1.start();
    await ready('app');
    t.not((await tunnel()).code, 0, 'the old one is gone');
    t.equal((await n1.execIn('net-app', 'ip', 'link', 'show', 'vxlan0')).code, 0);
    t.notMatch(n1.log(), /WEFT_CONFLICT/);
  });

  t.test('another agent’s tunnels are its own while it lives, and leftovers after that', limited, async (t) => {
    const runDir = join(lab.dir, 'second');
    const api = new ApiClient(join(runDir, 'weft.sock'));
    const args = ['--run-dir', runDir, '--state-dir', join(lab.dir, 'second-state')];
    const [program, ...rest] = n1.command(...args);
    const agent = spawn(program as string, rest, { stdio: 'ignore' });
    t.teardown(() => agent.kill('SIGKILL'));
    await until('it answers', () => api.get('/v1/status').catch(() => false), 20_000);
    await api.put('/v1/networks/same', { subnets: ['10.20.0.0/24'], vni: 4097 });
    t.match(
      (await degraded('same', api)).reason,
      /VNI 4097 .* is taken by VXLAN device vxlan0 in .*\/run1\/netns\/net-app$/,
    );
    t.equal((await statusOf('app')).phase, 'ready');
    await n1.kill9();
    await ready('same', api);
    t.not((await n1.execIn('net-app', 'ip', 'link', 'show', 'vxlan0')).code, 0);
    await api.post('/v1/down');
  });
}
