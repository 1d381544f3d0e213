import t from 'tap';
import type { Family } from '../../src/base/ip.js';
import { patient } from './lab.js';
import { appAddress, ingressAddress, type MeshLab, PUBLISHED, TARGET, underlay, VIP } from './mesh-lab.js';
import { byReplica } from './mesh-schedulers.js';
import { asked, inGuest } from './needs.js';

/*
 * What changes around flows and tasks that stay: nodes that join, backends that come and go faster than connections, and
 * somebody who empties connection tracking. Scenes for a mesh that stands with three active replicas, which it has after.
 */

/** All that a task's sandbox has in its kernel's tables, without counters. */
function stateOf(lab: MeshLab, node: 1 | 2, sandbox: string): string {
  return lab.sh(
    lab.pin(node, sandbox),
    `{ iptables-save; ip6tables-save; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all
       ip neigh show nud permanent; nft list ruleset; } | sed 's/ \\[[0-9]*:[0-9]*\\]$//; s/ packets [0-9]* bytes [0-9]*//; /^#/d'`,
  );
}

/** A node with an ingress address that nobody has heard of. */
function joinCase(lab: MeshLab, of: Family): void {
  t.test('a node that joins serves the tasks that are there, and nothing is written in their sandboxes', async (t) => {
    await lab.sayNode(3, undefined);
    const tasks = () => [stateOf(lab, 1, 'b1'), stateOf(lab, 1, 'b2'), stateOf(lab, 2, 'b3')];
    const before = tasks();
    for (const text of before) t.match(text, /-j DNAT/, 'a task has rules of its own');
    const joined = { ...lab.nodeRow(3), addresses: { ingress: [ingressAddress(113, of)] } };
    await lab.wish(3, { nodes: { n3: joined } });
    await lab.sayNode(3, joined);
    const rules = lab.sh(lab.netns(3), `${of === 4 ? 'iptables' : 'ip6tables'}-save -t nat`);
    t.match(rules, ingressAddress(113, of), 'callers of node 3 come with its new address');
    for (const proto of ['tcp', 'udp'] as const) {
      const tally = await lab.outside.ask(proto, underlay(3, of), PUBLISHED, 6);
      t.same(byReplica(tally), { b1: 2, b2: 2, b3: 2 }, `${proto} through the node that joined`);
    }
    t.same(tasks(), before);
    await lab.wish(3, { nodes: { n3: lab.nodeRow(3) } });
    await lab.sayNode(3, lab.nodeRow(3));
  });
}

/** Each change lets a balancer that counts turns begin anew. */
function spreadCase(lab: MeshLab, of: Family): void {
  t.test('where a backend comes or goes between any two connections, the others share them evenly', async (t) => {
    const rounds = 24;
    const seen: Record<string, number> = { b1: 0, b2: 0, b3: 0 };
    for (let i = 0; i < rounds; i++) {
      const state = i % 2 === 0 ? 'draining' : 'active';
      const endpoint = { addresses: [appAddress(23, of)], service: 'web', state };
      await lab.wish(2, { endpoints: { 'b3:app': endpoint } });
      await lab.api(1).post(`/v1/gossip?wait=applied&timeoutMs=${patient(10_000)}`, await lab.lab.node(2).ownRows());
      const [name] = Object.keys(byReplica(await lab.container(1).ask('tcp', VIP[of], TARGET, 1)));
      seen[name as string] = (seen[name as string] ?? 0) + 1;
    }
    // Two fifths each: half of a half, and a third of the other.
    for (const name of ['b1', 'b2'] as const) {
      t.ok((seen[name] as number) >= rounds / 5, `${name} has its share: ${JSON.stringify(seen)}`);
    }
    await lab.change('b3', {});
  });
}

/** `conntrack -F` where balancers work, and in the node, whose guard lets nothing but replies come out of the mesh. */
function flushCase(lab: MeshLab, of: Family): void {
  t.test('connection tracking emptied by somebody: what a balancer does not keep there goes on', async (t) => {
    const { flowMemory } = await lab.api(1).get<{ flowMemory: string }>('/v1/status');
    const isTracked = flowMemory.startsWith('bridge');
    const published = { from: lab.outside, host: underlay(3, of), port: PUBLISHED };
    const places = [
      { from: lab.container(1), host: VIP[of], port: TARGET, ns: lab.pin(1, 'net-app'), loses: isTracked },
      { ...published, ns: lab.pin(3, 'net-ingress'), loses: isTracked },
      { ...published, ns: lab.netns(3), loses: false },
    ];
    for (const { from, host, port, ns, loses } of places) {
      const said: Record<string, string> = {};
      for (const proto of ['tcp', 'udp'] as const) {
        await from.open(`flush ${proto}`, proto, host, port);
        said[proto] = await from.say(`flush ${proto}`);
      }
      lab.sh(ns, 'conntrack -F');
      const [tcp, udp] = [await from.say('flush tcp'), await from.say('flush udp')];
      if (loses) {
        t.match(tcp, /^(ECONNRESET|EPIPE)$/, `${from.name}: a connection is reset at once`);
        t.match(udp, /^b[123] /, `${from.name}: datagrams may go to another backend`);
      } else {
        t.same(
          { tcp, udp },
          said,
          `${from.name}: what ${ns} tracked is known elsewhere, or with the client's next word`,
        );
      }
      t.same(byReplica(await from.ask('tcp', host, port, 3)), { b1: 1, b2: 1, b3: 1 }, 'new ones are as before');
      for (const proto of ['tcp', 'udp']) await from.close(`flush ${proto}`);
    }
  });
}

/** @param of the family asked with; what no guest answers otherwise, or only slowly, is asked of hosts alone */
export function changeCases(lab: MeshLab, of: Family): void {
  if (asked(!inGuest() || (lab.lb === 'ipvs' && of === 4))) joinCase(lab, of);
  if (!asked(!inGuest() && of === 4)) return;
  spreadCase(lab, of);
  flushCase(lab, of);
}
