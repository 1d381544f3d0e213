import { parseCidr } from '../base/cidr.js';
import { canonicalIp } from '../base/ip.js';
import { invalid, natural, object, strings } from './json.js';
import { nameKey, nameWire } from './name.js';
import { parseName } from './name-json.js';
import type { ServedJson } from './served.js';
import { parseServer, type Server } from './server-address.js';
import { LISTEN_ADDRESS } from './sockets.js';
import { LOCAL_TTL, type NetworkView, type SandboxView, type Split, type View } from './view.js';

/** Seconds in a day: an address that is kept longer outlives what it belonged to. */
export const TTL_MAX = 86_400;

/** The view as the agent writes it. Names of networks and sandboxes are the keys. */
export interface ViewJson {
  revision: number;
  /** Seconds for which answers may be kept; LOCAL_TTL when not given. */
  ttl?: number;
  /** Absolute path of a file to which a line is appended for each query. */
  queryLog?: string;
  /** Name servers of the node: `ADDRESS` or `ADDRESS#PORT`. */
  upstreams: string[];
  /** By domain: asked for names there and below, instead of others. */
  split?: Record<string, string[]>;
  sandboxes: Record<string, SandboxJson>;
  networks: Record<string, NetworkJson>;
}

export interface SandboxJson {
  /** Absolute path of the network namespace. */
  netns: string;
  /** In the order of connection. */
  networks: string[];
  /** Asked instead of the view's upstreams. */
  dns?: string[];
  /** Over the view's. */
  split?: Record<string, string[]>;
  /** Those of `dns` and `split` that are asked from its namespace, not from the resolver's. */
  inside?: string[];
  /** Where to listen, unless somebody else does. */
  ports?: { udp: number; tcp: number };
  /** Of the sandbox's resolv.conf: its libraries append these, the resolver does not. */
  search?: string[];
  /** Answered from the sandbox's hosts file; here so that a view says which container it is about. */
  hostname?: string;
}

export interface NetworkJson {
  internal: boolean;
  ingress?: boolean;
  subnets?: string[];
  /** By name in lower case, without final dot: what it resolves to. */
  names: Record<string, NameJson>;
  /** By address: the whole name it belongs to. */
  ptr: Record<string, string>;
}

/** A name with nothing exists and is empty. `served` is for `tasks.SERVICE`, whose addresses it brings along. */
export interface NameJson {
  a?: string[];
  aaaa?: string[];
  served?: ServedJson[];
  /** A TXT record each. */
  txt?: string[];
}

/**
 * Whole entries by name, null deletes one; after those, single names of networks. `revision` must be the view's plus one.
 */
export interface PatchJson {
  revision: number;
  upstreams?: string[];
  sandboxes?: Record<string, SandboxJson | null>;
  networks?: Record<string, NetworkJson | null>;
  /** By network. */
  names?: Record<string, NamesJson>;
}

/** Names and addresses of a network whose entry stays otherwise as it is; null deletes one. */
export interface NamesJson {
  names?: Record<string, NameJson | null>;
  ptr?: Record<string, string | null>;
}

/**
 * Work in steps of some ten microseconds to a millisecond, so that 10,000 names, 200 ms, can be read between queries.
 * @see finish
 */
export type Steps<T> = Generator<void, T, void>;

/** Names between two steps. */
const STEP = 32;

/** All steps at once. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** A view out of parsed JSON. @throws as `viewSteps` */
export const parseView = (json: unknown): View => finish(viewSteps(json));

/** The view that follows from a patch. @throws as `patchSteps` */
export const patchView = (view: View, json: unknown): View => finish(patchSteps(view, json));

/**
 * A view out of parsed JSON.
 * @throws WEFT_INVALID_* naming the field: a view with an error anywhere is refused whole
 */
