import test from 'ava';
import fc from 'fast-check';
import { type PortRules, portTree } from '../../src/network/rules/port-tree.js';

type Proto = PortRules['proto'];
const PROTOS: Proto[] = ['tcp', 'udp', 'sctp'];

/** A port or range with so many rules, each of which says which one it is. */
const item = (n: number, proto: Proto, from: number, to: number, count = 1): PortRules => ({
  ...{ proto, from, to },
  rules: Array.from({ length: count }, (_, i) => `-p ${proto} -m ${proto} --dport ${from}:${to} -j N${n}.${i}`),
});

/** Rules a packet meets that match it, in order, and how many it is compared with. */
function walk(tree: ReadonlyMap<string, readonly string[]>, chain: string, proto: Proto, port: number) {
  const met: string[] = [];
  let compared = 0;
  for (const rule of tree.get(chain) as readonly string[]) {
    compared++;
    const [, of, from, to, target] = /^-p (\w+) .*--dport (\d+)(?::(\d+))? -j (\S+)$/.exec(rule) as string[];
    if (of !== proto || port < Number(from) || port > Number(to ?? from)) continue;
    if (!tree.has(target as string)) met.push(target as string);
    else {
      const below = walk(tree, target as string, proto, port);
      met.push(...below.met);
      compared += below.compared;
    }
  }
  return { met, compared };
}

const listed = (items: readonly PortRules[], proto: Proto, port: number): string[] =>
  items
    .filter((one) => one.proto === proto && one.from <= port && port <= one.to)
    .flatMap(({ rules }) => rules.map((rule) => rule.replace(/.* /, '')));

test('few ports are a list, as they are given', (t) => {
  const items = [item(1, 'tcp', 80, 80), item(2, 'udp', 53, 53, 2)];
  t.deepEqual([...portTree('X', items)], [['X', items.flatMap(({ rules }) => rules)]]);
  t.deepEqual([...portTree('X', [])], [['X', []]]);
});

test('a packet meets the rules of its port in the order of the list, whatever there is', (t) => {
  const port = fc.integer({ min: 1, max: 65535 });
  const ports = fc.record({ proto: fc.constantFrom(...PROTOS), from: port, length: fc.nat(3000), count: fc.nat(3) });
  fc.assert(
    fc.property(fc.array(ports, { maxLength: 120 }), fc.array(port, { maxLength: 20 }), (given, probes) => {
      const items = given.map(({ proto, from, length, count }, n) =>
        item(n, proto, from, Math.min(65535, from + length), count),
      );
      const tree = portTree('WEFT-INGRESS', items);
      for (const name of tree.keys()) t.true(name.length <= 28, name);
      for (const at of [1, 65535, ...probes, ...items.flatMap(({ from, to }) => [from, to])]) {
        for (const proto of PROTOS) {
          t.deepEqual(walk(tree, 'WEFT-INGRESS', proto, at).met, listed(items, proto, at));
        }
      }
    }),
    { numRuns: 60 },
  );
});

for (const [what, numberOf] of [
  ['side by side', (i: number) => 20_000 + i],
  ['all over', (i: number) => 1 + ((i * 7919) % 65_535)],
] as const) {
  test(`among 5,000 ports ${what} a packet is compared with a few dozen rules`, (t) => {
    const items = Array.from({ length: 5000 }, (_, i) => item(i, 'tcp', numberOf(i), numberOf(i)));
    const tree = portTree('WEFT-INGRESS', items);
    t.true(tree.size < 2000, `${tree.size} chains`);
    for (const i of [0, 1, 2500, 4999]) {
      const { met, compared } = walk(tree, 'WEFT-INGRESS', 'tcp', numberOf(i));
      t.deepEqual(met, [`N${i}.0`]);
      t.true(compared <= 3 * 16 + 32, `${compared} rules`);
    }
    t.true(walk(tree, 'WEFT-INGRESS', 'udp', 20_000).compared <= 16, 'another protocol');
  });
}

test('one more port changes its chain alone', (t) => {
  const items = Array.from({ length: 200 }, (_, i) => item(i, 'tcp', 20_000 + 2 * i, 20_000 + 2 * i));
  const [before, after] = [portTree('X', items), portTree('X', [...items, item(200, 'tcp', 20_101, 20_101)])];
  const changed = [...after].filter(([name, rules]) => String(before.get(name)) !== String(rules));
  t.is(changed.length, 1, changed.join('\n'));
});

test('dividing ends where all rules are about the same ports', (t) => {
  const same = Array.from({ length: 100 }, (_, i) => item(i, 'tcp', 1, 65535));
  t.deepEqual([...portTree('X', same).keys()], ['X']);
  const allowed = [item(0, 'tcp', 443, 443, 500), item(1, 'tcp', 444, 444)];
  const tree = portTree('X', allowed);
  t.true(walk(tree, 'X', 'tcp', 444).compared <= 3, 'many sources of one port are no burden to another');
});
