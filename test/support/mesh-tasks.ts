import type { Test } from 'tap';
import type { Family } from '../../src/base/ip.js';
import type { Proto } from './flow.js';
import { patient } from './lab.js';
import type { Tally } from './load.js';
import { CLIENT, type MeshLab, PUBLISHED, REPLICA_NAMES, REPLICAS, TARGET, underlay } from './mesh-lab.js';

/*
 * Tasks and clients with habits of their own: without a way out, with marks and routes of their own, deaf to ICMP, behind
 * a mute router. Scenes for a mesh that stands, each of which leaves it as it was.
 */

const PROTOS: readonly Proto[] = ['tcp', 'udp'];
/** Published, and leads to a port at which nobody listens. */
const CLOSED = 8090;

const word = { 4: 'iptables', 6: 'ip6tables' } as const;
/** What says that a packet was too big. */
const TOO_BIG = {
  4: '-p icmp --icmp-type fragmentation-needed',
  6: '-p ipv6-icmp --icmpv6-type packet-too-big',
} as const;

export function taskScenes(t: Test, lab: MeshLab, of: Family): void {
  const client = CLIENT[of];
  const all: Tally = Object.fromEntries(REPLICA_NAMES.map((name) => [`${name} ${client}`, 1]));
  const outside = (proto: Proto, port: number) => lab.outside.ask(proto, underlay(3, of), port, 3);
  const inB3 = (script: string): string => lab.sh(lab.pin(REPLICAS.b3.node, 'b3'), script);

  t.test(`a task that nothing leads out of answers at its published ports, IPv${of}`, async (t) => {
    const both = (port: object) => PROTOS.map((proto) => ({ ...port, proto }));
    const publish = [
      ...both({ published: PUBLISHED, target: TARGET }),
      ...both({ published: CLOSED, target: TARGET - 1 }),
    ];
    await lab.service({ publish });
    await lab.change('b3', { defaultRoute: false });
    t.equal(inB3(`ip -${of} route show default`), '', 'it has no default route');
    for (const proto of PROTOS) {
      t.same(await outside(proto, PUBLISHED), all, proto);
      t.same(await outside(proto, CLOSED), { ECONNREFUSED: 3 }, `${proto}: refuses where nobody listens`);
      t.same(await lab.replica('b3').ask(proto, client, TARGET, 1), { ENETUNREACH: 1 }, `${proto}: has no way out`);
    }
    await lab.change('b3', {});
    t.notMatch(inB3(`ip -${of} rule show`), /^32768:/m, 'with a way out it needs no last resort');
    await lab.service({});
  });

  t.test(`a task with marks, connection marks and routes of its own, IPv${of}`, async (t) => {
    const ip = `ip -${of}`;
    const own = [
      `${word[of]} -t mangle -I PREROUTING -j CONNMARK --set-xmark 0x10/0x10`,
      `${word[of]} -t mangle -A OUTPUT -j MARK --set-xmark 0x20/0x20`,
      `${ip} rule add pref 19000 lookup main suppress_prefixlength 0`,
      `${ip} rule add pref 19001 fwmark 0x20/0x20 lookup 20`,
      `${ip} route add unreachable default table 20`,
    ];
    inB3(own.join('; '));
    const state = () => inB3(`${word[of]}-save -t mangle | sed -e '/^#/d' -e 's/ \\[[0-9:]*\\]$//'; ${ip} rule show`);
    const rules = state();
    t.throws(
      () => inB3(`${ip} route get ${client} mark 0x20`),
      /No route to host/,
      'what it sends itself has its own way',
    );
    for (const proto of PROTOS) {
      t.same(await outside(proto, PUBLISHED), all, proto);
      const flows = inB3(`conntrack -L -f ipv${of} -p ${proto} --orig-port-dst ${PUBLISHED} 2>/dev/null`);
      t.match(flows, /mark=134217744\b/, `${proto}: its bit of the connection beside the mesh's`);
    }
    const { operations } = await lab.api(REPLICAS.b3.node).get<{ operations: unknown[] }>('/v1/plan');
    t.same(operations, [], 'nothing of it is drift');
    t.equal(state(), rules, 'nor touched');
    const undo = own.map((line) => line.replace(/ -[IA] /, ' -D ').replace(/ (rule|route) add /, ' $1 del '));
    inB3(undo.join('; '));
  });

  t.test(`a client that is deaf to ICMP uploads, one behind a mute router downloads, IPv${of}`, async (t) => {
    const drop = (netns: string, verb: '-I' | '-D', chain: string) =>
      lab.sh(netns, `${word[of]} ${verb} ${chain} ${TOO_BIG[of]} -j DROP`);
    const [router, deaf] = [lab.netns('router'), lab.netns('client')];
    drop(deaf, '-I', 'INPUT');
    await lab.outside.open('upload', 'tcp', underlay(3, of), PUBLISHED);
    t.match(await lab.outside.say('upload', 20_000), /^b[123] /, 'its segments fit into the tunnel');
    await lab.outside.close('upload');
    drop(deaf, '-D', 'INPUT');

    // What they learned of the path while the router spoke they remember for ten minutes.
    for (const name of REPLICA_NAMES)
      lab.sh(lab.pin(REPLICAS[name].node, name), 'ip route flush cache; ip -6 route flush cache');
    drop(router, '-I', 'OUTPUT');
    lab.sh(router, 'ip link set client mtu 1300');
    const got = await lab.outside.download(underlay(3, of), PUBLISHED, 200_000, patient(20_000));
    lab.sh(router, 'ip link set client mtu 1500');
    drop(router, '-D', 'OUTPUT');
    t.equal(got, 200_000, 'segments become smaller until they pass');
  });
}
