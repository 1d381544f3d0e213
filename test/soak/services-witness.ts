import { endpointMac } from '../../src/base/mac.js';
import type { LabNode } from '../support/lab.js';
import { missingLines } from '../support/overlay.js';
import type { Services } from './services-world.js';

/*
 * Who takes connections to the VIPs of network app (IPv4), by the wish of the three nodes, and by what ip, nft and
 * ipvsadm say of one of them. A line is a VIP and the MACs of its backends: `10.20.0.200: 02:42:0a:14:00:15 …`.
 */

interface Wish {
  services: Record<string, { vips: Record<string, string[]>; preferLocal?: boolean }>;
  endpoints: Record<string, { service?: string; state?: string; weight?: number; addresses: string[] }>;
}

/** What is one way and not the other, in words; all agents run, and all nodes know of each other. */
export async function differsFromWish(soak: Services, node: LabNode): Promise<string[]> {
  const wish = (await wished(soak, node)).join('\n');
  const kernel = (await shown(soak, node)).join('\n');
  return [
    ...missingLines(wish, kernel).map((line) => `asked for: ${line}`),
    ...missingLines(kernel, wish).map((line) => `in the kernel: ${line}`),
  ];
}

async function wished({ lab }: Services, self: LabNode): Promise<string[]> {
  const each = await Promise.all(
    lab.nodes.map(async (node) => ({ node, wish: await node.api.get<Wish>('/v1/export') })),
  );
  const services = Object.assign({}, ...each.map(({ wish }) => wish.services)) as Wish['services'];
  const active = each.flatMap(({ node, wish }) =>
    Object.entries(wish.endpoints)
      .filter(([id, { state = 'active', weight = 1 }]) => id.endsWith(':app') && state === 'active' && weight > 0)
      .map(([, { service, addresses }]) => ({ service, node, mac: endpointMac(addresses[0] as string) })),
  );
  return Object.entries(services).flatMap(([name, { vips, preferLocal = false }]) => {
    const vip = vips.app?.find((ip) => !ip.includes(':'));
    if (vip === undefined) return [];
    const all = active.filter(({ service }) => service === name);
    const local = all.filter(({ node }) => node === self);
    return lineOf(
      vip,
      (preferLocal && local.length > 0 ? local : all).map(({ mac }) => mac),
    );
  });
}

const lineOf = (vip: string, macs: readonly string[]): string => [`${vip}:`, ...[...macs].sort()].join(' ');

async function shown({ balancer }: Services, node: LabNode): Promise<string[]> {
  const run = async (script: string) => {
    const { code, stdout, stderr } = await node.execIn('net-app', 'sh', '-ec', script);
    if (code !== 0) throw new Error(`${script} in net-app of ${node.name}: ${stderr}`);
    return stdout;
  };
  const addresses = await run('ip -4 -o addr show dev br0');
  const vips = [...addresses.matchAll(/inet (\S+)\/32 /g)].map(([, vip]) => vip as string);
  if (vips.length === 0) return [];
  const takers =
    balancer === 'nft'
      ? byNft(await run('nft list map bridge weft live4'))
      : byIpvs(await run('nft list map bridge weft mark4; ipvsadm-save -n'));
  return vips.map((vip) =>
    lineOf(
      vip,
      takers.filter((taker) => taker.vip === vip).map(({ mac }) => mac),
    ),
  );
}

interface Taker {
  vip: string;
  mac: string;
}

/** `10.20.0.200 . 0x0a140015 counter packets 1 bytes 60 : 02:42:0a:14:00:15` */
const byNft = (listing: string): Taker[] =>
  [...listing.matchAll(/([\d.]+) \. 0x[0-9a-f]{8}[^:,{]* : ([0-9a-f:]{17})/g)].map(([, vip, mac]) => ({
    vip: vip as string,
    mac: mac as string,
  }));

/** `10.20.0.200 . tcp : 0x00000100`, and `-a -f 256 -r 10.20.0.21:0 -g -w 1` of those that are given connections. */
function byIpvs(listing: string): Taker[] {
  const marks = [...listing.matchAll(/([\d.]+) \. tcp : (0x[0-9a-f]+)/g)];
  const servers = [...listing.matchAll(/^-a -f (\d+) -r ([\d.]+):\d+ -g -w ([1-9]\d*)/gm)];
  return marks.flatMap(([, vip, mark]) =>
    servers
      .filter(([, of]) => Number(of) === Number(mark))
      .map(([, , ip]) => ({ vip: vip as string, mac: endpointMac(ip as string) })),
  );
}
