import { appAddress, CLIENT, type MeshLab, PUBLISHED, REPLICAS, TARGET, underlay, VIP } from './mesh-lab.js';

/*
 * docs/packet-walk.md, made from a mesh that runs: what stands in each namespace on a packet's way through a published port, as
 * the kernel's own tools print it, with words for each hop. Nothing in it may change from run to run.
 */

/** Rules of ours without counters; the resolver's are no part of the way, and their ports are random. */
const rules = (pattern: string, ...tables: string[]): string =>
  `for t in ${tables.join(' ')}; do echo "*$t"; iptables-save -t $t | grep '^-A' | grep -v WEFT-TASK-DNS | grep -E '${pattern}'; done`;
/** `nft list chain` without the table around it. */
const chains = (...names: string[]): string =>
  names.map((name) => `nft -s list chain bridge weft ${name} | sed -e '1d' -e '$d' -e 's/^\\t//'`).join('\n');
/** Without the values of counters, which a segment more or less changes. */
const map = (name: string): string => `nft -s list map bridge weft ${name} | sed -e '1d' -e '$d' -e 's/^\\t//'`;

export function packetWalk(lab: MeshLab): string {
  const show = (netns: string, script: string, caption: string): string =>
    `${caption}\n\n\`\`\`\n${lab.sh(netns, script).trimEnd().replaceAll('\t', '    ').replace(/ +$/gm, '')}\n\`\`\``;
  const node = (script: string, caption: string) => show(lab.netns(3), script, caption);
  const entry = (script: string, caption: string) => show(lab.pin(3, 'net-ingress'), script, caption);
  const far = (script: string, caption: string) => show(lab.pin(2, 'net-ingress'), script, caption);
  const task = (script: string, caption: string) => show(lab.pin(2, 'b3'), script, caption);
  const parts = [
    INTRODUCTION,
    '## 1. Node 3, where the client knocks',
    node(
      rules('WEFT-(INGRESS|FORWARD|MSS)', 'nat', 'mangle', 'filter'),
      `The packet is for an address of the node and for port ${PUBLISHED}: its destination becomes the node's own ingress
address. FORWARD lets through what was translated, whatever its policy; the clamp keeps segments small enough for the
tunnel.`,
    ),
    node(
      'ip route show 10.0.0.103; ip neigh show dev weft-in',
      `The ingress address leads to the leg \`weft-in\`, a pair whose other end is a port of the ingress network's bridge. The
leg has no address, so nothing on that network can speak to the node. The neighbour is \`br0\` over there.`,
    ),
    '## 2. The ingress network on node 3: a replica is chosen',
    entry(
      'ip -4 -br addr show dev br0',
      `The frame \`leg → br0\` arrives at the bridge. \`br0\` has the node's ingress address, so that it can refuse what finds no
replica.`,
    ),
    entry(
      chains('balance', 'l4-4', 'in4', 'new4'),
      `Before the bridge looks where the frame goes, the balancer does. Frames to anybody but \`br0\` leave at the first rule. A
known connection goes on to its replica (\`live4\`, or \`drain4\` for one that drains); a new one goes to its service's chain.`,
    ),
    entry(
      [map('svc4'), chains('pub4-web-8080-tcp'), map('slot4'), map('live4')].join('\n'),
      `A service has one rule: the next turn out of three names a replica, by its address as a number. A change of replicas
changes elements of these maps, in one transaction.`,
    ),
    entry(
      chains('learn4', 'begin4', 'touch4'),
      `The flow is noted with its replica, and the frame's destination becomes the replica's MAC. Nothing else of it changes:
the replica will see the client's own address. Where there is no room, a SYN is counted and dropped.`,
    ),
    '## 3. Through the tunnel',
    entry(
      "bridge fdb show dev vxlan0 | grep 02:42:0a:00:00:17 | sed 's/ link-netnsid [0-9]*//'",
      `The bridge has a static row for the replica's MAC (port \`vxlan0\`), and the VXLAN device another (node 2). On a node that
has the replica itself, the row names the port of its sandbox instead.`,
    ),
    '## 4. The sandbox of b3 on node 2',
    task(
      'ip -4 -br addr | sort; ip rule show priority 18600; ip -4 route show table 18600; ip -4 route show table main',
      'It stands on two networks and on the gateway bridge, where its default route points.',
    ),
    task(
      rules('WEFT-TASK-(IN|OUT)', 'mangle', 'nat'),
      `What comes in on the ingress network for another address than the task's own, which is that of the node that was dialled,
gets one bit, on the connection too: "came through the mesh". Then ${PUBLISHED} becomes ${TARGET}, at the address that the default route prefers as source: a UDP server that answers from there
answers right. (The rule on eth0 is for the VIP ${VIP[4]}; it is not on this way.)`,
    ),
    '## 5. The way back',
    far(
      `${chains('returns')}\n${map('nodes4')}`,
      `The task answers. Connection tracking in its sandbox makes the source ${'`10.0.0.103:8080`'} again, the bit sends the packet
out by the ingress network and not by the default route, and its next hop is that network's gateway, \`br0\` of node 2.
There the source address says which node took the connection, and the map says which leg that is. The map knows nothing
of flows. Its second use is as a fence: nobody may send with a node's address except in answer, through \`br0\`.`,
    ),
    far(
      "bridge fdb show dev vxlan0 | grep 02:42:0a:00:00:67 | sed 's/ link-netnsid [0-9]*//'",
      "The leg's MAC is behind the tunnel to node 3.",
    ),
    node(
      rules('WEFT-GUARD', 'mangle'),
      `On node 3 the frame comes out of \`weft-in\`. Only answers may: anything else that a task sends to a leg is dropped. The
node's connection tracking makes the source \`${underlay(3)}:${PUBLISHED}\`, and the packet goes to the client.`,
    ),
    '## 6. Seen by connection tracking',
    show(lab.netns(3), TRACKED, 'One connection on node 3 …'),
    task(TRACKED, '… and in the sandbox of b3.'),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** The translations of one TCP connection of the client's, without what differs from one to the next. */
const TRACKED = `conntrack -L -p tcp --src ${CLIENT[4]} 2>/dev/null | head -1 |
  sed -e 's/^tcp *6 [0-9]* [A-Z_]* //' -e 's/port=[1-9][0-9]\\{4\\}/port=CLIENT/g' -e 's/ use=.*//'`;

const INTRODUCTION = `# A packet's way through a published port

Made from a running mesh by \`node build/test/kernel/packet-walk.test.js --write\`; the kernel lane compares it with what it
finds. Balancer \`nft\` without connection tracking in the bridge.

| | |
|---|---|
| client | ${CLIENT[4]} |
| node 3, which has no replica | ${underlay(3)}; on the ingress network 10.0.0.103, leg 02:42:0a:00:00:67, \`br0\` 02:57:c0:a8:49:01 |
| node 2, which has replica b3 | ${underlay(2)}; on the ingress network 10.0.0.102, \`br0\` 02:57:c0:a8:48:01 |
| b3 | ${appAddress(REPLICAS.b3.host)} on network app (eth0), 10.0.0.23 and 02:42:0a:00:00:17 on ingress (eth1) |
| service web | replicas b1, b2 (node 1) and b3; port ${PUBLISHED} is published, the tasks listen on ${TARGET} |

The client dials ${underlay(3)}:${PUBLISHED}, and it is b3's turn.`;
