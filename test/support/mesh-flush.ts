import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { until } from './lab.js';
import { type MeshLab, PUBLISHED, REPLICA_NAMES, TARGET, underlay, VIP } from './mesh-lab.js';
import { byReplica } from './mesh-schedulers.js';

/** Ours alone: where programs are the legacy ones, to flush a table makes it. */
const RULES = "(iptables-save; ip6tables-save) | sed -e 's/\\[[0-9:]*\\]//' -e '/WEFT-/!d' | sort";
/** Maps of the wish; those that packets fill are left out, and so are counts. */
const MAPS = String.raw`awk '$1=="map"{m=$2} /flags.*(dynamic|timeout)/{m=""} /^\t}/{if(m)print m;m=""}'`;
const TABLE = `(nft -t list table bridge weft; for m in $(nft -t list table bridge weft | ${MAPS}); do
  nft list map bridge weft $m; done) 2>&1 | sed -e 's/counter packets [0-9]* bytes [0-9]*//' | sort`;
const FLUSH_RULES = 'for p in iptables ip6tables; do for t in raw mangle nat filter; do $p -t $t -F; done; done';

/** What somebody flushes on node 1, how it looks, and what is told of it. */
function flushed({ families, lb }: MeshLab): { where: string; script: string; look: string; told: RegExp[] }[] {
  const of = families.at(-1);
  const isIpvs = lb === 'ipvs';
  const network = (name: string) => ({
    where: `net-${name}`,
    script: `nft flush ruleset${isIpvs ? '; ipvsadm -C' : ''}`,
    look: `${TABLE}${isIpvs ? '; ipvsadm -Sn | sort' : ''}`,
    told: [
      new RegExp(`add nft (table bridge weft|chain bridge weft \\S+) in net-${name}`),
      ...(isIpvs ? [new RegExp(`add virtual-server v${of} mark \\d+ in net-${name}`)] : []),
    ],
  });
  return [
    {
      where: '@node',
      script: FLUSH_RULES,
      look: RULES,
      told: [
        new RegExp(`iptables ${of} nat WEFT-INGRESS in @node`),
        new RegExp(`iptables ${of} filter WEFT-FORWARD in @node`),
      ],
    },
    {
      where: 'b1',
      script: `${FLUSH_RULES}; ip -${of} rule del priority 18600; ip -${of} route flush table 18600`,
      look: `${RULES}; ip -${of} rule; ip -${of} route show table 18600`,
      told: [new RegExp(`iptables ${of} nat WEFT-TASK-IN in b1`), new RegExp(`add rule ${of} 18600 .* in b1`)],
    },
    network('app'),
    network('ingress'),
  ];
}

/** Somebody flushes all that the mesh has on node 1, with every tool at once (behaviour 22). */
export function flushScene(t: Test, lab: MeshLab): void {
  t.test('what somebody flushes is restored, and told', async (t) => {
    const places = flushed(lab).map((place) => ({
      ...place,
      path: place.where === '@node' ? lab.netns(1) : lab.pin(1, place.where),
    }));
    const asItIs = () => places.map(({ path, look }) => lab.sh(path, look));
    let before = asItIs();
    // What the scene before this one set going has come to rest.
    await until('nothing changes by itself', async () => {
      await sleep(500);
      const now = asItIs();
      const rests = now.every((text, i) => text === before[i] && /chain|WEFT-/.test(text));
      if (!rests) t.comment(`not at rest: ${now.map((text) => text.slice(0, 300)).join('\n--\n')}`);
      before = now;
      return rests;
    });
    const earlier = (await lab.drifts(1)).length;
    for (const { path, script } of places) lab.sh(path, script);
    for (const [i, { where, path, look }] of places.entries()) {
      const isBack = () => lab.sh(path, look) === before[i];
      // In vain: the difference is shown.
      await until(`${where} is as it was`, isBack, 30_000).catch(() => t.equal(lab.sh(path, look), before[i], where));
    }

    const told = async () => (await lab.drifts(1)).slice(earlier);
    for (const what of places.flatMap((place) => place.told))
      await until(`${what} is told`, async () => (await told()).some((message) => what.test(message)), 10_000);
    for (const of of lab.families) {
      const even = Object.fromEntries(REPLICA_NAMES.map((name) => [name, 2]));
      t.same(byReplica(await lab.outside.ask('tcp', underlay(1, of), PUBLISHED, 6)), even, `outside, IPv${of}`);
      t.same(byReplica(await lab.container(1).ask('udp', VIP[of], TARGET, 6)), even, `VIP, IPv${of}`);
    }
  });
}
