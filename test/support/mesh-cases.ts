import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Family, withPort } from '../../src/base/ip.js';
import type { Proto } from './flow.js';
import { until } from './lab.js';
import type { Tally } from './load.js';
import { type Caller, callersOf } from './mesh-callers.js';
import { changeCases } from './mesh-changes.js';
import { datagrams } from './mesh-datagrams.js';
import { drains } from './mesh-drains.js';
import { flushScene } from './mesh-flush.js';
import { healthCases } from './mesh-health.js';
import { invalidPackets, noMartians } from './mesh-invalid.js';
import {
  appAddress,
  MeshLab,
  NODES,
  type NodeNumber,
  PUBLISHED,
  REPLICA_NAMES,
  REPLICAS,
  TARGET,
  underlay,
  VIP,
} from './mesh-lab.js';
import { memoryScene } from './mesh-memory.js';
import { numberScenes } from './mesh-numbers.js';
import { publishScenes } from './mesh-publish.js';
import { removalScenes } from './mesh-removal.js';
import { PortsAgain, rollingUpdate } from './mesh-rolling.js';
import { byReplica, schedulerCases } from './mesh-schedulers.js';
import { sharedScenes } from './mesh-shared.js';
import { Standing } from './mesh-standing.js';
import { countsWhatItSends } from './mesh-stats.js';
import { taskScenes } from './mesh-tasks.js';
import { wireScenes } from './mesh-wire.js';
import { asked, inGuest, type Need, needs } from './needs.js';
import { PATIENCE_MS } from './traffic-port.js';

const PROTOS: readonly Proto[] = ['tcp', 'udp'];
const NEEDS: readonly Need[] = [
  'conntrack',
  'root',
  'veth',
  'bridge',
  'vxlan',
  'nft-bridge',
  'nft-numgen',
  'iptables-nat',
  'dig',
  'tcpdump',
];
const NEEDS6: readonly Need[] = ['ip6tables-nat', 'ip6tables-notrack'];

/** `b1 10.20.0.11` ten times, and so on. */
function evenly(names: readonly string[], seen: string, times: number): Tally {
  return Object.fromEntries(names.map((name) => [`${name} ${seen}`, times]));
}

/**
 * What the mesh promises, whatever the balancer. One world, built once: making it costs a guest 20 s. The order matters:
 * each test leaves three active replicas behind. What does not depend on the family is asked of IPv4 alone.
 */
