import { codeOf, WeftError } from '../base/errors.js';
import type { Ip } from '../base/ip.js';
import { endpointMac } from '../base/mac.js';
import { hasInterfaces, isLocalScope } from '../model/network.js';
import type { Chosen } from '../model/published.js';
import { BODIES, SINGULAR, type Specs, type Stored, type Table, type Wish } from '../model/registry.js';
import { parseWith } from '../model/scalars.js';
import { type Cursors, nextInterfaceName, withAllocated } from './allocate.js';
import {
  type Balancing,
  checkAddress,
  checkEndpoint,
  checkFamilies,
  checkId,
  checkNetwork,
  checkNetworkChange,
  checkNetworkRemoval,
  checkReserved,
  checkSandbox,
  checkSandboxRemoval,
  checkService,
  checkSpanning,
  missing,
} from './check.js';
import { checkBackendPorts, checkSandboxPorts, checkServicePorts } from './check-ports.js';
import { keptPeer, withGateways } from './defaults.js';
import { checkVnis } from './overlay.js';
import { checkSurroundings, chosenSubnets, type Surroundings } from './surroundings.js';
import { checkVtep } from './vtep.js';

/** What preparing a change may look at. */
export interface Context {
  wish: Wish;
  self: { name: string; vtep: Ip };
  cursors: Cursors;
  probe: ProbeNetns;
  /** Numbers of published ports that were left to this node. */
  chosen: Chosen;
  surroundings: Surroundings;
  balancing: Balancing;
}

/** A network namespace that is handed over; `began` as the probe told it of the process before. */
type Given = { path: string } | { pid: number; began?: string | undefined };

/**
 * The identity (device and inode) of a network namespace that is handed over, and since when a process runs that was named.
 * @throws WEFT_INVALID_NETNS where there is none, where it is the agent's own, or where the pid is another process by now
 */
export type ProbeNetns = (at: Given) => { identity: string; began?: string | undefined };

/**
 * A sandbox's namespace is one, and no other sandbox's: two would both number their interfaces from eth0.
 * @returns since when its process runs, where one was given
 */
function checkNamespace(context: Context, id: string, spec: Specs['sandboxes']): string | undefined {
  const at = givenNamespace(spec);
  if (!at) return undefined;
  const { identity, began } = context.probe(at);
  for (const other of context.wish.sandboxes.values()) {
    const theirs = other.id === id ? undefined : givenNamespace(other.spec);
    if (theirs && identityOf(context.probe, theirs) === identity) {
      throw new WeftError(
        'WEFT_CONFLICT',
        `sandbox "${other.id}" has that namespace already`,
        `connect "${other.id}", or remove it first`,
      );
    }
  }
  return began;
}

function givenNamespace(spec: Specs['sandboxes']): Given | undefined {
  if (spec.netns !== undefined) return { path: spec.netns };
  return spec.pid === undefined ? undefined : { pid: spec.pid, began: spec.pidBegan };
}

/** undefined where it is gone by now. */
function identityOf(probe: ProbeNetns, at: Given): string | undefined {
  try {
    return probe(at).identity;
  } catch (error) {
    if (codeOf(error) === 'WEFT_INVALID_NETNS') return undefined;
    throw error;
  }
}

/** Body → spec as stored: parsed, checked against the wish, with what was left open filled in. Changes nothing. */
export function prepare<T extends Table>(context: Context, table: T, id: string, body: unknown): Specs[T] {
  checkId(table, id);
  const parsed = parseWith(BODIES[table], body, `${SINGULAR[table]} "${id}"`);
  return PREPARE[table](context, id, parsed as never);
}

/** Endpoints on networks of drivers that make no interface have the fields all the same. */
const NO_INTERFACE = { ifname: '', mac: '' };

