import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { bridgeMac, endpointMac } from '../../src/base/mac.js';
import type { LabNode } from '../support/lab.js';
import { type KernelView, type LinkView, readKernel } from './kernel-view.js';
import {
  addressOf,
  bridgeOf,
  type Endpoint,
  familiesOf,
  familyOf,
  LENGTH,
  type Model,
  type Network,
  type Sandbox,
} from './model.js';
import type { Soak } from './soak.js';

/** Of the underlay, and less what VXLAN adds. */
export const MTU: Readonly<Record<Network['driver'], number>> = { bridge: 1500, overlay: 1450 };
const DATA_PORT = 4789;

/** Every difference between the model and the kernels, as `ip` and `bridge` show them; none: all is as it should be. */
export async function differences(soak: Soak): Promise<string[]> {
  return (await Promise.all(soak.lab.nodes.map((node) => differencesOf(soak, node)))).flat();
}

async function differencesOf(soak: Soak, node: LabNode): Promise<string[]> {
  const { model } = soak;
  const out: string[] = [];
  const networks = model.carriedBy(node.number, 'overlay');
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
  const { name, vni } = network;
  const mtu = MTU.overlay;
  const here = model.on(name).filter((endpoint) => model.nodeOf(endpoint) === node.number);
  const away = model.on(name).filter((endpoint) => model.nodeOf(endpoint) !== node.number);
  return [
    `link br0 bridge up mtu ${mtu} mac ${bridgeMac(node.vtep)} alias weft:network/${name}`,
    `link vxlan0 vxlan up mtu ${mtu} alias weft:network/${name} master br0 vni ${vni} port ${DATA_PORT} local ${node.vtep}`,
    ...here.flatMap((endpoint) => hostEnd(endpoint, mtu, 'br0')),
    ...gateways(network, 'br0'),
    ...away.flatMap((endpoint) => {
      const mac = endpointMac(endpoint.addresses[0] as string);
      const vtep = lab.node(model.nodeOf(endpoint)).vtep;
      const neighbours = endpoint.addresses.map((ip) => `neighbour ${ip} at ${mac}`);
      return [`row ${mac} to ${vtep}`, `row ${mac} sticky`, ...neighbours];
    }),
  ];
}

/** Near end of an endpoint's pair, and the device that limits what comes out of the sandbox. */
function hostEnd({ sandbox, network, extras }: Endpoint, mtu: number, master: string): string[] {
  const { toSandbox, fromSandbox } = extras.bandwidth;
  const alias = `alias weft:endpoint/${sandbox}:${network}`;
  const rate = (bits: number) => `limit ${bits / 8}`;
  // In an overlay a task's own frames come back to it where it serves, which none does here.
  const hairpin = master === 'br0' ? '' : ' hairpin';
  return [
    [`link - veth up mtu ${mtu} ${alias} master ${master}${hairpin}`, ...(toSandbox ? [rate(toSandbox)] : [])].join(
      ' ',
    ),
    ...(fromSandbox ? [`link - ifb up mtu ${mtu} ${alias} ${rate(fromSandbox)}`] : []),
  ];
}

const gateways = (network: Network, dev: string): string[] =>
  familiesOf(network).map((of) => `address ${addressOf(network, of, 1)}/${LENGTH[of]} ${dev}`);

/** The same of what is there; IPv6 link-local addresses and what the kernel makes itself are left out. */
function facts(view: KernelView | undefined): string[] {
  if (!view) return ['no such namespace'];
  const permanent = view.fdb.filter(({ ifname, mac }) => ifname.startsWith('vxlan') && /^02:4[23]/.test(mac));
  return [
    ...view.links.filter(({ ifname }) => ifname !== 'lo').map((link) => linkFact(link, view)),
    ...addresses(view),
    ...permanent.map(({ mac, dst, flags }) =>
      dst === undefined ? `row ${mac} ${flags.join(' ')}` : `row ${mac} to ${dst}`,
    ),
    ...view.neighbours.map(({ dst, lladdr }) => `neighbour ${dst} at ${lladdr}`),
  ];
}