export function meshCases(lb: 'nft' | 'ipvs', more: readonly Need[], families: readonly Family[] = [4]): void {
  if (!needs(t, [...NEEDS, ...(families.includes(6) ? NEEDS6 : []), ...more])) return;
  const lab = new MeshLab(lb, families);
  t.teardown(() => lab.down());
  const callers = families.flatMap(callersOf);
  const of = families[0] as Family;

  t.test('three agents come up', async (t) => {
    await lab.network();
    if (lb === 'ipvs') lab.sh(lab.netns(1), FOREIGN_SERVERS);
    await lab.up();
    for (const i of NODES) {
      const status = await lab.api(i).get<Record<string, unknown>>('/v1/status');
      t.equal(status.balancer, lb, String(status.flowMemory));
      t.equal(status.phase, 'ready', `node ${i}: ${JSON.stringify(status.troubles)}`);
    }
  });

  // Before anybody goes: IPVS counts anew what comes back. A guest counts in IPv6 as in IPv4.
  if (families.length === 1 && asked(of === 4 || !inGuest()))
    t.test('what is sent to a service and its backends is counted', (t) => countsWhatItSends(t, lab, of));

  if (asked(families.length > 1)) sharedScenes(t, lab);
  if (asked(families.length > 1 && lb === 'nft')) {
    wireScenes(t, lab);
    numberScenes(t, lab);
    removalScenes(t, lab, callers);
    // The rest a guest answers in the files of one family, which have this balancer in this kernel too.
    if (!asked(!inGuest())) return;
    flushScene(t, lab);
    if (lb === 'nft') memoryScene(t, lab);
  }

  t.test('tasks remember idle and half-closed connections for longer than keep-alive needs', async (t) => {
    const conntrack = (name: string) => lab.sysctl(lab.pin(1, 'b1'), `net/netfilter/nf_conntrack_tcp_${name}`)?.trim();
    t.ok(Number(conntrack('timeout_established')) > 7200);
    t.equal(conntrack('timeout_close_wait'), '3600');
    t.equal(conntrack('be_liberal'), '1');
  });

  for (const { name, from, host, port, seen } of callers) {
    t.test(`${name} reaches every replica in turn`, async (t) => {
      for (const proto of PROTOS) {
        t.same(await from(lab).ask(proto, host, port, 30), evenly(REPLICA_NAMES, seen, 10), `${proto} ${host}:${port}`);
      }
    });
  }

  if (lb === 'nft' && !inGuest()) {
    t.test('a connection that its client has closed is forgotten soon', async (t) => {
      const known = (name: string) =>
        lab.sh(lab.pin(1, 'net-app'), `nft list map bridge weft ${name}${of} | grep -o 'expires [^ ]*' || true`);
      const callTen = () => lab.container(1).ask('tcp', VIP[of], TARGET, 10);
      await callTen();
      // Connections of two hours, and those that end.
      await until('no closed one among the established', () => !/expires [12]h/.test(known('flows')));
      t.ok(known('closing').split('\n').length >= 10, 'ten are still known, for what may come late');
    });
  }

  t.test('a VIP answers ping', async (t) => {
    for (const vip of families.map((of) => VIP[of])) {
      for (const i of NODES) t.match(lab.sh(lab.pin(i, `c${i}`), `ping -c1 -W2 ${vip}`), '1 received');
    }
  });

  t.test('names have addresses of every family the network has, and none of the other', async (t) => {
    const queries = [
      ['web', 'A'],
      ['web', 'AAAA'],
      ['tasks.web', 'AAAA'],
      ['b3', 'AAAA'],
      ...families.map((of) => ['-x', VIP[of]]),
    ];
    const asked = queries.map((words) => `dig @127.0.0.11 +short ${words.join(' ')} | sort`).join('; echo ,; ');
    const answers = lab
      .sh(lab.pin(1, 'c1'), asked)
      .split(',')
      .map((lines) => lines.trim());
    const expected = (six: readonly string[]) => (families.includes(6) ? six.join('\n') : '');
    t.same(answers, [
      families.includes(4) ? VIP[4] : '',
      expected([VIP[6]]),
      expected(REPLICA_NAMES.map((name) => appAddress(REPLICAS[name].host, 6))),
      expected([appAddress(REPLICAS.b3.host, 6)]),
      ...families.map(() => 'web.app.'),
    ]);
  });

  if (families.includes(6)) {
    t.test('the published port at ::1 is refused at once', async (t) => {
      for (const proto of PROTOS) {
        const { tally, ms } = await lab.onNode(2).timed(proto, '::1', PUBLISHED, 100);
        t.same(tally, { ECONNREFUSED: 100 }, proto);
        t.ok(ms < 100 * (inGuest() ? 60 : 20), `${ms} ms for 100`);
      }
    });
  }

  if (lb === 'ipvs') t.test('ipvsadm agrees', async (t) => ipvsadm(t, lab));

  if (families.length === 1) {
    // Before anybody leaves connections open, which would be waited for.
    if (asked(of === 4)) {
      t.test('who drains waits, and has the last word', async (t) => drains(t, lab, of, lb));
    }

    schedulerCases(lab, of);
    changeCases(lab, of);
    // What a probe sees depends on neither kernel nor family.
    if (asked(of === 4 && !inGuest())) healthCases(lab, of);
  }

  t.test('a draining replica keeps its flows and gets no new one; removed, it loses them at once', async (t) => {
    const standing = new Standing(lab);
    await standing.open(callers, 3);
    const again = new PortsAgain(lab, of, 'b2');
    // Where IPVS, or the flow memory of nft, remembers who used a port.
    const isAgain = asked(of === 4 && (lb === 'ipvs' || !inGuest()));
    if (isAgain) await again.open();
    const before = await standing.say();
    const onB2 = before.filter(({ text }) => text.startsWith('b2 ')).length;
    t.equal(onB2, before.length / 3, 'a third of the flows is with b2');

    await lab.service({ udpDrain: 'keep' });
    await lab.change('b2', { state: 'draining' });
    t.same(await standing.say(), before, 'no flow moves');
    for (const { name, from, host, port } of callers) {
      for (const proto of PROTOS) {
        const tally = byReplica(await from(lab).ask(proto, host, port, 20));
        t.same(tally, { b1: 10, b3: 10 }, `${name}, ${proto}: no new flow for it`);
      }
    }
    await lab.service({ udpDrain: 'move' });
    const moved = await standing.say();
    for (const [i, { name, proto, text }] of moved.entries()) {
      const was = before[i]?.text ?? '';
      if (proto === 'tcp' || !was.startsWith('b2 ')) t.equal(text, was, `${name} stays`);
      else t.match(text, /^b[13] /, `${name} moves with its next datagram`);
    }
    t.same(await standing.say(), moved, 'and stays where it went');

    await lab.disconnect('b2');
    for (const [i, { name, proto, text }] of (await standing.say()).entries()) {
      const was = moved[i]?.text ?? '';
      if (!was.startsWith('b2 ')) t.equal(text, was, `${name} stays`);
      else t.match(text, /^(ECONNRESET|EPIPE)$/, `${name}, ${proto}, is reset`);
    }
    for (const { name, text } of isAgain ? await again.reopened() : [])
      t.match(text, /^b[13] /, `${name}: the same source port`);
    const kept = await standing.say();
    await lab.change('b2', {});
    const after = await standing.say();
    t.same(
      after.filter(({ text }) => /^b/.test(text)),
      kept.filter(({ text }) => /^b/.test(text)),
      'its return disturbs nobody',
    );
    await standing.close();
    t.same(byReplica(await lab.container(3).ask('tcp', VIP[of], TARGET, 30)), { b1: 10, b2: 10, b3: 10 });
  });

  // A second family beside the first changes nothing in these; they take a guest a minute.
  if (families.length === 1) {
    if (asked(!inGuest())) t.test('a flow of datagrams follows its port', async (t) => datagrams(t, lab, of));

    if (asked(of === 4 && !inGuest())) {
      t.test('packets that fit no connection come to nobody with a wrong source', (t) => invalidPackets(t, lab, of));
      if (of === 4) t.test('calls at 127.0.0.1 leave no martians', (t) => noMartians(t, lab));
    }

    t.test('replicas of a node that is said to be dead leave at once, and come back', async (t) => {
      await lab.declare(2, false);
      for (const caller of [callers[0], callers[1], callers[3], callers[5]] as Caller[]) {
        const tally = byReplica(await caller.from(lab).ask('tcp', caller.host, caller.port, 20));
        t.same(tally, { b1: 10, b2: 10 }, caller.name);
      }
      await lab.declare(2, true);
      t.same(byReplica(await lab.container(1).ask('tcp', VIP[of], TARGET, 30)), { b1: 10, b2: 10, b3: 10 });
    });

    for (const state of asked(of === 4) ? (['draining', 'gone'] as const) : (['gone'] as const)) {
      t.test(`where all replicas are ${state}, every one of many connects is refused at once`, async (t) => {
        for (const name of REPLICA_NAMES) await (state === 'gone' ? lab.disconnect(name) : lab.change(name, { state }));
        const others = callers.filter(({ name }) => state === 'draining' || !name.startsWith('a replica'));
        for (const { name, from, host, port } of others) {
          for (const proto of PROTOS) {
            const { tally, ms } = await from(lab).timed(proto, host, port, 100);
            t.same(tally, { ECONNREFUSED: 100 }, `${name}, ${proto}`);
            t.ok(ms < 100 * (inGuest() ? 60 : 20), `${ms} ms for 100`);
          }
        }
        // From the node without a replica, and through it. One that is not refused at once has its own word: ETIMEDOUT.
        for (const { name, from, host, port } of asked(of === 4 && !inGuest())
          ? ([callers[1], callers[5]] as Caller[])
          : []) {
          for (const proto of PROTOS)
            t.same(await from(lab).refused(proto, host, port, 1000), { ECONNREFUSED: 1000 }, `${name}, ${proto}`);
        }
        t.match(lab.sh(lab.pin(1, 'c1'), `ping -c1 -W2 ${VIP[of]}`), '1 received', 'the VIP answers ping all the same');
        for (const name of REPLICA_NAMES) await lab.change(name, {});
        t.same(byReplica(await lab.outside.ask('udp', underlay(3, of), PUBLISHED, 30)), { b1: 10, b2: 10, b3: 10 });
      });
    }

    t.test(
      'agents are killed with -9 and started again under load: no request fails, nothing is written',
      async (t) => {
        const gap = inGuest() ? 100 : 2;
        const loaded = [lab.container(1), lab.container(3), lab.outside];
        for (const proto of PROTOS) {
          await lab.container(1).load(proto, VIP[of], TARGET, gap);
          await lab.container(3).load(proto, VIP[of], TARGET, gap);
          for (const i of NODES) await lab.outside.load(proto, underlay(i, of), PUBLISHED, gap);
        }
        for (const i of NODES) {
          await lab.lab.node(i).kill9();
          await sleep(200);
          await lab.lab.node(i).start();
          t.match(adoption(lab, i), ADOPTED, `node ${i}`);
        }
        for (const traffic of loaded) {
          const { tally, longestMs } = await traffic.relax();
          t.same(Object.keys(tally), ['ok'], `${traffic.name}: ${JSON.stringify(tally)}`);
          t.ok((tally.ok ?? 0) > 100, `${tally.ok} requests`);
          // More than a second may be a SYN that was lost and sent again, or a processor that was away.
          t.comment(`the slowest took ${longestMs} ms`);
        }
      },
    );
  } else {
    // One processor for everybody is busy enough with the calls; the demo replaces replicas in a guest.
    if (asked(!inGuest())) t.test('replicas are replaced one by one under load', async (t) => rollingUpdate(t, lab));

    t.test('agents that are started again write nothing', async (t) => {
      await Promise.all(NODES.map((i) => lab.lab.node(i).restart()));
      for (const i of NODES) t.match(adoption(lab, i), ADOPTED, `node ${i}`);
    });
  }

  t.test('datagrams of 4000 bytes arrive, fragments and all', async (t) => {
    for (const { name, of, from, host, port, seen } of callers) {
      const traffic = from(lab);
      if (of === 6) {
        // Nobody but the sender fragments in IPv6: it has to be told of the smaller MTU of the overlay first.
        await traffic.open(`first ${name}`, 'udp', host, port);
        await traffic.say(`first ${name}`, 4000);
      }
      for (let i = 0; i < 3; i++) {
        const flow = `big ${name} ${i}`;
        await traffic.open(flow, 'udp', host, port);
        t.match(await traffic.say(flow, 4000), new RegExp(`^b[123] ${seen} 4000$`), name);
      }
    }
  });

  t.test('a client behind a narrow path gets its download', async (t) => {
    // The router says so (ICMP, fragmentation needed), and what it says has to find the replica that sends.
    lab.sh(lab.netns('router'), 'ip link set client mtu 1300');
    for (const i of NODES) {
      for (const name of REPLICA_NAMES) {
        const { node } = REPLICAS[name];
        // What a replica learned of the path it remembers for ten minutes.
        lab.sh(lab.pin(node, name), 'ip route flush cache; ip -6 route flush cache');
      }
      for (const of of families) {
        const got = await lab.outside.download(underlay(i, of), PUBLISHED, 200_000, 4 * PATIENCE_MS);
        t.equal(got, 200_000, `through node ${i}, IPv${of}`);
      }
    }
    lab.sh(lab.netns('router'), 'ip link set client mtu 1500');
  });

  if (families.length === 1) {
    if (asked(!inGuest())) taskScenes(t, lab, of);
    publishScenes(t, lab, of);
  }

  t.test('taken down, nothing of it is left on the nodes', async (t) => {
    for (const i of NODES) {
      await lab.api(i).post('/v1/down');
      const rules = lab.sh(lab.netns(i), 'iptables-save; ip6tables-save');
      t.notMatch(rules, /WEFT-(?!USER)/, `rules of node ${i}`);
      t.notMatch(lab.sh(lab.netns(i), 'ip -o link'), /weft/, `links of node ${i}`);
    }
    if (lb === 'ipvs') t.match(lab.sh(lab.netns(1), 'ipvsadm -Sn'), SAVED_SERVERS, 'what is not weft’s stays');
  });
}

