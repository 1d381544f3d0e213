import type { Test } from 'tap';
import type { Caller } from './mesh-callers.js';
import { type MeshLab, REPLICA_NAMES, underlay } from './mesh-lab.js';
import { Standing } from './mesh-standing.js';

/*
 * Replicas that go without a word, and the first that comes: what becomes of flows that were there. Scenes for a mesh that
 * stands, each of which leaves three active replicas.
 */

/** Who is told by node 2 itself: it does not hear that it is dead. */
const byNode2 = ({ name, host }: Caller): boolean =>
  [underlay(2, 4), underlay(2, 6)].includes(host) || name.includes('127.0.0.1');

/** Ways in which a replica goes that took connections up to then. */
const WAYS: {
  what: string;
  gone: string;
  asked: (caller: Caller) => boolean;
  away: (lab: MeshLab) => Promise<void>;
  back: (lab: MeshLab) => Promise<void>;
}[] = [
  {
    what: 'removed without draining',
    gone: 'b2',
    asked: () => true,
    away: (lab) => lab.disconnect('b2'),
    back: (lab) => lab.change('b2', {}),
  },
  {
    what: 'on a node that dies',
    gone: 'b3',
    asked: (caller) => !byNode2(caller),
    away: (lab) => lab.declare(2, false),
    back: (lab) => lab.declare(2, true),
  },
];

export function removalScenes(t: Test, lab: MeshLab, callers: readonly Caller[]): void {
  // Behaviour 24.
  for (const { what, gone, asked, away, back } of WAYS) {
    t.test(`flows of a replica ${what}: datagrams find another at once, connections are reset`, async (t) => {
      const standing = new Standing(lab, `${gone} `);
      await standing.open(callers.filter(asked), 3);
      const before = await standing.say();
      const theirs = before.filter(({ text }) => text.startsWith(`${gone} `));
      t.equal(theirs.length, before.length / 3, `a third of ${before.length} flows is with ${gone}`);
      await away(lab);
      const after = await standing.say();
      for (const [i, { name, proto, text }] of after.entries()) {
        const was = before[i]?.text ?? '';
        if (!was.startsWith(`${gone} `)) t.equal(text, was, `${name} stays`);
        else if (proto === 'udp')
          t.match(text, new RegExp(`^(?!${gone})b[123] ${was.split(' ')[1]}$`), `${name} moves`);
        else t.match(text, /^(ECONNRESET|EPIPE)$/, `${name} is reset`);
      }
      await back(lab);
      const living = (said: typeof after) => said.filter(({ text }) => /^b/.test(text));
      t.same(living(await standing.say()), living(after), 'its return disturbs nobody');
      await standing.close();
    });
  }

  // Behaviours 2 and 25.
  t.test('the first replica answers once it is applied, also flows that were refused before', async (t) => {
    for (const name of REPLICA_NAMES) await lab.disconnect(name);
    const asked = callers.filter(({ name }) => !name.startsWith('a replica'));
    const standing = new Standing(lab, 'early ');
    await standing.open(asked, 1, ['udp']);
    for (const { name, text } of await standing.say()) t.equal(text, 'ECONNREFUSED', name);
    const began = Date.now();
    await lab.change('b1', {});
    const [first] = await standing.say();
    t.comment(`told, applied on three nodes and answered in ${Date.now() - began} ms`);
    t.match(first?.text, /^b1 /);
    for (const { name, text } of await standing.say()) t.match(text, /^b1 /, name);
    for (const { name, from, host, port, seen } of asked)
      t.same(await from(lab).ask('tcp', host, port, 1), { [`b1 ${seen}`]: 1 }, name);
    await standing.close();
    for (const name of ['b2', 'b3'] as const) await lab.change(name, {});
  });
}
