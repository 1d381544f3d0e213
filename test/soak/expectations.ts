import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { bridgeMac, endpointMac } from '../../src/base/mac.js';
import type { LabNode } from '../support/lab.js';
import { type KernelView, type LinkView, readKernel } from './kernel-view.js';
import type { Endpoint, Model, Network, Sandbox } from './model.js';
import type { Soak } from './soak.js';

const MTU = 1450;
const DATA_PORT = 4789;

/** Every difference between the model and the kernels, as `ip` and `bridge` show them; none: all is as it should be. */
export async function differences(soak: Soak): Promise<string[]> {
  return (await Promise.all(soak.lab.nodes.map((node) => differencesOf(soak, node)))).flat();
}

async function differencesOf(soak: Soak, node: LabNode): Promise<string[]> {
  const { model } = soak;
  const out: string[] = [];
  const networks = model.carriedBy(node.number);
  const sandboxes = model.at(node.number);
  const pins = readdirSync(dirname(node.pin('x'))).filter((name) => !name.startsWith('.'));
  const named = [...networks.map(({ name }) => `net-${name}`), ...sandboxes.map(({ name }) => name)];
  out.push(...compare(`${node.name}: namespaces`, named, pins));
  for (const network of networks) {
    const ns = `net-${network.name}`;
    const want = networkFacts(soak, node, network);
    out.push(...compare(`${node.name} ${ns}`, want, facts(await readKernel(node, ns))));
  }
  for (const sandbox of sandboxes) {
    const view = await readKernel(node, sandbox.name);
    out.push(...compare(`${node.name} ${sandbox.name}`, sandboxFacts(model, sandbox), sandboxSeen(view)));
  }
  out.push(...compare(node.name, nodeFacts(model, node), nodeSeen(await readKernel(node))));
  return out;
}

/** Multisets of lines that should be the same. */
function compare(where: string, want: readonly string[], have: readonly string[]): string[] {
  const left = [...have];
  const out: string[] = [];
  for (const line of want) {
    const at = left.indexOf(line);
    if (at < 0) out.push(`${where}: lacks ${line}`);
    else left.splice(at, 1);
  }
  return [...out, ...left.map((line) => `${where}: has ${line}`)];
}

function networkFacts({ model, lab }: Soak, node: LabNode, network: Network): string[] {
  const { name, vni, prefix } = network;
  const here = model.on(name).filter((endpoint) => model.nodeOf(endpoint) === node.number);
  const away = model.on(name).filter((endpoint) => model.nodeOf(endpoint) !== node.number);
  return [
    `link br0 bridge up mtu ${MTU} mac ${bridgeMac(node.vtep)} alias weft:network/${name}`,
    `link vxlan0 vxlan up mtu ${MTU} alias weft:network/${name} master br0 vni ${vni} port ${DATA_PORT} local ${node.vtep}`,
    ...here.map(({ sandbox }) => `link - veth up mtu ${MTU} alias weft:endpoint/${sandbox}:${name} master br0 hairpin`),
    `address ${prefix}.1/24 br0`,
    ...away.flatMap((endpoint) => {
      const mac = endpointMac(endpoint.address);
      const vtep = lab.node(model.nodeOf(endpoint)).vtep;
      return [`row ${mac} to ${vtep}`, `row ${mac} sticky`, `neighbour ${endpoint.address} at ${mac}`];
    }),
  ];
}

/** The same of what is there; IPv6 link-local addresses and what the kernel makes itself are left out. */
function facts(view: KernelView | undefined): string[] {
  if (!view) return ['no such namespace'];
  const permanent = view.fdb.filter(({ ifname, mac }) => ifname.startsWith('vxlan') && mac.startsWith('02:42'));
  return [
    ...view.links.filter(({ ifname }) => ifname !== 'lo').map(linkFact),
    ...addresses(view),
    ...permanent.map(({ mac, dst, flags }) =>
      dst === undefined ? `row ${mac} ${flags.join(' ')}` : `row ${mac} to ${dst}`,
    ),
    ...view.neighbours.map(({ dst, lladdr }) => `neighbour ${dst} at ${lladdr}`),
  ];
}

function linkFact(link: LinkView): string {
  const { ifname, flags, mtu, address, ifalias, master, linkinfo } = link;
  const kind = linkinfo?.info_kind ?? 'none';
  const { id, port, local, learning, proxy } = linkinfo?.info_data ?? {};
  const tunnel = kind === 'vxlan' ? [`vni ${id}`, `port ${port}`, `local ${local}`] : [];
  return [
    `link ${kind === 'veth' ? '-' : ifname} ${kind}`,
    flags.includes('UP') ? 'up' : 'down',
    `mtu ${mtu}`,
    ...(kind === 'bridge' ? [`mac ${address}`] : []),
    `alias ${ifalias}`,
    ...(master === undefined ? [] : [`master ${master}`]),
    ...tunnel,
    ...(kind === 'vxlan' && (learning || !proxy || linkinfo?.info_slave_data?.learning) ? ['learns'] : []),
    ...(linkinfo?.info_slave_data?.hairpin ? ['hairpin'] : []),
  ].join(' ');
}

const addresses = (view: KernelView): string[] =>
  view.links.flatMap(({ ifname, addr_info }) =>
    addr_info
      .filter(({ scope }) => scope !== 'link' && scope !== 'host')
      .map(({ local, prefixlen }) => `address ${local}/${prefixlen} ${ifname}`),
  );

function sandboxFacts(model: Model, { name, node, endpoints }: Sandbox): string[] {
  const way = model.withGateway(node).some((sandbox) => sandbox.name === name);
  return [
    ...[...endpoints.values()].flatMap((endpoint) => endpointFacts(endpoint)),
    ...(way ? ['gw0 up', 'default by gw0'] : []),
  ];
}

const endpointFacts = ({ address, ifname }: Endpoint): string[] => [
  `${ifname} up mtu ${MTU} mac ${endpointMac(address)}`,
  `address ${address}/24 ${ifname}`,
];

function sandboxSeen(view: KernelView | undefined): string[] {
  if (!view) return ['no such namespace'];
  const up = (flags: readonly string[]) => (flags.includes('UP') ? 'up' : 'down');
  return [
    ...view.links
      .filter(({ ifname }) => ifname !== 'lo')
      .map(({ ifname, flags, mtu, address }) =>
        ifname === 'gw0' ? `gw0 ${up(flags)}` : `${ifname} ${up(flags)} mtu ${mtu} mac ${address}`,
      ),
    // The gateway's are numbers of the node's own choice.
    ...addresses(view).filter((line) => !line.endsWith(' gw0')),
    ...view.routes.filter(({ dst }) => dst === 'default').map(({ dev }) => `default by ${dev}`),
  ];
}

function nodeFacts(model: Model, { number }: LabNode): string[] {
  const legs = model.withGateway(number).map(({ name }) => `leg of ${name} hairpin up`);
  return [...legs, ...(legs.length > 0 ? ['weft-gw up'] : [])];
}

/** What is weft's in the node's namespace. */
function nodeSeen(view: KernelView | undefined): string[] {
  const ours = (view?.links ?? []).filter(({ ifalias }) => ifalias?.startsWith('weft:'));
  return ours.map(({ ifname, ifalias, flags, linkinfo }) => {
    const up = flags.includes('UP') ? 'up' : 'down';
    if (ifname === 'weft-gw') return `weft-gw ${up}`;
    const hairpin = linkinfo?.info_slave_data?.hairpin ? 'hairpin' : 'no hairpin';
    return `leg of ${ifalias?.replace('weft:gateway/', '')} ${hairpin} ${up}`;
  });
}
