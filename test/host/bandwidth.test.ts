import { spawn } from 'node:child_process';
import t from 'tap';
import { Lab, type LabNode, patient, until } from '../support/lab.js';
import { inGuest, needs } from '../support/needs.js';

const PORT = 7000;
/** Behaviour 45: how far what a TCP user gets may be from the limit. */
const TOLERANCE = 0.1;
/** Mbit/s; guests are slow. */
const UNIT = inGuest() ? 1 : 4;
const [IN, OUT] = [4 * UNIT * 1e6, 2 * UNIT * 1e6];
const mbit = (bits: number): string => `${bits / 1e6}mbit`;

/** One row of `tc -j qdisc show`. */
interface Row {
  kind: string;
  handle: string;
  dev: string;
  root?: boolean;
  options: { rate?: number; burst?: number; lat?: number };
}

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables', 'socat', 'tbf', 'ifb-redirect'])) {
  t.setTimeout(patient(115_000));
  const lab = await Lab.up({ nodes: 2 });
  t.teardown(() => lab.down());
  const [n1, n2] = [lab.node(1), lab.node(2)];
  const subnets = ['--subnet', '10.20.0.0/24', '--subnet', 'fd00:20::/64'];
  for (const node of lab.nodes) await node.must('network', 'create', 'app', ...subnets, '--vni', '4097');
  const hosts: [LabNode, string, string][] = [
    [n1, 'c1', '11'],
    [n1, 'c3', '13'],
    [n2, 'c2', '12'],
  ];
  for (const [node, name, host] of hosts) {
    await node.must('sandbox', 'create', name);
    await node.must('connect', name, 'app', '--ip', `10.20.0.${host}`, '--ip', `fd00:20::${host}`, '--wait');
  }
  await lab.exchangeGossip();

  /** Zeros without end, for whoever connects. */
  for (const [node, name] of hosts) {
    const words = ['socat', '-u', '/dev/zero', `TCP6-LISTEN:${PORT},fork,reuseaddr,ipv6only=0`];
    const server = spawn('nsenter', [`--net=${node.pin(name)}`, ...words], { stdio: 'ignore' });
    t.teardown(() => server.kill('SIGKILL'));
    await until(`${name} serves`, async () => (await node.execIn(name, 'ss', '-ltn')).stdout.includes(`:${PORT}`));
  }

  /** Bits a second, from the first bytes on, of a download that takes three seconds at the limit. */
  const rate = async ([node, client]: readonly [LabNode, string], host: string, limit: number): Promise<number> => {
    const script = `
      const socket = require('net').connect(${PORT}, '${host}');
      let began, bytes = 0;
      socket.on('data', (chunk) => {
        if (began === undefined) began = performance.now();
        else bytes += chunk.length;
        if (bytes < ${Math.round((limit * 3) / 8)}) return;
        console.log(bytes * 8000 / (performance.now() - began));
        process.exit(0);
      });`;
    const { code, stdout, stderr } = await node.execIn(client, process.execPath, '-e', script);
    t.equal(code, 0, stderr);
    return Number(stdout);
  };
  const [c1, c2, c3] = [[n1, 'c1'] as const, [n2, 'c2'] as const, [n1, 'c3'] as const];
  /** A machine with other things to do may be slower for a while, but never faster. */
  const holds = async (what: string, client: readonly [LabNode, string], host: string, limit: number) => {
    let best = 0;
    for (let tries = 3; tries > 0 && best < limit * (1 - TOLERANCE); tries--) {
      const measured = await rate(client, host, limit);
      best = Math.max(best, measured);
    }
    const found = `${what}: ${(best / limit).toFixed(3)} of ${limit / 1e6} Mbit/s`;
    t.ok(best <= limit * (1 + TOLERANCE), `${found}, no faster than the limit`);
    t.ok(best >= limit * (1 - TOLERANCE), `${found}, no slower than the limit`);
  };
  const qdiscs = async (node: LabNode, ns: string): Promise<Row[]> =>
    (JSON.parse((await node.execIn(ns, 'tc', '-j', 'qdisc', 'show')).stdout) as Row[]).filter((q) => q.handle !== '0:');
  const links = async (): Promise<string[]> =>
    (
      JSON.parse((await n1.execIn('net-app', 'ip', '-j', 'link', 'show')).stdout) as {
        ifindex: number;
        ifname: string;
      }[]
    )
      .map((link) => `${link.ifindex} ${link.ifname}`)
      .filter((text) => / w[fi]/.test(text));
  const wait = ['--wait', '--timeout', String(patient(10))];
  const limits = async (...options: string[]) => {
    await n1.must('connect', 'c1', 'app', ...options, ...wait);
  };
  const unlimited = await links();

  t.test('each direction has its own limit, which a TCP flow fills', { timeout: patient(90_000) }, async (t) => {
    await limits('--rate-in', mbit(IN), '--rate-out', mbit(OUT));
    await holds('into the sandbox, from another node', c1, '10.20.0.12', IN);
    await holds('out of the sandbox, to another node', c2, '10.20.0.11', OUT);
    await holds('into the sandbox, from the same node, IPv6', c1, 'fd00:20::13', IN);
    await holds('out of the sandbox, to another node, IPv6', c2, 'fd00:20::11', OUT);
    t.ok((await rate(c3, '10.20.0.12', 2 * IN)) > 1.25 * IN, 'a neighbour is not limited');
    t.same((await qdiscs(n1, 'net-app')).map((q) => [q.kind, q.handle, q.options.rate ?? 0]).sort(), [
      ['ingress', 'ffff:', 0],
      ['tbf', '57:', OUT / 8],
      ['tbf', '57:', IN / 8],
    ]);
  });

  t.test('a limit changes and goes without touching the link', { timeout: patient(30_000) }, async (t) => {
    await limits('--rate-in', mbit(OUT / 2));
    t.same(
      (await qdiscs(n1, 'net-app')).map((q) => [q.kind, q.options.rate]),
      [['tbf', OUT / 16]],
    );
    t.same(await links(), unlimited);
    await holds('the new limit', c1, '10.20.0.12', OUT / 2);
    await limits();
    t.same(await qdiscs(n1, 'net-app'), []);
    t.same(await links(), unlimited);
  });

  t.test('what others change is put back; what others have on devices without a limit stays', async (t) => {
    await limits('--rate-in', '4mbit', '--rate-out', '4mbit');
    const before = JSON.stringify(await qdiscs(n1, 'net-app'));
    const shaped = (await qdiscs(n1, 'net-app')).find((q) => q.kind === 'ingress')?.dev as string;
    const other = unlimited.map((text) => text.split(' ')[1] as string).find((name) => name !== shaped) as string;
    const tc = async (...words: string[]) => {
      const { code, stderr } = await n1.execIn('net-app', 'tc', ...words);
      t.equal(code, 0, `tc ${words.join(' ')} ${stderr}`);
    };
    await tc('qdisc', 'add', 'dev', other, 'root', 'tbf', 'rate', '1gbit', 'burst', '100k', 'limit', '1m');
    const foreign = (await qdiscs(n1, 'net-app')).find((q) => q.dev === other);
    for (const words of [
      `qdisc del dev ${shaped} root`,
      `qdisc replace dev ${shaped} root tbf rate 1mbit burst 10k limit 10k`,
      `qdisc change dev ${shaped} root handle 57: tbf rate 1mbit burst 10k limit 10k`,
      `qdisc replace dev ${shaped} root handle 9: pfifo limit 3`,
      `qdisc del dev ${shaped} ingress`,
      `filter del dev ${shaped} ingress pref 87`,
    ]) {
      await tc(...words.split(' '));
      await until(`repaired: ${words}`, async () => {
        const now = (await qdiscs(n1, 'net-app')).filter((q) => q.dev !== other);
        const filters = (await n1.execIn('net-app', 'tc', 'filter', 'show', 'dev', shaped, 'ingress')).stdout;
        return JSON.stringify(now) === before && /pref 87[\s\S]*Redirect to device wi/.test(filters);
      });
    }
    t.same(
      (await qdiscs(n1, 'net-app')).find((q) => q.dev === other),
      foreign,
    );
    await tc('qdisc', 'del', 'dev', other, 'root');
  });

  t.test('on a bridge network too', { timeout: patient(60_000) }, async (t) => {
    const subnets = ['--subnet', '10.60.0.0/24', '--subnet', 'fd00:60::/64'];
    await n1.must('network', 'create', 'lan', '--driver', 'bridge', ...subnets);
    await n1.must('connect', 'c3', 'lan', '--ip', '10.60.0.13', '--ip', 'fd00:60::13', ...wait);
    const rates = ['--rate-in', mbit(IN), '--rate-out', mbit(OUT)];
    await n1.must('connect', 'c1', 'lan', '--ip', '10.60.0.11', '--ip', 'fd00:60::11', ...rates, ...wait);
    await holds('into the sandbox, by a bridge', c1, '10.60.0.13', IN);
    await holds('out of the sandbox, by a bridge, IPv6', c3, 'fd00:60::11', OUT);
    await n1.must('disconnect', 'c1', 'lan', ...wait);
    const left = await n1.exec('tc', 'qdisc', 'show');
    t.notMatch(left.stdout, /57:|ingress/);
    await n1.must('disconnect', 'c3', 'lan', ...wait);
    await n1.must('network', 'rm', 'lan', ...wait);
  });

  t.test('a killed agent finds its limits and changes nothing; a disconnect leaves nothing', async (t) => {
    await n1.restart();
    t.match(
      n1
        .log()
        .split('\n')
        .reverse()
        .find((line) => line.includes('adopted')),
      /adopted \d+ objects, 0 changes/,
    );
    await n1.must('disconnect', 'c1', 'app', ...wait);
    t.same(await qdiscs(n1, 'net-app'), []);
    t.equal((await links()).length, unlimited.length - 1);
  });
}
