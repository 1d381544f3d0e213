/** Why lines are different at some places; a line belongs to the first that matches. */
export interface Reason {
  /** Keys of places. */
  places: readonly string[];
  lines: RegExp;
  why: string;
}

export const REASONS: readonly Reason[] = [
  {
    places: ['node'],
    lines: /docker0|172\.17\.|DOCKER-ISOLATION/,
    why: `**Docker's own bridge.** \`dockerd\` makes \`docker0\` for containers of no network, and keeps its bridges apart by two
stages of rules. Here nobody asked for such a network; a network of driver \`bridge\` is made when it is asked for, and kept
apart by rules of its own.`,
  },
  {
    places: ['node'],
    lines: /DOCKER($| -i GATEWAY)/,
    why: `**Ports of one container** (\`docker run -p\`). weft's chain for them, \`WEFT-PORTS\`, exists while a sandbox has such a port.`,
  },
  {
    places: ['node'],
    lines: /-j (DOCKER|WEFT)-USER|DOCKER-USER -j/,
    why: `**The user's own chain.** Swarm jumps to it twice, which it does not mean to. Ours ends without a rule.`,
  },
  {
    places: ['node'],
    lines: /link: port/,
    why: `**A leg less.** \`ingress_sbox\` stands on the gateway bridge too; weft has no such sandbox.`,
  },
  {
    places: ['node'],
    lines:
      /link: weft-in|route: 10\.0\.0\.2|neighbour: 10\.0\.0\.2|DOCKER-INGRESS|WEFT-INGRESS|weft-in -m conntrack --ctstate (DNAT|RELATED,ESTABLISHED) -j ACCEPT/,
    why: `**Published ports enter the ingress network directly.** Swarm translates to the sandbox \`ingress_sbox\`, which is behind
the gateway bridge and translates again, source included: the task sees that sandbox. weft's node has a leg in the ingress
network, \`weft-in\`, without an address, and translates once, to the node's own address there. What was translated may be
forwarded, whatever its port, and so may the answers; Swarm has two rules for each port.`,
  },
  {
    places: ['node'],
    lines: /--src-type LOCAL -j MASQUERADE|weft-in -j SNAT|route_localnet/,
    why: `**Callers whose address would not find back** appear as the node: its own loopback, and containers that dial a port of the
node. Swarm gives them the address of the gateway bridge, which is the same on every node; weft the node's own on the underlay,
which is not, so that the answer comes back to the right node. The replies to 127.0.0.1 arrive where \`route_localnet\` is on.`,
  },
  {
    places: ['node'],
    lines: /-j WEFT-POSTROUTING|-s GW\.0\/16 ! -o GATEWAY -j MASQUERADE/,
    why: `**Containers reach the world as the node.** The same rule, in a chain of weft's own.`,
  },
  {
    places: ['node'],
    lines:
      /-j WEFT-FORWARD|FORWARD -o GATEWAY -m conntrack|GATEWAY -j (DROP|ACCEPT)|GATEWAY ! -o GATEWAY -j ACCEPT|chain gateway/,
    why: `**Traffic of the gateway bridge.** The same: answers come in, anything goes out, containers do not reach each other. weft
refuses all else that would go in, whatever the policy of FORWARD is. Where bridged frames are not shown to iptables,
Swarm's rule against neighbours is never asked; weft's is a rule of the bridge.`,
  },
  {
    places: ['node'],
    lines: /WEFT-GUARD/,
    why: `**Tasks cannot call nodes through the leg.** Only answers come out of it. In Swarm the ingress sandbox is an ordinary
neighbour of the tasks.`,
  },
  {
    places: ['node'],
    lines: /WEFT-MSS/,
    why: `**Segments fit the tunnel** (MTU 1450) even where messages about the path's MTU are lost. Swarm relies on them.`,
  },
  {
    places: ['node'],
    lines: /iptables raw/,
    why: `**Tunnel packets are not tracked** as connections by the node: that costs 7 % of the latency and tells nothing.`,
  },
  {
    places: ['node'],
    lines: /net\.ipv4\.vs\./,
    why: `**IPVS settings of the host.** Swarm sets them there too, where it has no virtual server. weft does in the namespaces that
have one.`,
  },
  {
    places: ['ingress', 'ov1'],
    lines: /address: 10\.(0\.0|20\.0)\.2\/32/,
    why: `**VIPs, and the node's own address on the ingress network, are addresses of the bridge**, the same VIP on every node. In
Swarm they are addresses in the sandboxes below.`,
  },
  {
    places: ['ingress'],
    lines: /chain returns|map nodes4|route: default|neighbour: 169/,
    why: `**The way back to the node that took a connection.** Its address there names it, and this map leads to its leg. It replaces
the source translation, and is a fence: nobody but a task that answers sends with the address of a node, and what a task sends
there that is no answer is dropped. The default route is that of refusals by the bridge itself.`,
  },
  {
    places: ['ingress', 'ov1'],
    lines: /ipvs: |nft /,
    why: `**The balancer is here**, not in a sandbox beside the bridge: one hop less. It sends by direct routing (\`-g\`), where Swarm
masquerades (\`-m\`): the packet stays as the client wrote it, and answers do not come back through the balancer. Marks come from
a map of address, protocol and port, where Swarm has a rule for each service. New streams find theirs in \`syn4\`: a service whose
backends all drain is not in there, and refuses at once. A VIP has a second server for datagrams, which a backend that drains
loses with the next packet; streams stay.`,
  },
  {
    places: ['ingress', 'ov1'],
    lines: /row: /,
    why: `**Rows for the node's own tasks**, so that no frame is flooded until the bridge has learned and no other task takes over a
MAC. Swarm's bridge learns.`,
  },
  {
    places: ['ingress', 'ov1'],
    lines: /l[23]miss/,
    why: `**No questions to user space.** Swarm asks the kernel to tell of unknown peers, and looks them up. weft's rows are there
before the first packet; who is unknown does not exist.`,
  },
  {
    places: ['ingress', 'ov1'],
    lines: /tunnel: vxlan0 (local|nolearning|noudpcsum)/,
    why: `**The tunnel.** Its own address is the one that the node advertises, not the one that the route to a peer happens to choose;
rows come from the control plane alone, never from what somebody sends; and the outer checksum is off, as the standard has it
(RFC 7348, section 5): the inner packet has its own. Swarm's recording breaks off before that option; the kernel's default, on,
is what Swarm leaves.`,
  },
  {
    places: ['ingress', 'ov1', 's2', 's4'],
    lines: /ip_forward/,
    why: `**No forwarding where nothing is forwarded.** Swarm's namespaces inherit it from the node.`,
  },
  {
    places: ['ingress', 'ov1'],
    lines: /vs\.expire_/,
    why: `**IPVS settings**: connections of a backend that is gone expire at once. Swarm has the same values in its sandboxes.`,
  },
  {
    places: ['ingress_sbox', 'lb', 's2', 's4'],
    lines: /127\.0\.0\.11|WEFT-TASK-DNS/,
    why: `**The way to the resolver** at 127.0.0.11, in chains of other names; this kernel has no nf_tables of family \`inet\`, with
which weft does it without connection tracking. Swarm has it in the sandboxes of its balancers too, where nobody asks.`,
  },
  {
    places: ['ingress_sbox', 'lb'],
    lines: /-j SNAT/,
    why: `**The client's address is lost**: whoever calls appears to the task as the balancer of the node, because the answer has to
come back here. weft's balancer rewrites no address, and has no such rule.`,
  },
  {
    places: ['ingress_sbox', 'lb'],
    lines: /link|address|route/,
    why: `**A namespace, a pair and an address for each network and node**, and in \`ingress_sbox\` one VIP for each service.`,
  },
  {
    places: ['ingress_sbox', 'lb'],
    lines: /MARK|ipvs|sysctl/,
    why: `**The balancer**: see the network's namespace above. \`conntrack\` is on for the source translation; \`conn_reuse_mode\` 0
sends a port that a client uses again where its last connection went, even if that backend drains.`,
  },
  {
    places: ['s2'],
    lines: /REDIRECT|--dport 9999 -j DNAT/,
    why: `**The published port becomes the target port** in the task. weft translates to the address that the default route prefers
as source: a UDP server that answers from there answers right.`,
  },
  {
    places: ['s2'],
    lines: /iptables filter/,
    why: `**Nothing of a task but its published ports is reachable on the ingress network.** weft's fence is at the
network's bridge (above), out of the task's reach, and one for all tasks.`,
  },
  {
    places: ['s2'],
    lines: /MARK|fwmark|route: default via 10\.0\.0\.1|iptables mangle: (PREROUTING|OUTPUT) -j/,
    why: `**The answer to an outside client leaves by the network that it came in by**, told by one bit of the connection's mark. In
Swarm the client seems to be on that network.`,
  },
  {
    places: ['s2'],
    lines: /iptables raw|-d 10\.20\.0\.2\/32 -i <ov1> -j DNAT|PREROUTING -j WEFT-TASK-IN/,
    why: `**The task translates the VIP to its own address**, and its own calls of the VIP are not tracked, so that one that comes back
to itself is translated like anybody's. In Swarm the balancer translates.`,
  },
];
