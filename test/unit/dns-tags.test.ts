import { randomInt } from 'node:crypto';
import test from 'ava';
import { TYPE } from '../../src/dns/constants.js';
import { lookup } from '../../src/dns/lookup.js';
import { tagsOfName, touchedBy } from '../../src/dns/tags.js';
import { type NameJson, type PatchJson, parseView, patchView, type ViewJson } from '../../src/dns/view-json.js';
import { Random } from '../soak/random.js';

/** Some are networks, some look like what weft makes of names. */
const LABELS = ['web', 'db', 'net', 'inner', 'tasks', '_tcp', '_http', '10-0-0-1', 'a'];
const NETWORKS = ['Net', 'inner', 'a.net'];
/** Two seconds of work. */
const ROUNDS = 200;
const TYPES = [TYPE.A, TYPE.AAAA, TYPE.SRV, TYPE.TXT, TYPE.PTR];

function name(random: Random): string {
  const labels = Array.from({ length: 1 + random.int(4) }, () => random.pick(LABELS) as string);
  return labels.join('.');
}

const address = (random: Random) => `10.0.0.${1 + random.int(3)}`;

function entry(random: Random): NameJson {
  const a = [address(random)];
  return random.chance(0.5) ? { a } : { served: [{ backends: a.map((one) => ({ a: one })) }] };
}

function view(random: Random): ViewJson {
  const names = () => Object.fromEntries(Array.from({ length: random.int(6) }, () => [name(random), entry(random)]));
  const network = () => ({
    ...{ internal: random.chance(0.5), names: names() },
    ptr: random.chance(0.5) ? { [address(random)]: name(random) } : {},
  });
  return {
    ...{ revision: 1, upstreams: [] },
    sandboxes: { c: { netns: '/c', networks: NETWORKS.filter(() => random.chance(0.7)) } },
    networks: Object.fromEntries(NETWORKS.map((id) => [id, network()])),
  };
}

/** A few names and addresses of one network come, change or go. */
function patch(random: Random, before: ViewJson): PatchJson {
  const network = random.pick(NETWORKS) as string;
  const known = Object.keys(before.networks[network]?.names ?? {});
  const chosen = random.chance(0.5) && known.length > 0 ? (random.pick(known) as string) : name(random);
  const names = { [chosen]: random.chance(0.5) ? null : entry(random) };
  const ptr = random.chance(0.5) ? { [address(random)]: random.chance(0.5) ? null : name(random) } : {};
  return { revision: 2, names: { [network]: { names, ptr } } };
}

test('whatever a patch makes of an answer, it touches a tag of its name', (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const random = new Random(seed);
  let changes = 0;
  let spared = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const json = view(random);
    const before = parseView(json);
    const change = patch(random, json);
    const after = patchView(before, change);
    const { sandboxes, tags } = touchedBy({ ...change });
    if (tags === 'all') return t.fail('a patch of names does not touch everything');
    if (sandboxes.length > 0) return t.fail('a patch of names touches no sandbox');
    const [changed] = Object.keys(Object.values(change.names ?? {})[0]?.names ?? {}) as [string];
    const near = changed.split('.').map((_, at, all) => all.slice(at).join('.'));
    const keys = [...near, `${changed}.net`, `tasks.${changed}`, `_http._tcp.${changed}`, `10-0-0-1.${changed}`];
    keys.push(...keys.map((key) => `${key}.inner`), ...[1, 2, 3].map((n) => `${n}.0.0.10.in-addr.arpa`));
    keys.push(...Array.from({ length: 10 }, () => name(random)));
    for (const key of keys) {
      for (const type of TYPES) {
        const [old, now] = [before, after].map((one) => {
          const sandbox = one.sandboxes.get('c');
          return sandbox && JSON.stringify(lookup(one, sandbox, key, type));
        });
        const touched = tagsOfName(before.sandboxes.get('c') ?? { networks: [] }, key).some((tag) =>
          tags.includes(tag),
        );
        if (old !== now) changes++;
        if (old !== now && !touched) return t.fail(`${key} ${type}: ${JSON.stringify({ json, change, old, now })}`);
        if (!touched) spared++;
      }
    }
  }
  t.true(changes > ROUNDS && spared > ROUNDS, `${changes} answers changed, ${spared} were not touched`);
});

test('other patches touch sandboxes, or everything', (t) => {
  t.deepEqual(touchedBy({ revision: 2, sandboxes: { c: null } }), { sandboxes: ['c'], tags: [] });
  for (const field of ['upstreams', 'networks', 'ttl']) t.is(touchedBy({ revision: 2, [field]: {} }).tags, 'all');
});
