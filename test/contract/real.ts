import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { RealKernel } from '../../src/kernel/real/kernel.js';
import { loadNative } from '../../src/kernel/real/native.js';
import { probe } from '../../src/kernel/real/probe.js';
import { Spaces } from '../../src/kernel/real/spaces.js';
import type { BalancerChoice } from '../../src/network/world.js';
import type { Address } from '../../src/objects/address.js';
import type { Fdb } from '../../src/objects/fdb.js';
import { type Kind, NODE_NS } from '../../src/objects/kind.js';
import type { Link } from '../../src/objects/link.js';
import type { Neighbour } from '../../src/objects/neighbour.js';
import { KINDS } from '../../src/objects/registry.js';
import type { Route } from '../../src/objects/route.js';
import type { Desired } from '../../src/reconcile/desired.js';
import { patient } from '../support/lab.js';
import { inGuest, needs } from '../support/needs.js';
import { SELF } from '../support/store.js';
import { FOREIGN, type Host, type Stray, story, tell } from './reconcile.js';

/** A run takes about half a second; the fake kernel does the many. */
const RUNS = Number(process.env.WEFT_CONTRACT_RUNS ?? (inGuest() ? 2 : 5));

// The program of test/kernel/contract.test.ts: it has its network namespace to itself and changes it freely.

type Row = Record<string, unknown>;

/**
 * With other eyes: what `ip` and `bridge` show of a kind, and what of it a wished object comes to. Both as text, for a
 * comparison. Rows that are the kernel's own (loopback, link-local, connected routes) are left out.
 */
interface Eye {
  command: string;
  seen(row: Row): string | undefined;
  wished(object: never): string;
}

const EYES: Readonly<Record<string, Eye>> = {
  link: {
    command: 'ip -j -d link show',
    seen: (row) => {
      if (row.ifname === 'lo' || row.link_type !== 'ether') return undefined;
      const info = row.linkinfo as { info_kind: string; info_data?: Row } | undefined;
      const vni =
        info?.info_kind === 'vxlan' ? ` vni ${String(info.info_data?.id)} local ${String(info.info_data?.local)}` : '';
      const up = (row.flags as string[]).includes('UP') ? 'up' : 'down';
      return `${String(row.ifname)} ${info?.info_kind} ${up} of ${String(row.master ?? '-')} as ${String(row.ifalias ?? '-')}${vni}`;
    },
    wished: (link: Link) => {
      const kind = link.type === 'veth-end' ? 'veth' : link.type;
      const vni = link.type === 'vxlan' ? ` vni ${link.vni} local ${link.local}` : '';
      return `${link.name} ${kind} ${link.up ? 'up' : 'down'} of ${link.master ?? '-'} as ${link.alias ?? '-'}${vni}`;
    },
  },
  address: {
    command: 'ip -j addr show',
    seen: (row) => {
      const all = (row.addr_info as Row[]).map(
        (a) => `${String(row.ifname)} ${String(a.local)}/${String(a.prefixlen)}`,
      );
      return row.ifname === 'lo' || all.length === 0 ? undefined : all.sort().join('\n');
    },
    wished: ({ dev, ip, length }: Address) => `${dev} ${ip}/${length}`,
  },
  neighbour: {
    command: 'ip -j neigh show nud permanent',
    seen: (row) => `${String(row.dev)} ${String(row.dst)} ${String(row.lladdr)}`,
    wished: ({ dev, ip, mac }: Neighbour) => `${dev} ${ip} ${mac}`,
  },
  fdb: {
    command: 'bridge -j fdb show',
    seen: (row) => {
      const self = (row.flags as string[]).includes('self');
      const dst = row.dst === undefined ? '' : ` to ${String(row.dst)}`;
      // Multicast filters of devices show here too, and what the bridge keeps of its own ports.
      if (self ? row.dst === undefined : row.state !== 'static') return undefined;
      return `${String(row.ifname)} ${String(row.mac)} ${self ? 'self' : 'master'}${dst}`;
    },
    wished: ({ dev, mac, bridge, dst }: Fdb) =>
      [
        ...(dst === undefined ? [] : [`${dev} ${mac} self to ${dst}`]),
        ...(bridge ? [`${dev} ${mac} master`] : []),
      ].join('\n'),
  },
  route: {
    command: 'ip -j -N route show table all proto 87; ip -j -N -6 route show table all proto 87',
    seen: ({ dst, gateway, dev }) => {
      const six = `${String(dst)} ${String(gateway)}`.includes(':');
      const short = dst === 'default' ? (six ? '::/0' : '0.0.0.0/0') : String(dst);
      const whole = short.includes('/') ? short : `${short}/${six ? 128 : 32}`;
      return `${whole} via ${String(gateway ?? '-')} dev ${String(dev)}`;
    },
    wished: ({ dst, via, dev }: Route) => `${dst} via ${via ?? '-'} dev ${dev}`,
  },
};

class RealHost implements Host {
  readonly dir = mkdtempSync(join(tmpdir(), 'weft-contract-'));
  readonly spaces = new Spaces(loadNative(), join(this.dir, 'run'));
  readonly kernel = new RealKernel(this.spaces);
  readonly patienceMs = patient(15_000);

  constructor(
    readonly balancer: BalancerChoice,
    readonly nftInet: boolean,
  ) {}

  async settle(): Promise<void> {
    await this.#run(NODE_NS, 'ip link add u0 up type veth peer name u1');
    await this.#run(NODE_NS, 'ip link set u1 up');
    await this.#run(NODE_NS, `ip addr add ${SELF.vtep}/24 dev u0`);
    for (const { command } of FOREIGN) await this.#run(NODE_NS, command);
  }

