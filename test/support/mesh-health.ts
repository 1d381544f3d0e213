import t from 'tap';
import type { EndpointHealth } from '../../src/api/agent.js';
import type { Family } from '../../src/base/ip.js';
import { patient, until } from './lab.js';
import { type MeshLab, REPLICAS, TARGET, VIP } from './mesh-lab.js';
import { byReplica } from './mesh-schedulers.js';

/** A probe that notices soon; probes of a busy machine may be late, so that one alone takes nobody out. */
const HEALTH = { type: 'tcp', port: TARGET, interval: 0.2, timeout: 5, healthy: 2, unhealthy: 2 };
const SICK = 'b2';

/** Replicas are probed by the node that hosts them; three are active before and after. */
export function healthCases(lab: MeshLab, of: Family): void {
  const { node } = REPLICAS[SICK];
  const endpoint = async (name = 'app') => {
    const path = `/v1/endpoints/${encodeURIComponent(`${SICK}:${name}`)}`;
    return lab.api(node).get<{ state: string; health?: EndpointHealth }>(path);
  };
  const is = (state: string) => async () =>
    (await endpoint('app')).health?.state === state && (await endpoint('ingress')).health?.state === state;
  /** Neither here nor, once told, elsewhere. */
  const noVerdict = async () => {
    await lab.gossip();
    const { items } = await lab.api(3).get<{ items: { state: string }[] }>('/v1/peers');
    return items.every(({ state }) => state !== 'unhealthy') && (await endpoint()).health === undefined;
  };
  const answers = async (from: 1 | 3) =>
    Object.keys(byReplica(await lab.container(from).ask('tcp', VIP[of], TARGET, 12))).sort();

  t.test('a replica that does not answer probes is taken out on every node, and let back when it does', async (t) => {
    await lab.service({ health: HEALTH });
    await until('the probes pass', is('healthy'), patient(10_000));

    await lab.replica(SICK).deafen(TARGET);
    await until('the probes fail', is('unhealthy'), patient(10_000));
    await lab.gossip();
    const { state, health } = await endpoint();
    t.equal(state, 'active', 'what the orchestrator said stays');
    t.match(health?.reason, /^tcp \S+:80: .*ECONNREFUSED/);
    for (const from of [1, 3] as const) t.same(await answers(from), ['b1', 'b3'], `from node ${from}`);
    const events = await lab.lab.node(node).events();
    t.ok(events.some(({ type, object }) => type === 'trouble' && object === `endpoint/${SICK}:app`));

    await lab.lab.node(node).restart();
    t.equal((await endpoint()).health?.state, 'unhealthy', 'an agent that is started again knows it');
    t.same(await answers(1), ['b1', 'b3']);
    await lab.change(SICK, { aliases: ['again'] });
    t.equal((await endpoint()).health?.state, 'unhealthy', 'stating it anew heals nobody');

    await lab.replica(SICK).serve(TARGET);
    await until('the probes pass again', is('healthy'), patient(10_000));
    await lab.gossip();
    for (const from of [1, 3] as const) t.same(await answers(from), ['b1', 'b2', 'b3'], `from node ${from}`);
  });

  t.test('without probes nobody is unhealthy', async (t) => {
    await lab.replica(SICK).deafen(TARGET);
    await until('the probes fail', is('unhealthy'), patient(10_000));
    await lab.service({});
    await until('the verdict goes with them', noVerdict, patient(10_000));
    await lab.replica(SICK).serve(TARGET);
    await lab.change(SICK, {});
    t.same(await answers(3), ['b1', 'b2', 'b3']);
  });
}
