import { canonicalIp } from '../base/ip.js';
import { isBelow } from './name.js';
import { reverseIp } from './reverse.js';
import type { SandboxView } from './view.js';

/** More than a name ever needs, unless networks are named after each other. */
export const TAGS_MAX = 6;

/**
 * Tags of everything in a view that decides what a sandbox is told about a name, once it is told of its networks. A name
 * and those that are made of it, or that exist because it does, end in the same label, before a network's name is put
 * behind them: so the last label is the tag, and the address of a reverse name is another. What is asked of a service by the
 * name of a network (`_tcp.NETWORK`) is found under `tasks` there.
 * @param key name in lower case, without final dot
 */
export function tagsOfName({ networks }: Pick<SandboxView, 'networks'>, key: string): number[] {
  const tags = new Set([tag(lastLabel(key))]);
  for (const network of networks) {
    const zone = network.toLowerCase();
    if (isBelow(key, zone)) tags.add(tag(lastLabel(key.slice(0, -zone.length - 1)))).add(TASKS);
  }
  const ip = reverseIp(key);
  if (ip !== undefined) tags.add(tag(ip));
  return [...tags];
}

const TASKS = tag('tasks');
const lastLabel = (name: string) => name.slice(name.lastIndexOf('.') + 1);

/** What a patch of a view changes. */
export interface Touched {
  /** Names of sandboxes, what they are told as a whole. */
  sandboxes: string[];
  tags: number[] | 'all';
}

/**
 * @param patch that `patchView` has accepted
 */
export function touchedBy(patch: Readonly<Record<string, unknown>>): Touched {
  const { revision: _, sandboxes = {}, names = {}, ...rest } = patch;
  const tags = new Set<number>();
  for (const network of Object.values(names as Record<string, { names?: object; ptr?: object }>)) {
    for (const name of Object.keys(network.names ?? {})) tags.add(tag(lastLabel(name)));
    for (const ip of Object.keys(network.ptr ?? {})) tags.add(tag(canonicalIp(ip)));
  }
  return { sandboxes: Object.keys(sandboxes as object), tags: Object.keys(rest).length > 0 ? 'all' : [...tags] };
}

/** 32 bits: FNV-1a. What hashes to the same number is forgotten together. */
function tag(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}