/** Virtual servers of somebody else in the node's own namespace. */
const FOREIGN_SERVERS = 'ipvsadm -A -t 192.0.2.1:80 -s rr; ipvsadm -a -t 192.0.2.1:80 -r 192.0.2.2:80 -g -w 3';
const SAVED_SERVERS = /^-A -t 192\.0\.2\.1:80 -s rr\n-a -t 192\.0\.2\.1:80 -r 192\.0\.2\.2:80 -g -w 3\n$/;

const ADOPTED = /^adopted [1-9]\d* objects, 0 changes$/;

/** What the agent of a node said when it came up last. */
const adoption = (lab: MeshLab, node: NodeNumber): unknown =>
  lab
    .log(node)
    .filter(({ msg }) => /^adopted/.test(String(msg)))
    .at(-1)?.msg;

async function ipvsadm(t: Test, lab: MeshLab): Promise<void> {
  for (const i of NODES) {
    for (const network of ['net-app', 'net-ingress']) {
      t.match(lab.sh(lab.pin(i, network), 'ipvsadm -L --timeout'), /: 7800 120 300$/m, `timeouts of ${network}`);
    }
    t.match(lab.sh(lab.netns(i), 'ipvsadm -L --timeout'), /: 900 120 300$/m, 'the node keeps its own');
    const table = lab.sh(lab.pin(i, 'net-app'), 'ipvsadm -Ln');
    const services = table.split(/^FWM +/m).slice(1);
    t.equal(services.length, 2 * lab.families.length, 'of each family one for streams, one for datagrams');
    for (const of of lab.families) {
      const mine = services.filter((service) => service.includes(' IPv6 ') === (of === 6));
      t.equal(mine.length, 2, `IPv${of}`);
      for (const service of mine) {
        t.match(service, /^\d+ (IPv6 )?rr\n/);
        for (const name of REPLICA_NAMES) {
          const server = withPort(appAddress(REPLICAS[name].host, of), 0).replace(/[[\]]/g, '\\$&');
          t.match(service, new RegExp(`-> ${server} +Route +1 `), `node ${i}, ${name}`);
        }
      }
    }
  }
}
