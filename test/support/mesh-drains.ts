import type { Test } from 'tap';
import { type Family, withPort } from '../../src/base/ip.js';
import { patient, until } from './lab.js';
import { appAddress, type MeshLab, REPLICAS, TARGET, VIP } from './mesh-lab.js';
import { byReplica } from './mesh-schedulers.js';
import { asked, inGuest } from './needs.js';

interface Drained {
  left: number;
  applied: boolean;
  backends: string[];
}

interface Shown {
  status: { phase: string; drain?: { over: boolean } };
}

const B2 = { endpoint: 'b2:app' };

/** Draining as an operator asks for it, on node 1, whose balancers it concerns; b2 is there. */
export async function drains(t: Test, lab: MeshLab, of: Family, lb: 'nft' | 'ipvs'): Promise<void> {
  const client = lab.container(1);
  const post = (path: string, body: object) => lab.api(1).post<Drained>(path, JSON.stringify(body));
  const drain = (timeoutMs: number) => post('/v1/drain', { ...B2, timeoutMs });
  const shown = () => lab.api(1).get<Shown>('/v1/endpoints/b2:app');
  const isDraining = async () => (await shown()).status.phase === 'draining';
  const new20 = async () => byReplica(await client.ask('tcp', VIP[of], TARGET, 20));

  /** A connection that is with b2; others are closed. */
  const withB2 = async (name: string): Promise<string> => {
    for (let i = 0; i < 10; i++) {
      const flow = `${name} ${i}`;
      await client.open(flow, 'tcp', VIP[of], TARGET);
      if ((await client.say(flow)).startsWith('b2 ')) return flow;
      await client.close(flow);
    }
    throw new Error('no connection was with b2');
  };

  const kept = await withB2('kept');
  let ended = false;
  const answer = drain(patient(60_000)).finally(() => {
    ended = true;
  });
  await until('the endpoint drains', isDraining);
  await until('no new connection for it', async () => (await new20()).b2 === undefined, 10_000);
  t.match(await client.say(kept), /^b2 /, 'its connection goes on');
  t.notOk(ended, 'who drains waits for it');
  if (lb === 'ipvs') {
    const servers = lab.sh(lab.pin(1, 'net-app'), 'ipvsadm -Ln');
    const server = withPort(appAddress(REPLICAS.b2.host, of), 0).replace(/[[\]]/g, '\\$&');
    t.match(servers, new RegExp(`-> ${server} +Route +0 +1 `), 'weight 0, one active');
  }
  const told: string[] = [];
  for await (const line of lab.api(1).lines('/v1/gossip?follow=false')) told.push(line);
  const row = told.find((line) => line.includes('"n1/b2:app"'));
  t.match(row, /"state":"draining"/, 'others are told');
  await client.close(kept);
  t.match(await answer, { left: 0, applied: true, backends: ['b2:app'] });
  await lab.change('b2', { aliases: ['stated-anew'] });
  t.ok(await isDraining(), 'what is stated anew goes on being drained');
  t.match(await post('/v1/undrain', { ...B2, timeoutMs: patient(10_000) }), { applied: true });
  t.ok((await new20()).b2, 'it has its turns');

  const cut = await withB2('cut');
  t.ok((await drain(patient(200))).left >= 1, 'the time is up');
  await until('what is left is cut', async () => /^(ECONNRESET|EPIPE)$/.test(await client.say(cut)), 10_000);
  await post('/v1/undrain', B2);

  // The agent's own doing, which no kernel answers otherwise.
  if (asked(!inGuest())) await deadlineOfAnotherLife();
  await post('/v1/undrain', { node: 'n1' });
  await lab.change('b2', {});
  t.notOk((await shown()).status.drain);

  async function deadlineOfAnotherLife(): Promise<void> {
    const crossed = await withB2('crossed');
    const broken = drain(patient(1000)).catch((error) => String(error));
    await until('the endpoint drains', isDraining);
    await lab.lab.node(1).kill9();
    await broken;
    await lab.lab.node(1).start();
    await until('the deadline of the life before holds', async () => (await shown()).status.drain?.over, 10_000);
    await until('it is cut', async () => /^(ECONNRESET|EPIPE)$/.test(await client.say(crossed)), 10_000);
  }
}
