import type { Command } from 'commander';
import { type Column, column, type Format, printRows, type Row } from './output.js';
import { listing, type Session, session, whole } from './shared.js';

const DRIFT: Column[] = [column('DRIFT'), column('REASON', 'reason', true)];

/** A listing read from the kernel: where the agent serves it, and how its rows are shown. */
interface View {
  path: string;
  text: string;
  /** What `-o name` prints of a row. */
  name: (row: Row) => unknown;
  columns: readonly Column[];
  /** Lines under a row with `-o wide`. */
  detail?: (row: Row) => string[];
  /** Takes `--sandbox`. */
  byNamespace?: boolean;
  /** Takes `--limit`. */
  limited?: boolean;
}

const plain = (...headings: string[]): Column[] => headings.map((heading) => column(heading));

const flowEnd = (ip: string, port: string): ((row: Row) => string) => {
  return (row) => `${String(row[ip])}${row[port] === undefined ? '' : `:${String(row[port])}`}`;
};
const source = flowEnd('source', 'sourcePort');
const destination = flowEnd('destination', 'port');

/** Listings by the name of their command. Read from the kernel, not from memory: each row says how it compares with the wish. */
const VIEWS: Readonly<Record<string, View>> = {
  vip: {
    path: 'inspect/vips',
    text: 'virtual IPs on the bridges, with the backends in the balancer',
    name: (row) => row.vip,
    columns: plain('VIP', 'NETWORK', 'SERVICE', 'BALANCER', 'ACTIVE', 'DRAINING'),
  },
  vtep: {
    path: 'inspect/vteps',
    text: 'VXLAN tunnel end points',
    name: (row) => row.device,
    columns: plain('NAMESPACE', 'DEVICE', 'VNI', 'LOCAL', 'PORT', 'MTU', 'UP'),
  },
  fdb: {
    path: 'inspect/fdb',
    text: 'forwarding database rows',
    name: (row) => row.mac,
    columns: plain('NAMESPACE', 'DEV', 'MAC', 'DST', 'BRIDGE'),
  },
  neigh: {
    path: 'inspect/neighbours',
    text: 'neighbour entries',
    name: (row) => row.ip,
    columns: plain('NAMESPACE', 'DEV', 'IP', 'MAC'),
  },
  ipvs: {
    path: 'inspect/ipvs',
    text: 'IPVS virtual servers and their real servers',
    name: (row) => `${String(row.virtual)} ${String(row.server ?? '-')}`,
    columns: plain('NAMESPACE', 'VIRTUAL', 'SERVICE', 'SCHEDULER', 'SERVER', 'METHOD', 'WEIGHT', 'ACTIVE', 'INACTIVE'),
    byNamespace: true,
  },
  rules: {
    path: 'inspect/rules',
    text: 'chains, jumps and sets of iptables and nf_tables (-o wide: with their rules)',
    name: (row) => `${String(row.namespace)} ${String(row.table)} ${String(row.chain)}`,
    columns: plain('NAMESPACE', 'TABLE', 'WHAT', 'CHAIN', 'HOOK', 'COUNT'),
    detail: (row) => (row.rules as string[] | undefined) ?? [],
    byNamespace: true,
  },
  conntrack: {
    path: 'inspect/conntrack',
    text: 'connections to VIPs and published ports',
    name: (row) => `${String(row.proto)} ${source(row)}->${destination(row)}`,
    columns: [
      ...plain('NAMESPACE', 'PROTO'),
      { heading: 'SOURCE', text: source },
      { heading: 'DESTINATION', text: destination },
      ...plain('SERVICE', 'BACKEND', 'STATE'),
      column('TIMEOUT', 'timeout', true),
    ],
    byNamespace: true,
    limited: true,
  },
  port: {
    path: 'ports',
    text: 'published ports, where they lead, and who else listens there',
    name: (row) => `${String(row.port)}/${String(row.proto)}`,
    columns: [
      ...plain(
        'ADDRESS',
        'PORT',
        'PROTO',
        'SERVICE',
        'SANDBOX',
        'MODE',
        'POLICY',
        'TARGET',
        'ALLOW',
        'VIA',
        'ACTIVE',
        'DRAINING',
      ),
      { heading: 'LISTENERS', text: (row) => ((row.listeners as Row[] | undefined) ?? []).map(listenerText) },
    ],
  },
};

function listenerText({ address, pid, program }: Row): string {
  return `${String(program ?? '?')}(${String(pid ?? '?')})@${String(address)}`;
}

export function kernelCommands(program: Command): void {
  for (const [name, view] of Object.entries(VIEWS)) {
    const command = program.command(name).description(`${view.text}, read from the kernel`);
    const ls = listing(command.command('ls').alias('list').description(`list ${view.text}`))
      .option('-4', 'IPv4 only')
      .option('-6', 'IPv6 only');
    if (view.byNamespace) ls.option('--sandbox <name>', 'only this namespace: a sandbox, net-NETWORK, ingress, @node');
    if (view.limited) ls.option('--limit <n>', 'rows at most, 1000 when not given', whole);
    ls.action(async (options: Row, self: Command) => show(view, session(self), options));
  }
}

async function show(view: View, { client, format }: Session, options: Row): Promise<void> {
  const query = new URLSearchParams();
  if (options.sandbox !== undefined) query.set('namespace', String(options.sandbox));
  if (options.limit !== undefined) query.set('limit', String(options.limit));
  const asked = query.size > 0 ? `?${query}` : '';
  const { items, more } = await client.get<{ items: Row[]; more?: number }>(`/v1/${view.path}${asked}`);
  print(
    view,
    items.filter((row) => ofFamily(row, options)),
    format,
  );
  if (more !== undefined) process.stderr.write(`weft: ${more} more are not shown; give --limit\n`);
}

function print(view: View, rows: readonly Row[], format: Format): void {
  const named = format === 'name' ? rows.map((row) => ({ id: view.name(row) })) : rows;
  printRows(named, [...view.columns, ...DRIFT], format, 'id', view.detail);
}

/** Rows of neither family (a bridge's row, a set of frames) are shown with both. */
function ofFamily(row: Row, options: Row): boolean {
  if (!options['4'] && !options['6']) return true;
  const of = familyOf(row);
  return of === undefined || options[of] === true;
}

const ADDRESSES = ['vip', 'ip', 'dst', 'local', 'server', 'destination', 'via'] as const;

function familyOf(row: Row): '4' | '6' | undefined {
  if (row.family !== undefined) return row.family === 6 ? '6' : '4';
  if (typeof row.table === 'string')
    return row.table.startsWith('ip6 ') ? '6' : row.table.startsWith('ip ') ? '4' : undefined;
  const address = ADDRESSES.map((key) => row[key]).find((value) => value !== undefined);
  if (address === undefined) return undefined;
  return String(address).includes(':') ? '6' : '4';
}
