import { factsOf } from './node-facts.js';
import { REASONS } from './swarm-reasons.js';

/*
 * What weft makes of the wish of a recorded Docker Swarm (test/golden/swarm), compared with what Swarm made of it: the
 * namespaces that do the same work are laid side by side, fact by fact, and each difference has a reason.
 */

/** The tasks of that Swarm: their addresses on ov1 and on the ingress network, by name here, and their namespaces there. */
export const TASKS = {
  's2.1': { addresses: ['10.20.0.3', '10.0.0.4'], swarm: '8eee6f48996b' },
  's2.2': { addresses: ['10.20.0.4', '10.0.0.5'], swarm: '370caee3e3b8' },
  's4.1': { addresses: ['10.20.0.6'], swarm: 'c73395219cf6' },
  's4.2': { addresses: ['10.20.0.7'], swarm: 'acf56b640378' },
} as const;

/** The wish. `node`: its name; `vtep`: its address on the underlay. Swarm's node had the same address on ingress. */
export function swarmWish(node: string, vtep: string): Record<string, unknown> {
  const tasks = Object.entries(TASKS);
  const endpoints = tasks.flatMap(([task, { addresses }]) =>
    addresses.map((ip, i) => [
      `${task}:${i === 0 ? 'ov1' : 'ingress'}`,
      { addresses: [ip], service: task.slice(0, 2) },
    ]),
  );
  return {
    networks: {
      ov1: { subnets: ['10.20.0.0/24'], vni: 4097 },
      ingress: { subnets: ['10.0.0.0/24'], vni: 4096, ingress: true },
    },
    nodes: { [node]: { vtep, addresses: { ingress: ['10.0.0.2'] } } },
    services: {
      s2: { networks: ['ov1'], vips: { ov1: ['10.20.0.2'] }, publish: [{ published: 9999, target: 80 }] },
      s4: { networks: ['ov1'], mode: 'dnsrr' },
    },
    sandboxes: Object.fromEntries(tasks.map(([task]) => [task, {}])),
    endpoints: Object.fromEntries(endpoints),
  };
}

/** Namespaces of weft that are compared; `` is the node's own. */
export const WEFT_NAMESPACES = ['', 'net-ingress', 'net-ov1', ...Object.keys(TASKS)];

/** What does the same work. Tasks of one service are told as one, and must be alike. */
interface Place {
  key: string;
  title: string;
  swarm: string[];
  weft: string[];
}

const tasksOf = (service: string) => Object.entries(TASKS).filter(([task]) => task.startsWith(service));
const taskPlace = (key: string, title: string): Place => ({
  key,
  title,
  swarm: tasksOf(key).map(([, { swarm }]) => swarm),
  weft: tasksOf(key).map(([task]) => task),
});

const PLACES: readonly Place[] = [
  { key: 'node', title: 'The node', swarm: ['host'], weft: [''] },
  { key: 'ingress', title: 'The ingress network', swarm: ['1-mrvghbznki'], weft: ['net-ingress'] },
  { key: 'ov1', title: 'The overlay network ov1', swarm: ['1-v57nj2qa3f'], weft: ['net-ov1'] },
  { key: 'ingress_sbox', title: 'Sandbox `ingress_sbox`, which weft has not', swarm: ['ingress_sbox'], weft: [] },
  { key: 'lb', title: 'Sandbox `lb_…` of ov1, which weft has not', swarm: ['lb_v57nj2qa3'], weft: [] },
  taskPlace('s2', 'A task of s2'),
  taskPlace('s4', 'A task of s4'),
];

/** Which network an address is of. */
const NETWORKS = { 'gateway bridge': /^172\.(18|31)\./, ingress: /^10\.0\.0\./, ov1: /^10\.20\.0\./ };

/** Facts in names that both sides share: interfaces by their network, own addresses as such. */
function shared(facts: readonly string[], isTask: boolean): string[] {
  let text = facts.join('\n');
  for (const [, ip, dev] of text.matchAll(/^address: ([\d.]+)\/\d+ on ((?:eth|gw)\d)$/gm)) {
    const network = Object.entries(NETWORKS).find(([, pattern]) => pattern.test(ip as string))?.[0];
    text = text.replace(new RegExp(`\\b${dev}\\b`, 'g'), `<${network}>`);
    if (isTask) text = text.replace(new RegExp(`\\b${ip?.replaceAll('.', '\\.')}\\b`, 'g'), `OWN<${network}>`);
  }
  return (
    text
      .replace(/\b(docker_gwbridge|weft-gw)\b/g, 'GATEWAY')
      .replace(/\b172\.(18|31)\.0\.(\d+)/g, 'GW.$2')
      .replace(/\b(up0|u0)\b/g, 'uplink')
      .replace(/\b(10\.250\.0\.1|192\.168\.71\.1)\b/g, 'NODE')
      .split('\n')
      // The cable is the lab's, and so is its IPv6.
      .filter((fact) => !/^(route: default .* dev|address: [\da-f:]+\/64 on) uplink$/.test(fact))
  );
}

