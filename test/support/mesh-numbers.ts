import type { Test } from 'tap';
import { bits, type Family } from '../../src/base/ip.js';
import {
  appAddress,
  CLIENT,
  type MeshLab,
  NODES,
  PLAIN_PORTS,
  PUBLISHED,
  REPLICA_NAMES,
  TARGET,
  underlay,
  VIP,
} from './mesh-lab.js';

/** A second port of the tasks, whose answers tell. */
const OTHER = 81;
const DECLARED = 9000;
const PUBLISHED_TOO = 8085;
const FOR_SOME = 8086;
/** Of the client; no flow of another test begins there. */
const CLIENT_PORT = 9500;
/** Milliseconds in which nothing shall come. */
const SILENCE = 1000;

const STAYS = {
  ports: [{ port: DECLARED, target: TARGET }],
  publish: [...PLAIN_PORTS, { published: PUBLISHED_TOO, target: TARGET, proto: 'tcp' }],
};
/** @param of the family in which some are allowed */
const goesIn = (of: Family) => ({
  ports: [{ port: DECLARED, target: OTHER, proto: 'udp' }],
  publish: [
    { published: PUBLISHED_TOO, target: OTHER, proto: 'udp' },
    { published: FOR_SOME, target: TARGET, proto: 'tcp', allow: [`${CLIENT[of]}/${bits(of)}`] },
  ],
});

/** Several ports of one service, in a mesh that stands; it is left as it was. */
export function numberScenes(t: Test, lab: MeshLab): void {
  const goes = goesIn(lab.families[0] as Family);
  const ways = lab.families.flatMap((of) => [
    { name: `VIP, IPv${of}`, from: () => lab.container(3), host: VIP[of], port: DECLARED, seen: appAddress(13, of) },
    { name: `IPv${of}`, from: () => lab.outside, host: underlay(3, of), port: PUBLISHED_TOO, seen: CLIENT[of] },
  ]);
  const once = (suffix: string, seen: string) =>
    Object.fromEntries(REPLICA_NAMES.map((name) => [`${name}${suffix} ${seen}`, 1]));

  // Behaviours 3, 4 and 20.
  t.test('a number leads by TCP and UDP to two ports of the tasks; when one goes the other goes on', async (t) => {
    await Promise.all(REPLICA_NAMES.map((name) => lab.replica(name).serve(OTHER, `${name}/other`)));
    await lab.service({ ports: [...STAYS.ports, ...goes.ports], publish: [...STAYS.publish, ...goes.publish] });
    const kept = [];
    for (const { name, from, host, port, seen } of ways) {
      t.same(await from().ask('tcp', host, port, 3), once('', seen), `${name}: TCP`);
      t.same(await from().ask('udp', host, port, 3), once('/other', seen), `${name}: UDP`);
      await from().open(`kept ${name}`, 'tcp', host, port);
      kept.push(await from().say(`kept ${name}`));
    }
    const [of, other] = lab.families as [Family, Family?];
    t.same(await lab.outside.ask('tcp', underlay(2, of), FOR_SOME, 3), once('', CLIENT[of]), 'an allowed source');
    if (other !== undefined) {
      const unnamed = await lab.outside.ask('tcp', underlay(2, other), FOR_SOME, 1, SILENCE);
      t.same(unnamed, { ETIMEDOUT: 1 }, `who allows IPv${of} allows nobody in IPv${other}`);
    }

    await lab.service(STAYS);
    for (const [i, { name, from, host, port, seen }] of ways.entries()) {
      t.equal(await from().say(`kept ${name}`), kept[i], `${name}: the connection stays`);
      t.same(await from().ask('tcp', host, port, 3), once('', seen), `${name}: TCP goes on`);
      t.same(await from().ask('udp', host, port, 2), { ECONNREFUSED: 2 }, `${name}: UDP is gone`);
      await from().close(`kept ${name}`);
    }
    await lab.service({});
    await Promise.all(REPLICA_NAMES.map((name) => lab.replica(name).deafen(OTHER)));
  });

  t.test(
    'one port of a client, through all nodes at once and to one task: no connection is taken for another',
    async (t) => {
      await lab.service({ scheduler: 'mh' });
      for (const of of lab.families) {
        for (const proto of ['tcp', 'udp'] as const) {
          const flows = NODES.map((i) => ({ i, flow: `IPv${of}, ${proto}, through node ${i}` }));
          const told: string[] = [];
          for (const { i, flow } of flows) {
            await lab.outside.open(flow, proto, underlay(i, of), PUBLISHED, CLIENT_PORT);
            told.push(await lab.outside.say(flow));
          }
          t.match(told[0], new RegExp(`^b[123] ${CLIENT[of]}$`), `${proto}, IPv${of}`);
          for (const { i, flow } of flows) {
            t.equal(told[i - 1], told[0], `${flow}: it is the same task`);
            t.equal(await lab.outside.say(flow), told[0], `${flow}: again`);
            await lab.outside.close(flow);
          }
        }
      }
      await lab.service({});
    },
  );
}