  async foreign(): Promise<string[]> {
    const out: string[] = [];
    for (const command of [
      'ip -o addr show dev docker0 scope global',
      'ip route show dev docker0',
      'ip rule show priority 900',
      'ip neigh show dev docker0 nud permanent',
      'ip -o link show dev docker0',
    ]) {
      // A bridge without ports changes its MAC and its state with them; both are the kernel's doing.
      const text = await this.#run(NODE_NS, command);
      out.push(text.replace(/<[^>]*>|state \w+|linkdown/g, '').trim());
    }
    return out;
  }

  async steal(ns: string, kind: string, object: unknown): Promise<void> {
    const { key, owns } = KINDS.get(kind) as unknown as Kind<unknown>;
    const port = this.kernel.port(kind);
    const have = (await port.observe(ns, [object])).find((o) => key(o) === key(object));
    const where = this.kernel.where(ns) ?? { ns, nsOwned: true };
    if (have === undefined || !owns(have, where)) return;
    await port.apply(ns, [{ verb: 'remove', ns, kind, key: key(object), have, because: 'theft', owner: '' }]);
  }

  /** Where the device it stands on is missing the command fails, and there is no litter. */
  async litter(ns: string, { command }: Stray): Promise<void> {
    await this.spaces.native.exec(this.#fd(ns), command.split(' '), null, undefined, patient(5000));
  }

  async inspect(desired: Desired): Promise<void> {
    for (const ns of [NODE_NS, ...this.spaces.pins()]) {
      for (const [kind, { command, seen, wished }] of Object.entries(EYES)) {
        const rows: Row[] = [];
        for (const one of command.split('; ')) rows.push(...(JSON.parse((await this.#run(ns, one)) || '[]') as Row[]));
        // A kernel with bridge VLANs shows a row of a bridge once more for each VLAN of the port.
        const there = [...new Set(rows.flatMap((row) => seen(row)?.split('\n') ?? []))].sort();
        const objects = desired.in(ns, kind).map((wanted) => wanted.object as { type?: string });
        const wanted = objects
          .filter((o) => o.type !== 'present')
          .flatMap((o) => wished(o as never).split('\n'))
          .sort();
        // The node's namespace is others' as well: all that is wished is there. In ours there is nothing else but
        // link-local addresses, which the kernel gives an interface by itself.
        const others = (line: string) => ns === NODE_NS || line.includes(' fe80:');
        const compared = there.filter((line) => wanted.includes(line) || !others(line));
        assert.deepEqual(compared, wanted, `${kind} in ${ns}`);
      }
    }
  }

  /** Everything of this run goes, so that the next begins in an empty kernel. */
  async end(): Promise<void> {
    this.spaces.closeAll();
    for (const pin of this.spaces.pins()) this.spaces.remove(pin);
    this.spaces.unmountIfEmpty();
    rmSync(this.dir, { recursive: true });
    for (const command of [
      'ip link del u0',
      'ip link del docker0',
      'ip rule del priority 900',
      'ip route flush table all proto 87',
      'ip -6 route flush table all proto 87',
      'ip neigh flush all',
    ]) {
      await this.spaces.native.exec(-1, command.split(' '), null, undefined, patient(5000));
    }
    for (const link of JSON.parse(await this.#run(NODE_NS, 'ip -j link show')) as Row[]) {
      if (link.ifname !== 'lo')
        await this.spaces.native.exec(-1, ['ip', 'link', 'del', String(link.ifname)], null, undefined, patient(5000));
    }
  }

  #fd(ns: string): number {
    const space = this.spaces.open(ns);
    if (!space) throw new Error(`there is no namespace ${ns}`);
    return space.fd;
  }

  async #run(ns: string, command: string): Promise<string> {
    const { code, stdout, stderr } = await this.spaces.native.exec(
      this.#fd(ns),
      command.split(' '),
      null,
      undefined,
      patient(5000),
    );
    if (code !== 0) throw new Error(`${command} in ${ns}: ${stderr}`);
    return String(stdout);
  }
}

async function choices(): Promise<[BalancerChoice, nftInet: boolean][]> {
  const dir = mkdtempSync(join(tmpdir(), 'weft-contract-probe-'));
  const spaces = new Spaces(loadNative(), dir);
  try {
    const { ipvs, nftBridge, nftInet, nftHash: hash, bridgeConntrack } = await probe(spaces);
    const names = [...(nftBridge ? (['nft'] as const) : []), ...(ipvs ? (['ipvs'] as const) : [])];
    return names.map((name) => [{ name, bridgeConntrack, hash }, nftInet]);
  } finally {
    spaces.closeAll();
    spaces.unmountIfEmpty();
    rmSync(dir, { recursive: true, force: true });
  }
}

if (needs(t, ['root', 'veth', 'bridge', 'vxlan', 'ip', 'iptables'])) {
  t.setTimeout(Math.max(patient(110_000), RUNS * 5000));
  for (const [balancer, nftInet] of await choices()) {
    t.test(`the contract holds on this kernel with ${JSON.stringify(balancer)}`, async (t) => {
      t.setTimeout(0);
      const property = fc.asyncProperty(story, async (it) => {
        const host = new RealHost(balancer, nftInet);
        try {
          await tell(it, host);
        } finally {
          await host.end();
        }
      });
      await fc.assert(property, {
        numRuns: RUNS,
        includeErrorInReport: true,
        // Shrinking takes a while on a real kernel: it is asked for, with the seed that was told.
        endOnFailure: process.env.WEFT_SHRINK === undefined,
        ...(process.env.WEFT_SEED !== undefined && { seed: Number(process.env.WEFT_SEED) }),
      });
      t.pass();
    });
  }
}
