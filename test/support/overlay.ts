import { type Lab, type LabNode, until } from './lab.js';

/** Sends echo requests, `count` of them; how many were lost. */
export async function lost(
  node: LabNode,
  sandbox: string,
  to: string,
  count: number,
  ...options: string[]
): Promise<number> {
  const { stdout, stderr } = await node.execIn(sandbox, 'ping', '-q', '-c', String(count), '-W', '2', ...options, to);
  const found = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
  if (!found) throw new Error(`ping said nothing: ${stdout}${stderr}`);
  return Number(found[1]) - Number(found[2]);
}

export const reaches = async (node: LabNode, sandbox: string, to: string): Promise<boolean> =>
  (await node.execIn(sandbox, 'ping', '-q', '-c1', '-W1', to)).code === 0;

/** All that stands in the node's namespace, without counters, times and indexes that come and go. */
export async function standing(node: LabNode): Promise<string> {
  const parts: string[] = [];
  for (const command of [
    'ip -o link show',
    'ip -o addr show',
    'ip route show table all',
    'ip -6 route show table all',
    'ip rule show',
    'ip neigh show nud permanent',
    'bridge fdb show',
    'iptables-save',
    'ip6tables-save',
    'nft list ruleset',
  ]) {
    const { stdout } = await node.exec(...command.split(' '));
    const lines = stdout.split('\n').filter((line) => !line.startsWith('#'));
    parts.push(
      `== ${command}`,
      ...lines.map((line) => line.replace(/\[\d+:\d+\]|valid_lft.*| ?qlen \d+/g, '').trimEnd()),
    );
  }
  return parts.join('\n');
}

/** Each line of `before` that `after` lacks: what somebody took away or changed. */
export function missingLines(before: string, after: string): string[] {
  const there = new Set(after.split('\n'));
  return before.split('\n').filter((line) => line !== '' && !there.has(line));
}

/** What a host may have before weft comes: a bridge with an address, routes, rules, a neighbour, an FDB row, packet rules. */
const FOREIGN = [
  'ip link add docker0 type bridge',
  'ip addr add 172.17.0.1/16 dev docker0',
  'ip link set docker0 up',
  'ip link add veth9 type veth peer name veth8',
  'ip link set veth9 master docker0',
  'ip route add 10.99.0.0/16 via 172.17.0.9 dev docker0 onlink',
  'ip route add blackhole 10.98.0.0/16 table 100',
  'ip rule add from 10.97.0.0/16 lookup 100 priority 900',
  'ip neigh add 172.17.0.9 lladdr 02:00:00:00:00:09 dev docker0 nud permanent',
  'bridge fdb add 02:00:00:00:00:0a dev veth9 master static',
  'iptables -A INPUT -s 10.96.0.0/16 -j ACCEPT',
  'iptables -A FORWARD -s 10.96.0.0/16 -j ACCEPT',
  'iptables -N MINE',
  'iptables -A FORWARD -j MINE',
  'iptables -t mangle -A PREROUTING -s 10.96.0.0/16 -j MARK --set-mark 7',
  // The program makes a whole table with its built-in chains at the first rule, and never removes one.
  'iptables -t nat -A POSTROUTING -s 10.96.0.0/16 -j ACCEPT',
  'iptables -t raw -A PREROUTING -s 10.96.0.0/16 -j ACCEPT',
];

export const lastAdoption = (node: LabNode): string =>
  (
    node
      .log()
      .split('\n')
      .filter((line) => line.includes('"adopted"'))
      .at(-1) ?? ''
  ).replace(/.*"msg":"(.*)".*/, '$1');

/** An agent on every node, network `app` (10.20.0.0/24), and on node n a container cn at 10.20.0.1n; all know of all. */
export async function connectAll(lab: Lab): Promise<void> {
  await Promise.all(lab.nodes.map((node) => node.start()));
  for (const node of lab.nodes) {
    await node.must('network', 'create', 'app', '--subnet', '10.20.0.0/24', '--vni', '4097');
    await node.must('sandbox', 'create', `c${node.number}`);
    await node.must('connect', `c${node.number}`, 'app', '--ip', `10.20.0.1${node.number}`, '--wait');
  }
  await lab.exchangeGossip();
}

/** Makes a node one that others use too. @returns all that then stands in its namespace */
export async function furnish(node: LabNode): Promise<string> {
  for (const command of FOREIGN) {
    const { code, stderr } = await node.exec(...command.split(' '));
    if (code !== 0) throw new Error(`${command}: ${stderr}`);
  }
  // Carriers come up and duplicate address detection ends.
  await until('the node is settled', async () => !/u0.*NO-CARRIER|tentative/.test(await standing(node)), 10_000);
  return standing(node);
}
