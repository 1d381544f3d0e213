import type { Test } from 'tap';
import type { Family } from '../../src/base/ip.js';
import { patient, until } from './lab.js';
import {
  appAddress,
  CLIENT,
  type MeshLab,
  NODES,
  PUBLISHED,
  REPLICA_NAMES,
  REPLICAS,
  type Replica,
  TARGET,
  underlay,
  VIP,
} from './mesh-lab.js';
import { byReplica } from './mesh-schedulers.js';
import type { Traffic } from './traffic-port.js';

/** A second service with the tasks of web: its VIPs, a number of its own in the mesh, and another port of the tasks. */
const TWIN_VIP = { 4: '10.20.0.201', 6: 'fd20::201' } as const;
const TWIN_PUBLISHED = 8087;
const TWIN_TARGET = 81;
const PROTOS = ['tcp', 'udp'] as const;
const BOTH = ['web', 'twin'];
/** Of callers that use one local port for both services; no flow of another test begins there. */
const FIRST_PORT = 9300;

/** The same number as web's leads by TCP to the other port, and by UDP to the same. */
function twin(lab: MeshLab): Record<string, unknown> {
  return {
    networks: ['app'],
    vips: { app: lab.families.map((of) => TWIN_VIP[of]) },
    ports: [{ port: TARGET, target: TWIN_TARGET }],
    publish: PROTOS.map((proto) => ({ published: TWIN_PUBLISHED, target: TWIN_TARGET, proto })),
  };
}

async function state(lab: MeshLab, changes: object = {}): Promise<void> {
  await Promise.all(NODES.map((i) => lab.wish(i, { services: { twin: { ...twin(lab), ...changes } } })));
}

