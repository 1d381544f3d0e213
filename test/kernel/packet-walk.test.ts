import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { floods } from '../support/mesh-floods.js';
import { CLIENT, MeshLab, PUBLISHED, underlay } from '../support/mesh-lab.js';
import { missing, needs } from '../support/needs.js';
import { packetWalk } from '../support/packet-walk.js';

/** Compiled files lie one folder deeper than their sources. */
const PAGE = new URL('../../../docs/packet-walk.md', import.meta.url);

/** The page shows the balancer that keeps its own flows: a kernel with bridge conntrack has other chains. */
const other =
  missing(['nf_conntrack_bridge']) === '' ? 'a kernel without nf_conntrack_bridge: the page shows that one' : '';

t.test('docs/packet-walk.md says what is in the kernel', { skip: other }, async (t) => {
  if (!needs(t, ['root', 'veth', 'bridge', 'vxlan', 'nft-bridge', 'nft-numgen', 'iptables-nft', 'conntrack'])) return;
  const lab = new MeshLab('nft');
  t.teardown(() => lab.down());
  await lab.network();
  await lab.up();
  const tally = await lab.outside.ask('tcp', underlay(3), PUBLISHED, 3);
  t.equal(tally[`b3 ${CLIENT[4]}`], 1, 'one of three connections was with b3');
  const page = packetWalk(lab);
  if (process.argv.includes('--write')) writeFileSync(PAGE, page);
  t.equal(readFileSync(PAGE, 'utf8'), page, 'or write it anew: node build/test/kernel/packet-walk.test.js --write');
  // Here, for no scene comes after it: the memories stay full.
  await t.test('floods fill the flow memories, and disturb nobody who is there', (t) => floods(t, lab));
});
