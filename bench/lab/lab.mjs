// What the benches measure in, made when first asked for.
import { spawnSync } from 'node:child_process';
import { checkMachine } from '../../scripts/guest/machine.mjs';
import { dnsSides } from '../dns/sides.mjs';
import { guestSides } from '../guest.mjs';
import { agentSides } from '../peers/agents.mjs';
import { loadSides } from '../peers/load.mjs';
import { sandboxSides } from '../peers/sandboxes.mjs';
import { appliedSides, fullSides, lookupSides } from '../services/agents.mjs';
import { tableSides } from '../services/load.mjs';
import { HOST } from './addresses.mjs';
import { hasResolverRules } from './resolver-rules.mjs';
import { plugSnat } from './snat.mjs';
import { plugTwin } from './twin.mjs';
import { plugHost, plugSwitch } from './underlay.mjs';
import { apiClient, plugWeft } from './weft.mjs';

/** A peer that cannot be had on this machine; its figures are reported as missing. */
export class MissingPeer extends Error {}

/** What measures in the guest, and how its sides are told. */
const SERVICES_IN_GUEST = new URL('../services/in-guest.mjs', import.meta.url);

const SHELL_TOOLS = ['ip', 'bridge', 'nft', 'iptables-restore'];

function need(tools) {
  const absent = tools.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0);
  if (absent.length > 0) throw new MissingPeer(`not installed: ${absent.join(', ')}`);
}

/** Programs of name servers that weft is compared with. */
const NAME_SERVERS = { knot: 'knotd', nsd: 'nsd', unbound: 'unbound', aardvark: '/usr/lib/podman/aardvark-dns' };

/** A side that says that a name server is not there. */
function missingServer(name) {
  try {
    need(name in NAME_SERVERS ? [NAME_SERVERS[name]] : [NAME_SERVERS.knot]);
    return undefined;
  } catch (cause) {
    if (cause instanceof MissingPeer) return { missing: cause.message };
    throw cause;
  }
}

/** Systems on one switch. Each has the namespaces of a client and a backend, and the address of the client's node. */
export class Lab {
  #made = new Map();
  #stops = [];

  /** @param {{ directory: string, cpus: number[], traffic: import('../traffic.mjs').Traffic }} setting */
  constructor({ directory, cpus, traffic }) {
    this.directory = directory;
    this.cpus = cpus;
    this.traffic = traffic;
    plugSwitch();
  }

  #once(name, make) {
    if (!this.#made.has(name)) this.#made.set(name, make());
    return this.#made.get(name);
  }

  weft() {
    return this.#once('weft', async () => {
      const made = await plugWeft(this.directory, this.cpus);
      await this.traffic.serve(made.backend);
      await this.traffic.serve(made.plain);
      return made;
    });
  }

  /** weft's data path, made by shell tools. */
  async twin() {
    const { flowMemory } = await this.weft();
    // The twin's table remembers flows in sets; where weft uses conntrack it would be another path, not the same one.
    if (flowMemory.startsWith('bridge')) throw new MissingPeer(`no twin of flow memory by ${flowMemory}`);
    return this.#peer('twin', plugTwin);
  }

  /** A mesh that rewrites the source. */
  snat() {
    return this.#peer('snat', plugSnat);
  }

  #peer(name, plug) {
    return this.#once(name, async () => {
      need(SHELL_TOOLS);
      const { client } = await this.weft();
      const made = plug({ resolver: hasResolverRules(client) });
      await this.traffic.serve(made.backend);
      return made;
    });
  }

  /** Two hosts on the switch and nothing else. */
  bare() {
    return this.#once('bare', async () => {
      const [client, server] = HOST.bare.map((number, i) => ({
        ns: `bare${i + 1}`,
        address: plugHost(`bare${i + 1}`, number),
      }));
      await this.traffic.serve(server.ns);
      return { client: client.ns, address: server.address };
    });
  }

  /** A host that is no node. */
  outside() {
    return this.#once('outside', async () => {
      plugHost('outside', HOST.outside);
      return 'outside';
    });
  }

  /** Many endpoints on other nodes, and many on this. @returns their sides */
  peers() {
    return this.#once('peers', async () => {
      need(SHELL_TOOLS);
      const setting = await this.#setting([]);
      return this.#together([await loadSides(this.directory), await agentSides(setting), await sandboxSides(setting)]);
    });
  }

  /** Many services. @returns their sides */
  services() {
    return this.#once('services', async () => {
      need(SHELL_TOOLS);
      const setting = await this.#setting([]);
      const lookup = await lookupSides(await this.#setting(this.cpus), this.traffic);
      const parts = [await tableSides(this.directory), await fullSides(setting), await appliedSides(setting)];
      return this.#together([...parts, lookup]);
    });
  }

  /** Many services of IPVS, in a guest. @returns their sides */
  guestServices() {
    return this.#once('guest services', async () => {
      need(['ipvsadm', 'curl', 'taskset']);
      try {
        checkMachine();
      } catch (cause) {
        throw new MissingPeer(cause.message);
      }
      return this.#together([await guestSides(SERVICES_IN_GUEST, this.traffic.cpus.cpu)]);
    });
  }

  /** Name servers. @returns their sides */
  dns() {
    return this.#once('dns', async () => {
      need(['dnsperf', 'dig', 'taskset']);
      return this.#together([await dnsSides({ directory: this.directory, ...this.traffic.cpus }, missingServer)]);
    });
  }

  /** @param {number[]} cpus where agents may run; anywhere when there are none */
  async #setting(cpus) {
    return { directory: this.directory, cpus, ApiClient: await apiClient() };
  }

  #together(parts) {
    this.#stops.push(...parts.map((part) => part.stop));
    return Object.assign({}, ...parts.map((part) => part.sides));
  }

  async stop() {
    this.traffic.stop();
    for (const stop of this.#stops) await stop();
    const weft = await this.#made.get('weft')?.catch(() => undefined);
    await weft?.stop();
  }
}