/** Behaviour 7: services that share their backends, in a mesh that stands with service web; it is left as it was. */
export function sharedScenes(t: Test, lab: MeshLab): void {
  const each = (suffix: string, seen: string, names: readonly string[] = REPLICA_NAMES) =>
    Object.fromEntries(names.map((name) => [`${name}${suffix} ${seen}`, 1]));
  const all = (names: readonly string[], times: number) => Object.fromEntries(names.map((name) => [name, times]));
  const of = lab.families[0] as Family;

  t.test('two services with the same tasks: each has its own VIP, ports and turns', async (t) => {
    await Promise.all(REPLICA_NAMES.map((name) => lab.replica(name).serve(TWIN_TARGET, `${name}/twin`)));
    await state(lab);
    for (const name of REPLICA_NAMES) await lab.change(name, { service: BOTH });
    for (const of of lab.families) {
      const callers: [Traffic, string][] = [
        [lab.container(3), appAddress(13, of)],
        [lab.replica('b1'), appAddress(REPLICAS.b1.host, of)],
      ];
      for (const [from, seen] of callers) {
        const ask = (proto: 'tcp' | 'udp', host: string) => from.ask(proto, host, TARGET, 3);
        t.same(await ask('tcp', VIP[of]), each('', seen), `${from.name}: web, TCP, IPv${of}`);
        t.same(await ask('tcp', TWIN_VIP[of]), each('/twin', seen), `${from.name}: twin, TCP, IPv${of}`);
        t.same(await ask('udp', VIP[of]), each('', seen), `${from.name}: web, UDP, IPv${of}`);
        t.same(await ask('udp', TWIN_VIP[of]), each('', seen), `${from.name}: twin, UDP, IPv${of}`);
      }
      for (const proto of PROTOS) {
        const ask = (port: number) => lab.outside.ask(proto, underlay(3, of), port, 3);
        t.same(await ask(PUBLISHED), each('', CLIENT[of]), `web from outside, ${proto}, IPv${of}`);
        t.same(await ask(TWIN_PUBLISHED), each('/twin', CLIENT[of]), `twin from outside, ${proto}, IPv${of}`);
      }
    }
    const { operations } = await lab.api(1).get<{ operations: unknown[] }>('/v1/plan');
    t.same(operations, [], 'nothing is left to do');
  });

  t.test('one local port of a caller for both services: no flow is taken for another', async (t) => {
    const from = lab.container(3);
    let met = 0;
    for (let i = 0; i < 9; i++) {
      // Both take turns: one more call every third time, and each pair of backends comes.
      if (i % 3 === 0) await from.ask('udp', TWIN_VIP[of], TARGET, 1);
      const flows = [VIP, TWIN_VIP].map((vip, k) => ({ flow: `shared ${i} ${k}`, host: vip[of] }));
      const told: string[] = [];
      for (const { flow, host } of flows) {
        await from.open(flow, 'udp', host, TARGET, FIRST_PORT + i);
        told.push(await from.say(flow));
      }
      for (const [k, { flow }] of flows.entries()) {
        t.match(told[k], new RegExp(`^b[123] ${appAddress(13, of)}$`), flow);
        t.equal(await from.say(flow), told[k], `${flow}: again`);
        await from.close(flow);
      }
      if (told[0] === told[1]) met++;
    }
    t.ok(met > 0, `${met} pairs of flows met in one task`);
  });

  t.test('a task that leaves one service stays with the other', async (t) => {
    const from = lab.container(3);
    const vips = { web: VIP[of], twin: TWIN_VIP[of] };
    const flows: { service: 'web' | 'twin'; proto: 'tcp' | 'udp'; flow: string; was: string }[] = [];
    for (const service of ['web', 'twin'] as const) {
      for (const proto of PROTOS) {
        for (let i = 0; i < 3; i++) {
          const flow = `leaves ${service} ${proto} ${i}`;
          await from.open(flow, proto, vips[service], TARGET);
          flows.push({ service, proto, flow, was: await from.say(flow) });
        }
      }
    }
    await lab.change('b2', { service: 'web' });
    for (const { service, proto, flow, was } of flows) {
      const is = await from.say(flow);
      if (service === 'web' || !was.startsWith('b2')) t.equal(is, was, `${flow} stays`);
      else t.match(is, proto === 'udp' ? /^b[13] / : /^(ECONNRESET|EPIPE)$/, `${flow} was with it`);
      await from.close(flow);
    }
    const byVip = async (service: 'web' | 'twin') => byReplica(await from.ask('udp', vips[service], TARGET, 6));
    t.same(await byVip('web'), all(REPLICA_NAMES, 2));
    t.same(await byVip('twin'), all(['b1', 'b3'], 3));
    await lab.change('b2', { service: BOTH });
    t.same(await byVip('twin'), all(REPLICA_NAMES, 2));
  });

  t.test('a service that drains takes its tasks from no other', async (t) => {
    const from = lab.container(1);
    await from.open('other', 'tcp', VIP[of], TARGET);
    const other = await from.say('other');
    await from.open('twins', 'tcp', TWIN_VIP[of], TARGET);
    t.match(await from.say('twins'), /^b[123]\/twin /);
    const ask = (verb: string, i: 1 | 2 | 3, timeoutMs: number) =>
      lab
        .api(i)
        .post<{ left: number; applied: boolean }>(`/v1/${verb}`, JSON.stringify({ service: 'twin', timeoutMs }));
    const waiting = NODES.map((i) => ask('drain', i, patient(60_000)));
    const drained = async () => {
      const tally = await from.ask('tcp', TWIN_VIP[of], TARGET, 3);
      return tally.ECONNREFUSED === 3;
    };
    await until('twin takes nothing new', drained, 10_000);
    t.match(await from.say('twins'), /^b[123]\/twin /, 'its connection goes on');
    t.same(byReplica(await from.ask('tcp', VIP[of], TARGET, 6)), all(REPLICA_NAMES, 2), 'web has all its tasks');
    await from.close('twins');
    for (const answer of await Promise.all(waiting))
      t.match(answer, { left: 0, applied: true }, 'connections of web are not waited for');
    t.equal(await from.say('other'), other, 'nor ended');
    await lab.gossip();
    const { items } = await lab.api(3).get<{ items: { id: string; state: string }[] }>('/v1/peers');
    t.same([...new Set(items.map((peer) => peer.state))], ['active'], 'others are told that they serve');
    for (const i of NODES) t.match(await ask('undrain', i, patient(10_000)), { applied: true });
    t.same(byReplica(await from.ask('udp', TWIN_VIP[of], TARGET, 6)), all(REPLICA_NAMES, 2), 'and twin again');
    await from.close('other');
  });

  t.test('one of two services with the same tasks is balanced by names, and goes', async (t) => {
    const dig = (name: string) =>
      lab.sh(lab.pin(1, 'c1'), `dig @127.0.0.11 +short ${name} ${of === 4 ? 'A' : 'AAAA'} | sort`).trim();
    const addresses = (names: readonly Replica[]) =>
      names.map((name) => appAddress(REPLICAS[name].host, of)).join('\n');
    await state(lab, { mode: 'dnsrr' });
    await until('its name is its tasks', () => dig('twin') === addresses(REPLICA_NAMES));
    t.equal(dig('web'), VIP[of], 'the other has its VIP');
    await lab.change('b2', { service: 'web' });
    await until('its name is those that are left', () => dig('twin') === addresses(['b1', 'b3']));
    t.equal(dig('tasks.web'), addresses(REPLICA_NAMES));
    for (const name of REPLICA_NAMES) await lab.change(name, {});
    for (const i of NODES) await lab.api(i).delete(`/v1/services/twin?wait=applied&timeoutMs=${patient(30_000)}`);
    t.same(byReplica(await lab.container(3).ask('tcp', VIP[of], TARGET, 6)), all(REPLICA_NAMES, 2));
    await Promise.all(REPLICA_NAMES.map((name) => lab.replica(name).deafen(TWIN_TARGET)));
  });
}
