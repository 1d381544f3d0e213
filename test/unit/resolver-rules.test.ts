import test from 'ava';
import type { Stored } from '../../src/model/registry.js';
import { leadsToResolver, resolverRules } from '../../src/network/resolver-rules.js';
import { Wants, type World } from '../../src/network/world.js';
import { KINDS } from '../../src/objects/registry.js';

const PORTS = { udp: 40_053, tcp: 40_054 };
const SANDBOX = { table: 'sandboxes', id: 'c1' } as Stored<'sandboxes'>;

function rulesOf(nftInet: boolean, ports: typeof PORTS | undefined) {
  const wants = new Wants('sandbox/c1');
  resolverRules({ nftInet, resolverPorts: () => ports } as unknown as World, SANDBOX, wants);
  return wants.list;
}

test('ports are rewritten without state where the kernel can, else translated', (t) => {
  t.deepEqual(new Set(rulesOf(true, PORTS).map(({ kind }) => kind)), new Set(['nft']));
  const translated = rulesOf(false, PORTS);
  t.deepEqual(new Set(translated.map(({ kind }) => kind)), new Set(['iptables']));
  const text = JSON.stringify(translated);
  t.regex(text, /-d 127\.0\.0\.11\/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127\.0\.0\.11:40053/);
  t.regex(text, /-s 127\.0\.0\.11\/32 -p tcp -m tcp --sport 40054 -j SNAT --to-source :53/);
});

test('while it is not known where the resolver listens no rule leads there', (t) => {
  for (const nftInet of [true, false]) t.deepEqual(rulesOf(nftInet, undefined), []);
});

test('every object of the rules is known by its key, and no other is', (t) => {
  for (const nftInet of [true, false]) {
    for (const { kind, object } of rulesOf(nftInet, PORTS)) {
      const key = (KINDS.get(kind) as unknown as { key(o: unknown): string }).key(object);
      t.true(leadsToResolver(kind, key), key);
    }
  }
  t.false(leadsToResolver('iptables', '4 nat WEFT-TASK-IN'));
  t.false(leadsToResolver('nft', 'chain bridge weft balance'));
});
