import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { Lab, patient } from '../support/lab.js';
import { needs } from '../support/needs.js';
import { SHOW_STATE } from '../support/node-facts.js';
import { swarmDifference, swarmWish, WEFT_NAMESPACES } from '../support/swarm-difference.js';

/** Compiled files lie one folder deeper than their sources. */
const ROOT = new URL('../../../', import.meta.url);
const PAGE = new URL('docs/swarm-difference.md', ROOT);
const RECORDING = new URL('test/golden/swarm/one-node-state.txt', ROOT);

t.test('docs/swarm-difference.md says what differs, with a reason for each line', async (t) => {
  if (!needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip_vs', 'ipvsadm', 'nft-bridge', 'iptables-nat'])) return;
  const lab = await Lab.up({ nodes: 1, args: ['--lb', 'ipvs'] });
  t.teardown(() => lab.down());
  const node = lab.node(1);
  const wait = `wait=applied&timeoutMs=${patient(10_000)}`;
  await node.api.put(`/v1/wish?${wait}`, swarmWish(node.name, node.vtep));
  const weft = new Map<string, string>();
  for (const ns of WEFT_NAMESPACES) {
    const script = ['sh', '-c', SHOW_STATE];
    const { stdout } = ns === '' ? await node.exec(...script) : await node.execIn(ns, ...script);
    weft.set(ns, stdout);
  }
  const page = swarmDifference(readFileSync(RECORDING, 'utf8'), weft);
  if (process.argv.includes('--write')) writeFileSync(PAGE, page);
  t.equal(readFileSync(PAGE, 'utf8'), page, 'or write it anew: node scripts/swarm-difference.mjs');
});