function linkFact(link: LinkView, { qdiscs }: KernelView): string {
  const { ifname, flags, mtu, address, ifalias, master, linkinfo } = link;
  const kind = linkinfo?.info_kind ?? 'none';
  const { id, port, local, learning, proxy } = linkinfo?.info_data ?? {};
  const limits = qdiscs.filter(({ kind, dev }) => kind === 'tbf' && dev === ifname);
  const tunnel = kind === 'vxlan' ? [`vni ${id}`, `port ${port}`, `local ${local}`] : [];
  return [
    `link ${kind === 'veth' || kind === 'ifb' ? '-' : ifname} ${kind}`,
    flags.includes('UP') ? 'up' : 'down',
    `mtu ${mtu}`,
    ...(kind === 'bridge' ? [`mac ${address}`] : []),
    `alias ${ifalias}`,
    ...(master === undefined ? [] : [`master ${master}`]),
    ...tunnel,
    ...(kind === 'vxlan' && (learning || !proxy || linkinfo?.info_slave_data?.learning) ? ['learns'] : []),
    ...(linkinfo?.info_slave_data?.hairpin ? ['hairpin'] : []),
    ...limits.map(({ options }) => `limit ${options.rate}`),
  ].join(' ');
}

const addresses = (view: KernelView): string[] =>
  view.links.flatMap(({ ifname, addr_info }) =>
    addr_info
      .filter(({ scope }) => scope !== 'link' && scope !== 'host')
      .map(({ local, prefixlen }) => `address ${local}/${prefixlen} ${ifname}`),
  );

function sandboxFacts(model: Model, sandbox: Sandbox): string[] {
  const { name, node, endpoints } = sandbox;
  const way = model.withGateway(node).some((one) => one.name === name);
  return [
    ...[...endpoints.values()].flatMap((endpoint) => endpointFacts(model, endpoint)),
    ...(way ? ['gw0 up'] : []),
    ...([4, 6] as const).flatMap((of) => model.wayOut(sandbox, of) ?? []).map((dev) => `default by ${dev}`),
  ];
}

const endpointFacts = (model: Model, { network, addresses, ifname, extras }: Endpoint): string[] => [
  `${ifname} up mtu ${MTU[(model.networks.get(network) as Network).driver]} mac ${endpointMac(addresses[0] as string)}`,
  ...addresses.map((ip) => `address ${ip}/${LENGTH[familyOf(ip)]} ${ifname}`),
  ...extras.routes.map(({ dst, via, type }) => `route ${dst} ${type ?? `by ${ifname}`}${via ? ` via ${via}` : ''}`),
];

/** Destinations of the endpoints' own routes. */
const STATIC = /^(10\.98\.|fd98:)/;

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
    ...view.routes
      .filter(({ dst }) => STATIC.test(dst))
      .map(({ dst, dev, gateway, type }) => `route ${dst} ${type ?? `by ${dev}`}${gateway ? ` via ${gateway}` : ''}`),
  ];
}

function nodeFacts(model: Model, { number }: LabNode): string[] {
  const legs = model.withGateway(number).map(({ name }) => `leg of ${name} hairpin up`);
  const bridges = model.carriedBy(number, 'bridge').flatMap((network) => {
    const dev = bridgeOf(network);
    const [first] = familiesOf(network);
    const mac = endpointMac(addressOf(network, first as 4 | 6, 1));
    return [
      `link ${dev} bridge up mtu ${MTU.bridge} mac ${mac} alias weft:network/${network.name}`,
      ...gateways(network, dev),
      ...model.on(network.name).flatMap((endpoint) => hostEnd(endpoint, MTU.bridge, dev)),
    ];
  });
  return [...legs, ...(legs.length > 0 ? ['weft-gw up'] : []), ...bridges];
}

/** What is weft's in the node's namespace. */
function nodeSeen(view: KernelView | undefined): string[] {
  if (!view) return ['no such namespace'];
  const ours = view.links.filter(({ ifalias }) => ifalias?.startsWith('weft:'));
  const seen = ours.map((link) => {
    const { ifname, ifalias, flags, linkinfo } = link;
    const up = flags.includes('UP') ? 'up' : 'down';
    if (ifname === 'weft-gw') return `weft-gw ${up}`;
    if (!ifalias?.startsWith('weft:gateway/')) return linkFact(link, view);
    const hairpin = linkinfo?.info_slave_data?.hairpin ? 'hairpin' : 'no hairpin';
    return `leg of ${ifalias.replace('weft:gateway/', '')} ${hairpin} ${up}`;
  });
  return [...seen, ...addresses(view).filter((line) => line.includes(' x-'))];
}
