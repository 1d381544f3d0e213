import type { LabNode } from '../support/lab.js';

/** What `ip` and `bridge` say of one namespace; fields as they print them, of those that the soak looks at. */
export interface KernelView {
  links: LinkView[];
  fdb: { mac: string; ifname: string; dst?: string; flags: string[]; master?: string; state: string }[];
  neighbours: { dst: string; dev: string; lladdr: string }[];
  /** Of both families. */
  routes: { dst: string; dev?: string; gateway?: string; type?: string }[];
  /** Disciplines of `tc`; a bucket's rate in bytes a second. */
  qdiscs: { kind: string; dev: string; options: { rate?: number } }[];
}

export interface LinkView {
  ifname: string;
  flags: string[];
  mtu: number;
  address: string;
  ifalias?: string;
  master?: string;
  linkinfo?: {
    info_kind?: string;
    info_data?: { id?: number; port?: number; local?: string; learning?: boolean; proxy?: boolean };
    info_slave_data?: { hairpin?: boolean; learning?: boolean };
  };
  addr_info: { family: string; local: string; prefixlen: number; scope: string }[];
}

const COMMANDS = [
  'ip -d -j addr show',
  'bridge -j fdb show',
  'ip -j neigh show nud permanent',
  'ip -j route show',
  'ip -6 -j route show',
  'tc -j qdisc show',
];
/** Between the answers of two commands; no JSON is made of it. */
const MARK = '--';

/** Reads a namespace of the node's (`net-app`, a sandbox), or its own; undefined where there is none. */
export async function readKernel(node: LabNode, ns?: string): Promise<KernelView | undefined> {
  const script = COMMANDS.join(`; echo '${MARK}'; `);
  const { code, stdout, stderr } =
    ns === undefined ? await node.exec('sh', '-ec', script) : await node.execIn(ns, 'sh', '-ec', script);
  if (code !== 0 && /No such file|Invalid argument/.test(stderr)) return undefined;
  if (code !== 0) throw new Error(`cannot read ${ns ?? node.name}: ${stderr}`);
  const [links, fdb, neighbours, routes4, routes6, qdiscs] = stdout
    .split(`${MARK}\n`)
    .map((text) => JSON.parse(text || '[]') as never[]);
  return { links, fdb, neighbours, routes: [...(routes4 ?? []), ...(routes6 ?? [])], qdiscs } as never;
}
