import type { Ip } from '../base/ip.js';
import { isBelow } from './name.js';
import type { NameEntry, NetworkView, SandboxView, View } from './view.js';

/** What stands under a name on one network. */
export interface Found {
  network: string;
  /** The name there, without the network's. */
  name: string;
  entry: NameEntry;
}

/** Entries under a name on all networks of a sandbox; else under NAME where the key is NAME.NETWORK, on that network. */
export function findName(view: View, sandbox: SandboxView, key: string): Found[] {
  const found: Found[] = [];
  for (const network of sandbox.networks) {
    const entry = named(view, network)?.names.get(key);
    if (entry) found.push({ network, name: key, entry });
  }
  if (found.length > 0 || !key.includes('.')) return found;
  for (const network of sandbox.networks) {
    const suffix = `.${network.toLowerCase()}`;
    const name = key.endsWith(suffix) ? key.slice(0, -suffix.length) : '';
    const entry = named(view, network)?.names.get(name);
    if (entry) return [{ network, name, entry }];
  }
  return found;
}

/** A network that has names: not the ingress network. */
export function named(view: View, network: string): NetworkView | undefined {
  const found = view.networks.get(network);
  return found?.ingress ? undefined : found;
}

export function findPointer(view: View, sandbox: SandboxView, ip: Ip): string | undefined {
  for (const name of sandbox.networks) {
    const target = named(view, name)?.pointers.get(ip);
    if (target !== undefined) return target;
  }
  return undefined;
}

/** Labels of the sandbox's network that a name is below, or is; the longest where several are. */
export function zoneOf(view: View, sandbox: SandboxView, key: string): number | undefined {
  const zones = sandbox.networks
    .filter((name) => named(view, name))
    .map((name) => name.toLowerCase())
    .filter((zone) => key === zone || isBelow(key, zone));
  return zones.length > 0 ? Math.max(...zones.map((zone) => zone.split('.').length)) : undefined;
}