const PREPARE: { [T in Table]: (context: Context, id: string, body: never) => Specs[T] } = {
  networks(context, id, body: Specs['networks']) {
    const before = context.wish.networks.get(id);
    const vnis = body.vnis.length > 0 ? body.vnis : (before?.spec.vnis ?? []);
    const subnets = chosenSubnets(context.wish, context.surroundings, id, body);
    const spec = { ...withGateways({ ...body, subnets }), vni: body.vni ?? before?.spec.vni, vnis };
    if (id === 'ingress' && !spec.ingress) {
      throw new WeftError(
        'WEFT_INVALID_NAME',
        '"ingress" is reserved for the ingress network',
        'add --ingress, or choose another name',
      );
    }
    checkNetwork(context.wish, id, spec);
    if (!isLocalScope(spec.driver)) {
      const why = 'it spans nodes, so this agent may not choose them';
      checkVnis(id, spec, why, 'give --vni N for each, the same on every node');
    }
    if (before) checkNetworkChange(before, spec);
    else checkSurroundings(context.surroundings, id, spec);
    return spec;
  },

  sandboxes(context, id, body: Specs['sandboxes']) {
    const before = context.wish.sandboxes.get(id);
    checkSandbox(context.wish, id, body, before);
    checkSandboxPorts(context.wish, id, body, context.chosen);
    const { pidBegan: told = before?.spec.pidBegan, ...rest } = body;
    const pidBegan = checkNamespace(context, id, { ...rest, pidBegan: told });
    return { ...rest, ...(pidBegan !== undefined && { pidBegan }) };
  },

  endpoints(context, id, body: Specs['endpoints']) {
    const [sandbox, network] = id.split(':') as [string, string];
    const before = context.wish.endpoints.get(id)?.spec;
    const stored = context.wish.networks.get(network);
    if (!stored) throw missing('network', network, 'weft network ls');
    if (!context.wish.sandboxes.has(sandbox)) throw missing('sandbox', sandbox, `weft sandbox create ${sandbox}`);
    const had = before?.addresses ?? [];
    const addresses = withAllocated(context.wish, stored, body.addresses, had, context.cursors);
    const link = hasInterfaces(stored.spec.driver)
      ? {
          ifname: body.ifname ?? before?.ifname ?? nextInterfaceName(context.wish, sandbox),
          mac: body.mac ?? endpointMac(addresses[0] as Ip),
        }
      : NO_INTERFACE;
    const spec = { ...body, sandbox, network, addresses, ...link };
    checkEndpoint(context.wish, id, spec);
    checkBackendPorts(context.wish, spec, context.chosen);
    checkReserved(stored, addresses, had);
    return spec;
  },

  services(context, id, body: Specs['services']) {
    const before = context.wish.services.get(id)?.spec;
    const vips: Record<string, Ip[]> = {};
    if (body.mode === 'vip') {
      for (const network of body.networks) {
        const stored = context.wish.networks.get(network);
        if (!stored) throw missing('network', network, 'weft network ls');
        const had = before?.vips[network] ?? [];
        const given = body.vips[network] ?? [];
        vips[network] = withAllocated(context.wish, stored, given, had, context.cursors);
        checkReserved(stored, vips[network], had);
      }
    }
    const spec = { ...body, vips: { ...body.vips, ...vips } };
    checkService(context.wish, id, spec, context.balancing);
    checkServicePorts(context.wish, id, spec, context.chosen);
    return spec;
  },

  nodes(context, id, body: Specs['nodes']) {
    if (id === context.self.name && body.vtep !== context.self.vtep) {
      throw new WeftError(
        'WEFT_CONFLICT',
        `node "${id}" is this agent, which advertises ${context.self.vtep}, not ${body.vtep}`,
        'give its --advertise address as --vtep',
      );
    }
    checkVtep(context.self.vtep, body.vtep, `node "${id}"`);
    const twin = [...context.wish.nodes.values()].find((n) => n.id !== id && n.spec.vtep === body.vtep);
    if (twin) {
      throw new WeftError(
        'WEFT_CONFLICT',
        `VTEP ${body.vtep} belongs to node "${twin.id}"`,
        `weft node rm ${twin.id}, where it is gone`,
      );
    }
    for (const [name, ips] of Object.entries(body.addresses)) {
      checkFamilies(ips);
      const network = context.wish.networks.get(name);
      if (network) checkSpanning(network, `an address of node "${id}"`);
      if (network) for (const ip of ips) checkAddress(context.wish, network, ip, `node ${id}`);
    }
    return body;
  },

  peers(context, id, body: Specs['peers']) {
    const network = context.wish.networks.get(body.network);
    if (!network) throw missing('network', body.network, 'weft network ls');
    checkSpanning(network, `peer "${id}"`);
    checkFamilies([body.address, body.addressV6 ?? []].flat());
    for (const ip of [body.address, body.addressV6 ?? []].flat()) checkAddress(context.wish, network, ip, `peer ${id}`);
    checkVtep(context.self.vtep, body.vtep, `peer "${id}"`);
    return keptPeer(body);
  },
};

/** Refuses removals that would pull something from under others. */
export function checkRemoval(wish: Wish, table: Table, id: string): Stored {
  const stored = wish[table].get(id) as Stored | undefined;
  if (!stored) throw missing(SINGULAR[table], id, `weft ${SINGULAR[table]} ls`);
  if (table === 'networks') checkNetworkRemoval(wish, id);
  if (table === 'sandboxes') checkSandboxRemoval(wish, id);
  return stored;
}