export function* viewSteps(json: unknown): Steps<View> {
  const fields = object(json, 'view', [
    'revision',
    'ttl?',
    'queryLog?',
    'upstreams',
    'split?',
    'sandboxes',
    'networks',
  ]);
  return checked({
    revision: natural(fields.revision, 'revision'),
    ttl: fields.ttl === undefined ? LOCAL_TTL : natural(fields.ttl, 'view.ttl', TTL_MAX),
    upstreams: servers(fields.upstreams, 'view.upstreams'),
    split: parseSplit(fields.split, 'view.split', servers),
    ...(fields.queryLog !== undefined && { queryLog: absolute(fields.queryLog, 'view.queryLog') }),
    sandboxes: yield* mapOf(fields.sandboxes, 'sandboxes', parseSandbox),
    networks: yield* networksOf(fields.networks),
  });
}

/**
 * The view that follows from a patch. Whether its revision follows is the caller's question.
 * @throws WEFT_INVALID_* naming the field; the old view is untouched
 */
export function* patchSteps(view: View, json: unknown): Steps<View> {
  const fields = object(json, 'patch', ['revision', 'upstreams?', 'sandboxes?', 'networks?', 'names?']);
  return checked({
    revision: natural(fields.revision, 'revision'),
    ttl: view.ttl,
    split: view.split,
    ...(view.queryLog !== undefined && { queryLog: view.queryLog }),
    upstreams: fields.upstreams === undefined ? view.upstreams : servers(fields.upstreams, 'patch.upstreams'),
    sandboxes: yield* patched(view.sandboxes, fields.sandboxes, 'sandboxes', parseSandbox),
    networks: yield* renamed(yield* replaced(view.networks, fields.networks), fields.names),
  });
}

/** Networks with single names patched: a copy of each one's maps, 1 ms at 10,000 names. */
function* renamed(networks: Networks, json: unknown): Steps<Networks> {
  if (json === undefined) return networks;
  const next = new Map(networks);
  for (const [id, patch] of Object.entries(object(json, 'names'))) {
    const at = `names.${id}`;
    const old = networks.get(id);
    if (!old) throw invalid(at, `network "${id}" is not in the view`);
    const fields = object(patch, at, ['names?', 'ptr?']);
    next.set(id, {
      ...old,
      names: yield* patched(old.names, fields.names, `${at}.names`, parseName, nameOf),
      pointers: yield* patched(old.pointers, fields.ptr, `${at}.ptr`, parseTarget, canonicalIp),
    });
  }
  return next;
}

type Networks = ReadonlyMap<string, NetworkView>;

function* networksOf(json: unknown): Steps<Networks> {
  const networks = new Map<string, NetworkView>();
  for (const [id, entry] of Object.entries(object(json, 'networks')))
    networks.set(id, yield* parseNetwork(entry, `networks.${id}`));
  return networks;
}

function* replaced(old: Networks, json: unknown): Steps<Networks> {
  if (json === undefined) return old;
  const next = new Map(old);
  for (const [id, entry] of Object.entries(object(json, 'networks'))) {
    if (entry === null) next.delete(id);
    else next.set(id, yield* parseNetwork(entry, `networks.${id}`));
  }
  return next;
}

/** Every network that a sandbox is on must be there: a look-up that skipped it would forward what is ours. */
function checked(view: View): View {
  for (const [name, sandbox] of view.sandboxes) {
    const missing = sandbox.networks.find((network) => !view.networks.has(network));
    if (missing !== undefined) throw invalid(`sandboxes.${name}.networks`, `network "${missing}" is not in the view`);
  }
  return view;
}

function parseSandbox(json: unknown, at: string): SandboxView {
  const fields = object(json, at, ['netns', 'networks', 'dns?', 'split?', 'inside?', 'ports?', 'search?', 'hostname?']);
  const netns = absolute(fields.netns, `${at}.netns`);
  if (fields.search !== undefined) strings(fields.search, `${at}.search`);
  if (fields.hostname !== undefined && typeof fields.hostname !== 'string')
    throw invalid(`${at}.hostname`, 'not a string');
  const inside = new Set(fields.inside === undefined ? [] : strings(fields.inside, `${at}.inside`));
  const own = (json: unknown, where: string) =>
    strings(json, where).map((text) =>
      inside.has(text) ? askedInside(parseServer(text), netns, where) : parseServer(text),
    );
  return {
    netns,
    networks: strings(fields.networks, `${at}.networks`),
    servers: fields.dns === undefined ? undefined : own(fields.dns, `${at}.dns`),
    split: parseSplit(fields.split, `${at}.split`, own),
    ...(fields.ports !== undefined && { ports: parsePorts(fields.ports, `${at}.ports`) }),
  };
}

