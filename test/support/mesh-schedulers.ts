import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Family } from '../../src/base/ip.js';
import { until } from './lab.js';
import type { Tally } from './load.js';
import type { MeshLab } from './mesh-lab.js';
import { appAddress, NODES, PUBLISHED, REPLICA_NAMES, REPLICAS, TARGET, underlay, VIP } from './mesh-lab.js';

/** How often each replica answered, whoever it saw. */
export function byReplica(tally: Tally): Tally {
  const out: Tally = {};
  for (const [word, n] of Object.entries(tally)) {
    const name = word.split(' ')[0] as string;
    out[name] = (out[name] ?? 0) + n;
  }
  return out;
}

/** What a balancer's own tool says of the service in the namespace of network app. */
const listing = (lab: MeshLab): string =>
  lab.sh(lab.pin(1, 'net-app'), lab.lb === 'ipvs' ? 'ipvsadm -Ln' : 'nft list table bridge weft');

/**
 * Who gets a new connection, by scheduler and weights, in a mesh that is up. Exact where the scheduler promises it. Leaves
 * the service and its replicas as it found them.
 */
export function schedulerCases(lab: MeshLab, of: Family): void {
  const byVip = async (times: number) => byReplica(await lab.container(1).ask('tcp', VIP[of], TARGET, times));
  const through = async (node: 1 | 2 | 3, times: number) =>
    byReplica(await lab.outside.ask('tcp', underlay(node, of), PUBLISHED, times));

  t.test('wrr: shares as weighted, and as weighted anew; a canary gets 1 %', async (t) => {
    await lab.service({ scheduler: 'wrr' });
    await lab.change('b1', { weight: 2 });
    await lab.change('b2', { weight: 3 });
    t.same(await byVip(30), { b1: 10, b2: 15, b3: 5 });
    for (const i of NODES) t.same(await through(i, 12), { b1: 4, b2: 6, b3: 2 }, `node ${i}`);
    await lab.change('b1', { weight: 0 });
    await lab.change('b2', { weight: 99 });
    t.same(await byVip(100), { b2: 99, b3: 1 });
    if (lab.lb === 'ipvs') t.match(listing(lab), /^FWM .*wrr[\s\S]*Route +0 [\s\S]*Route +99 [\s\S]*Route +1 /m);
    for (const name of ['b1', 'b2'] as const) await lab.change(name, {});
  });

  t.test('mh: a client keeps its replica for as long as that takes connections, through every node', async (t) => {
    await lab.service({ scheduler: 'mh' });
    t.match(listing(lab), lab.lb === 'ipvs' ? /^FWM .*mh \(mh-fallback\)/m : /jhash ip6? saddr mod 251 seed/);
    const [chosen, ...others] = Object.keys(await through(1, 10));
    t.same(others, [], 'one replica for one client');
    for (const i of NODES) t.same(await through(i, 10), { [chosen as string]: 10 }, `through node ${i}`);
    await lab.change(chosen as 'b1', { state: 'draining' });
    const [next, ...more] = Object.keys(await through(2, 10));
    t.not(next, chosen, 'another, while it drains');
    t.same(more, []);
    await lab.change(chosen as 'b1', {});
    t.same(await through(2, 10), { [chosen as string]: 10 }, 'and the first again');
  });

  if (lab.lb === 'ipvs') {
    t.test('lc: who has fewer connections gets the next', async (t) => {
      await lab.service({ scheduler: 'lc' });
      const texts = [];
      for (let i = 0; i < 6; i++) {
        await lab.container(3).open(`lc ${i}`, 'tcp', VIP[of], TARGET);
        texts.push((await lab.container(3).say(`lc ${i}`)).split(' ')[0]);
      }
      t.same(texts.sort(), ['b1', 'b1', 'b2', 'b2', 'b3', 'b3']);
    });
  } else {
    t.test(
      'a scheduler that the balancer cannot do is refused by name, and a trouble where it is heard of',
      async (t) => {
        await t.rejects(lab.service({ scheduler: 'lc' }), {
          code: 'WEFT_NOT_SUPPORTED',
          message: /balancer nft of this node cannot do scheduler lc/,
        });
        const value = { networks: ['app'], vips: { app: [of === 4 ? '10.20.0.201' : 'fd20::201'] }, scheduler: 'wlc' };
        const row = { table: 'services', key: 'heard', node: 'n9', ltime: 1 };
        await lab.api(1).post('/v1/gossip?wait=applied', `${JSON.stringify({ ...row, op: 'set', value })}\n`);
        const { status } = await lab.api(1).get<{ status: Record<string, unknown> }>('/v1/services/heard');
        t.match(status, { phase: 'degraded', reason: /cannot do scheduler wlc; it balances by wrr instead/ });
        await lab.api(1).post('/v1/gossip?wait=applied', `${JSON.stringify({ ...row, op: 'delete', ltime: 2 })}\n`);
      },
    );
  }

  t.test('affinity: a client stays with its replica until that drains, or has been away too long', async (t) => {
    await lab.service({ affinity: 3600 });
    for (const from of [lab.container(1), lab.container(3)]) {
      for (const proto of ['tcp', 'udp'] as const) {
        const tally = byReplica(await from.ask(proto, VIP[of], TARGET, 12));
        t.equal(Object.keys(tally).length, 1, `${from.name}, ${proto}: ${JSON.stringify(tally)}`);
      }
    }
    const [kept] = Object.keys(await through(2, 12));
    t.same(await through(2, 6), { [kept as string]: 6 }, 'from outside');
    await lab.change(kept as 'b1', { state: 'draining' });
    const moved = Object.keys(await through(2, 12));
    t.equal(moved.length, 1, 'and stays with another, at once');
    t.not(moved[0], kept);
    await lab.change(kept as 'b1', {});
    t.same(Object.keys(await through(2, 12)), moved, 'also when the first is back');
    if (lab.lb === 'ipvs') {
      // It remembers a client while it holds its connections, closed ones for two minutes more: seen in its listing alone.
      t.match(listing(lab), /^FWM .*rr persistent 3600$/m);
    } else {
      await lab.service({ affinity: 1 });
      const seen = new Set<string>();
      await until(
        'who was away for more than a second meets every replica',
        async () => {
          await sleep(1100);
          for (const name of Object.keys(await byVip(1))) seen.add(name);
          return seen.size === 3;
        },
        40_000,
      );
    }
    await lab.service({});
    t.same(await byVip(30), { b1: 10, b2: 10, b3: 10 }, 'switched off, at once');
  });

  t.test('prefer local: replicas of other nodes only while none of this one takes connections', async (t) => {
    await lab.service({ preferLocal: true });
    t.same(await byVip(20), { b1: 10, b2: 10 });
    t.same(await through(1, 20), { b1: 10, b2: 10 });
    t.same(await through(2, 10), { b3: 10 });
    t.same(await through(3, 30), { b1: 10, b2: 10, b3: 10 }, 'a node without replicas takes all');
    const kept = lab.container(2);
    await kept.open('local', 'tcp', VIP[of], TARGET);
    const before = await kept.say('local');
    t.match(before, /^b3 /);
    await lab.change('b3', { state: 'draining' });
    t.equal(await kept.say('local'), before, 'who drains keeps what it has');
    t.same(byReplica(await kept.ask('tcp', VIP[of], TARGET, 20)), { b1: 10, b2: 10 });
    await lab.change('b3', {});
  });

  t.test('vip to dnsrr and back: the name changes, connections stay', async (t) => {
    const name = () => lab.sh(lab.pin(1, 'c1'), `dig @127.0.0.11 +short web ${of === 4 ? 'A' : 'AAAA'} | sort`).trim();
    const from = lab.container(1);
    await from.open('mode', 'tcp', VIP[of], TARGET);
    const before = await from.say('mode');
    await lab.service({ mode: 'dnsrr' });
    const all = REPLICA_NAMES.map((replica) => appAddress(REPLICAS[replica].host, of)).sort();
    await until('the name is its replicas', () => name() === all.join('\n'));
    t.equal(await from.say('mode'), before, 'the VIP that it had stays its own');
    await lab.service({ mode: 'dnsrr', preferLocal: true });
    await until('the name is the replicas of this node', () => name() === all.slice(0, 2).join('\n'));
    await lab.service({});
    await until('the name is the VIP', () => name() === VIP[of]);
    t.equal(await from.say('mode'), before);
  });

  t.test('a declared port of the VIP leads to another of the task, TCP and UDP apart; the others stay', async (t) => {
    await lab.service({ ports: [{ port: 9000, target: TARGET }] });
    for (const from of [lab.container(3), lab.replica('b1')]) {
      t.same(byReplica(await from.ask('tcp', VIP[of], 9000, 9)), { b1: 3, b2: 3, b3: 3 }, from.name);
      t.same(await from.ask('udp', VIP[of], 9000, 3), { ECONNREFUSED: 3 }, `${from.name}: UDP was not declared`);
      t.same(byReplica(await from.ask('udp', VIP[of], TARGET, 9)), { b1: 3, b2: 3, b3: 3 });
    }
  });

  t.test('rr again: all alike', async (t) => {
    await lab.service({});
    t.same(await byVip(30), { b1: 10, b2: 10, b3: 10 });
  });
}