/** Equal facts become one that says how many they are. */
function counted(facts: readonly string[]): string[] {
  const count = new Map<string, number>();
  for (const fact of facts) count.set(fact, (count.get(fact) ?? 0) + 1);
  return [...count].map(([fact, n]) => (n === 1 ? fact : `${fact} (${n} of them)`));
}

/** Facts of a place on one side. @throws where its namespaces differ from each other */
function factsAt(namespaces: readonly string[], texts: ReadonlyMap<string, string>): string[] {
  const each = namespaces.map((ns) => {
    const text = texts.get(ns);
    if (text === undefined) throw new Error(`nothing is known of namespace "${ns}"`);
    return counted(shared(factsOf(text), namespaces.length > 1));
  });
  const [first = [], ...others] = each;
  for (const other of others) {
    const odd = [...first, ...other].filter((fact) => !first.includes(fact) || !other.includes(fact));
    if (odd.length > 0) throw new Error(`${namespaces} are not alike: ${odd.join('; ')}`);
  }
  return first;
}

/** A recording as text of namespaces: `-- NAME` begins one. */
function recorded(text: string): Map<string, string> {
  const parts = text.split(/^-- /m).slice(1);
  return new Map(parts.map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1)]));
}

/**
 * The page. @param recording of Swarm @param weft by namespace, what SHOW_STATE prints
 * @throws where a difference has no reason, or a reason no difference
 */
export function swarmDifference(recording: string, weft: ReadonlyMap<string, string>): string {
  const swarm = recorded(recording);
  const idle = new Set(REASONS);
  const parts = PLACES.map(({ key, title, swarm: theirNames, weft: ourNames }) => {
    const theirs = factsAt(theirNames, swarm);
    const ours = factsAt(ourNames, weft);
    const alike = theirs.filter((fact) => ours.includes(fact));
    const lines = [
      ...theirs.filter((fact) => !ours.includes(fact)).map((fact) => `- ${fact}`),
      ...ours.filter((fact) => !theirs.includes(fact)).map((fact) => `+ ${fact}`),
    ];
    const mine = REASONS.filter(({ places }) => places.includes(key));
    const reasonOf = (line: string) => mine.find(({ lines }) => lines.test(line));
    const without = lines.filter((line) => !reasonOf(line));
    if (without.length > 0) throw new Error(`no reason is given for these, of ${key}:\n${without.join('\n')}`);
    const told = mine.flatMap((reason) => {
      const its = lines.filter((line) => reasonOf(line) === reason);
      if (its.length === 0) return [];
      idle.delete(reason);
      return `${reason.why}\n\n${block('diff', its)}`;
    });
    const same = alike.length > 0 ? [`Alike:\n\n${block('', alike)}`] : [];
    return [`## ${title}`, ...same, ...told].join('\n\n');
  });
  const unused = [...idle].map(({ places, lines }) => `${places}: ${lines}`);
  if (unused.length > 0) throw new Error(`reasons without a difference:\n${unused.join('\n')}`);
  return `${[INTRODUCTION, ...parts].join('\n\n')}\n`;
}

const block = (kind: string, lines: readonly string[]): string => `\`\`\`${kind}\n${lines.join('\n')}\n\`\`\``;

const INTRODUCTION = `# What differs from Docker Swarm in the kernel

Made by \`node scripts/swarm-difference.mjs\`, and compared with what it finds by the guest lane. On one side is a recording
of Docker Swarm 20.10 (\`test/golden/swarm/one-node-state.txt\`), on the other weft with balancer \`ipvs\` in a kernel with
IPVS, after the same wish:

| | |
|---|---|
| \`docker swarm init\` | a node, and an ingress network 10.0.0.0/24 |
| \`docker network create -d overlay --attachable --subnet 10.20.0.0/24 ov1\` | network ov1, VNI 4097 |
| \`docker service create --name s2 --network ov1 -p 9999:80 --replicas 2\` | s2: VIP 10.20.0.2, tasks .3 and .4 (10.0.0.4 and .5 on ingress) |
| \`docker service create --name s4 --endpoint-mode dnsrr --network ov1 --replicas 2\` | s4: tasks .6 and .7, no VIP |

\`-\` is Swarm's alone, \`+\` is weft's. Left out on both sides: what the kernel makes by itself (connected routes, groups, a
link's own address in its bridge), IPv6, loopback, and values that are drawn. Written alike on both sides: the gateway bridge
(\`docker_gwbridge\`, \`weft-gw\`: GATEWAY, its addresses GW.n), the uplink and the node's address on it (NODE), a task's
interfaces (by their network: \`<ov1>\`) and its own addresses (\`OWN<ov1>\`), ports of bridges, ports of the resolver.`;
