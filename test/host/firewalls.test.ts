import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DOCKER, DOCKER_FIRST, FIREWALLD } from '../support/foreign-rules.js';
import { Lab, patient, until } from '../support/lab.js';
import { missing, needs } from '../support/needs.js';
import { lost } from '../support/overlay.js';
import { PATIENCE_MS, Traffic } from '../support/traffic-port.js';

/*
 * Node 1 has the firewalls of others: FORWARD policy DROP, dockerd's chains, firewalld's table, bridge-nf-call-iptables and
 * strict reverse path filters. Overlay, way out, the mesh and mode host pass all the same, and theirs stay as they are.
 */

const CLIENT = '192.168.70.1';
/** The part of a test that says what is right. */
type Asserts = Pick<typeof t, 'equal' | 'same'>;

if (needs(t, ['root', 'vxlan', 'nft-bridge', 'iptables-nat', 'ip'])) {
  t.setTimeout(patient(110_000));
  const lab = await Lab.up({ nodes: 2, client: true, agents: false });
  const [n1, n2] = [lab.node(1), lab.node(2)];
  const traffic: Traffic[] = [];
  t.teardown(async () => {
    await Promise.all(traffic.map((one) => one.stop()));
    await lab.down();
  });
  const trafficIn = (name: string, netns: string) => {
    const one = new Traffic(name, netns);
    traffic.push(one);
    return one;
  };
  const hasInet = missing(['nft-inet']) === '';

  /** A shell script on node 1. @throws where it fails */
  const sh = async (script: string): Promise<string> => {
    const { code, stdout, stderr } = await n1.exec('sh', '-ec', script);
    if (code !== 0) throw new Error(`${script}: ${stderr}`);
    return stdout;
  };
  const file = (name: string, text: string): string => {
    const path = join(lab.dir, name);
    writeFileSync(path, text);
    return path;
  };
  const docker = file('docker', DOCKER);
  const firewalld = file('firewalld', FIREWALLD);

  /** All rules that are not weft's, in the words of who reads them; packet counts left out. */
  const foreign = async (): Promise<string> => {
    const saved = await sh('iptables-save; ip6tables-save');
    const rules = saved
      .split('\n')
      .filter((line) => !line.startsWith('#') && !/WEFT-(?!USER)/.test(line))
      .map((line) => line.replace(/ \[\d+:\d+\]$/, ''));
    return `${rules.join('\n')}${hasInet ? await sh('nft list table inet firewalld') : ''}`;
  };
  /** The same without what an agent that is there must have: its chain for the user, and tables with its chains only. */
  const others = (text: string): string[] =>
    text
      .split('\n')
      .filter((line) => !/WEFT-USER|^\*|^COMMIT$|^:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) ACCEPT$/.test(line));

  const build = async (): Promise<void> => {
    for (const node of lab.nodes) {
      await node.must('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
      await node.must('network', 'create', 'ingress', '--ingress', '--subnet', '10.0.0.0/24', '--vni', '4096');
      await node.must('node', 'add', node.name, '--vtep', node.vtep, '--address', `ingress=10.0.0.10${node.number}`);
      await node.must('service', 'create', 'web', '--network', 'app', '--vip', '10.20.0.200', '--publish', '8080:80');
      const [name, host] = [`b${node.number}`, 20 + node.number];
      await node.must('sandbox', 'create', name);
      await node.must('connect', name, 'app', '--ip', `10.20.0.${host}`, '--service', 'web');
      await node.must('connect', name, 'ingress', '--ip', `10.0.0.${host}`, '--service', 'web', '--wait');
    }
    await n1.connect('app', { c1: '10.20.0.11', c2: '10.20.0.12' });
    await n1.must('sandbox', 'publish', 'c1', '8090:80', '--wait');
    await lab.exchangeGossip();
  };

  await sh(`sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
    if [ -e /proc/sys/net/bridge ]; then sysctl -qw net.bridge.bridge-nf-call-iptables=1; fi
    ip route replace default via 192.168.71.254
    iptables-restore --noflush ${docker}; iptables -A INPUT -p tcp --dport 2222 -j DROP
    ${hasInet ? `nft -f ${firewalld}` : ''}`);
  const before = await foreign();
  await n1.start();
  await n2.start();
  await build();
  const outside = trafficIn('x', `/run/netns/${lab.client}`);
  await outside.serve(7000);
  const c1 = trafficIn('c1', n1.pin('c1'));
  const c2 = trafficIn('c2', n1.pin('c2'));
  await c1.serve(80);
  for (const [name, pin] of [
    ['b1', n1.pin('b1')],
    ['b2', n2.pin('b2')],
  ] as const)
    await trafficIn(name, pin).serve(80);

  /** Everything that passes node 1. */
  const passes = async (t: Asserts): Promise<void> => {
    t.equal(await lost(n1, 'c1', '10.20.0.22', 2, '-i', '0.1'), 0, 'overlay');
    t.same(await c2.ask('tcp', '10.20.0.200', 80, 4), { 'b1 10.20.0.12': 2, 'b2 10.20.0.12': 2 }, 'VIP');
    for (const proto of ['tcp', 'udp'] as const)
      t.same(await c1.ask(proto, CLIENT, 7000, 1), { [`x ${n1.vtep}`]: 1 }, `${proto} out by the gateway`);
    t.same(await outside.ask('tcp', n1.vtep, 8080, 4), { [`b1 ${CLIENT}`]: 2, [`b2 ${CLIENT}`]: 2 }, 'the mesh');
    t.same(await outside.ask('tcp', n1.vtep, 8090, 1), { [`c1 ${CLIENT}`]: 1 }, 'mode host');
    t.same(Object.keys(await c2.ask('tcp', n1.vtep, 8090, 1)), ['c1 172.31.0.1'], 'mode host, from a neighbour');
    t.same(Object.values(await c2.ask('tcp', n1.vtep, 8080, 2)), [1, 1], 'the mesh, from a container');
  };

  t.test('with firewalls that were there before', async (t) => {
    await passes(t);
    t.same(others(await foreign()), others(before), 'theirs are as they were');
  });

  t.test('with dockerd started after weft, which puts its jumps first', async (t) => {
    for (const [table, chain, rule] of DOCKER_FIRST)
      await sh(`iptables -t ${table} -D ${chain} ${rule}; iptables -t ${table} -I ${chain} 1 ${rule}`);
    const after = await foreign();
    await passes(t);
    await n1.must('verify', '--repair');
    t.same(others(await foreign()), others(after), 'nobody argues about who is first');
  });

  t.test('the user’s word is the last', async (t) => {
    await sh(
      'iptables -A WEFT-USER -p tcp -m tcp --dport 80 -j DROP; iptables -A WEFT-USER -p udp -m udp --dport 7000 -j REJECT',
    );
    t.same(await outside.ask('tcp', n1.vtep, 8090, 1), { ETIMEDOUT: 1 }, 'mode host');
    t.same(await c1.ask('udp', CLIENT, 7000, 1), { ECONNREFUSED: 1 }, 'the way out');
    await sh('iptables -A WEFT-USER -p tcp -m conntrack --ctorigdstport 8080 -j DROP');
    t.same(await outside.ask('tcp', n1.vtep, 8080, 1), { ETIMEDOUT: 1 }, 'the mesh, by the port that was dialled');
    const filled = await sh('iptables -S WEFT-USER');
    await n1.restart();
    t.match(n1.log(), /adopted \d+ objects, 0 changes/);
    t.equal(await sh('iptables -S WEFT-USER'), filled, 'a restart leaves it');
    await sh('iptables -F WEFT-USER');
    await until(
      'the port answers',
      async () => `c1 ${CLIENT}` in (await outside.ask('tcp', n1.vtep, 8090, 1, PATIENCE_MS)),
    );
  });

  t.test('what is flushed of ours comes back, and theirs are never touched', async (t) => {
    const theirs = await foreign();
    await sh('iptables -F WEFT-FORWARD; iptables -t nat -F WEFT-PORTS; iptables -D FORWARD -j WEFT-FORWARD');
    await until('it is back', async () => /-A FORWARD -j WEFT-FORWARD/.test(await sh('iptables -S')), 10_000);
    await until(
      'the port answers',
      async () => `c1 ${CLIENT}` in (await outside.ask('tcp', n1.vtep, 8090, 1, PATIENCE_MS)),
    );
    t.same(others(await foreign()), others(theirs));
    await passes(t);
    await n1.must('down');
    t.same(others(await foreign()), others(theirs), 'after weft');
    t.notMatch(await sh('iptables-save; ip6tables-save'), /WEFT/);
  });
}