/** @throws WEFT_INVALID_ARGUMENT for the resolver itself: it would ask itself for ever */
function askedInside(server: Server, netns: string, at: string): Server {
  if (server.address === LISTEN_ADDRESS) throw invalid(at, `"${LISTEN_ADDRESS}" is the resolver itself`);
  return { ...server, netns };
}

function parseSplit(json: unknown, at: string, parse: (json: unknown, at: string) => Server[]): Split {
  if (json === undefined) return new Map();
  const entries = Object.entries(object(json, at));
  return new Map(entries.map(([domain, list]) => [nameOf(domain, at), parse(list, `${at}.${domain}`)]));
}

function absolute(json: unknown, at: string): string {
  if (typeof json === 'string' && json.startsWith('/')) return json;
  throw invalid(at, 'not an absolute path');
}

function parsePorts(json: unknown, at: string): { udp: number; tcp: number } {
  const { udp, tcp } = object(json, at, ['udp', 'tcp']);
  return { udp: port(udp, `${at}.udp`), tcp: port(tcp, `${at}.tcp`) };
}

function port(json: unknown, at: string): number {
  if (typeof json === 'number' && Number.isInteger(json) && json >= 1 && json <= 65535) return json;
  throw invalid(at, 'not a port');
}

function* parseNetwork(json: unknown, at: string): Steps<NetworkView> {
  const fields = object(json, at, ['internal', 'ingress?', 'subnets?', 'names', 'ptr']);
  if (typeof fields.internal !== 'boolean') throw invalid(`${at}.internal`, 'not a boolean');
  if (fields.ingress !== undefined && typeof fields.ingress !== 'boolean')
    throw invalid(`${at}.ingress`, 'not a boolean');
  const names = yield* mapOf(fields.names, `${at}.names`, parseName, nameOf);
  const pointers = yield* mapOf(fields.ptr, `${at}.ptr`, parseTarget, canonicalIp);
  const subnets = fields.subnets === undefined ? [] : strings(fields.subnets, `${at}.subnets`).map(parseCidr);
  return { internal: fields.internal, ingress: fields.ingress === true, subnets, names, pointers };
}

function parseTarget(json: unknown, at: string): string {
  if (typeof json !== 'string') throw invalid(at, 'not a string');
  nameWire(json);
  return json;
}

/** A name as the agent must write it: what is looked up is in lower case and has no final dot. */
function nameOf(name: string, at: string): string {
  if (name === '' || nameKey(name) !== name) throw invalid(at, `"${name}" is not in lower case without final dot`);
  nameWire(name);
  return name;
}

function servers(json: unknown, at: string): Server[] {
  return strings(json, at).map(parseServer);
}

function* patched<T>(
  old: ReadonlyMap<string, T>,
  json: unknown,
  at: string,
  parse: (entry: unknown, at: string) => T,
  keyOf: (name: string, at: string) => string = (name) => name,
): Steps<ReadonlyMap<string, T>> {
  if (json === undefined) return old;
  const next = new Map(old);
  let count = 0;
  for (const [name, entry] of Object.entries(object(json, at))) {
    const key = keyOf(name, at);
    if (entry === null) next.delete(key);
    else next.set(key, parse(entry, `${at}.${name}`));
    if (++count % STEP === 0) yield;
  }
  return next;
}

function* mapOf<T>(
  json: unknown,
  at: string,
  parse: (entry: unknown, at: string) => T,
  keyOf: (name: string, at: string) => string = (name) => name,
): Steps<Map<string, T>> {
  const map = new Map<string, T>();
  for (const [name, entry] of Object.entries(object(json, at))) {
    map.set(keyOf(name, at), parse(entry, `${at}.${name}`));
    if (map.size % STEP === 0) yield;
  }
  return map;
}
