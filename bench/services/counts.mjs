// How much an agent has in the kernel, counted by tools that are not its own.
import { run } from '../lab/run.mjs';

const lines = (ns, script) => Number(run(ns, ['sh', '-ec', `{ ${script}; } | wc -l`]).trim());
const RULES = 'iptables-save; ip6tables-save';

/** Objects of one sandbox. @param {string} ns */
export const inSandbox = (ns) => ({
  'iptables rules': lines(ns, `{ ${RULES}; } | grep ^-A || true`),
  routes: lines(ns, 'ip route show table all; ip -6 route show table all'),
  'routing rules': lines(ns, 'ip rule; ip -6 rule'),
  'neighbours (permanent)': lines(ns, 'ip neigh show nud permanent'),
  'lines of nft': lines(ns, 'nft list ruleset'),
});

const MAPS = ['svc', 'slot', 'live', 'nodes'];

/** Objects of a network's namespace. @param {string} ns */
export function inNetwork(ns) {
  const table = run(ns, ['nft', 'list', 'table', 'bridge', 'weft']);
  return {
    'forwarding rows (tunnel)': lines(ns, "bridge fdb show dev vxlan0 | grep ' dst ' || true"),
    'forwarding rows (bridge)': lines(
      ns,
      "bridge fdb show dev vxlan0 | grep ' master br0' | grep -v permanent || true",
    ),
    neighbours: lines(ns, 'ip neigh show nud permanent dev vxlan0'),
    addresses: lines(ns, 'ip -o addr show dev br0'),
    ...Object.fromEntries(MAPS.map((map) => [`elements of ${map}4`, elementsOf(table, `${map}4`)])),
  };
}

/** Elements of a map in the text of its table; each has one colon between spaces. */
function elementsOf(table, map) {
  const block = new RegExp(`^\\tmap ${map} \\{$([\\s\\S]*?)^\\t\\}$`, 'm').exec(table)?.[1] ?? '';
  const elements = block.slice(block.indexOf('elements = {'));
  return block.includes('elements = {') ? elements.split(' : ').length - 1 : 0;
}

/** Rules of the node itself. @param {string} ns */
export const inNode = (ns) => ({
  'iptables rules': lines(ns, `{ ${RULES}; } | grep ^-A || true`),
  'iptables chains': lines(ns, `{ ${RULES}; } | grep ^:WEFT || true`),
  routes: lines(ns, 'ip route show table all; ip -6 route show table all'),
});
