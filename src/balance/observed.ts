import type { Family, Ip } from '../base/ip.js';
import { valueHex } from '../codec/nft/types.js';
import type { RealServer } from '../objects/ipvs.js';
import type { NftElement, NftObject } from '../objects/nft.js';
import { type Frontend, IPPROTO } from './backends.js';
import { frontendKey } from './frontend.js';

/** How many backends a balancer in the kernel has for a frontend. */
export interface BackendCount {
  /** Take new connections. */
  active: number;
  /** Keep the ones they have. */
  draining: number;
}

/** What a balancer has in the kernel of one namespace. Indexed: thousands of frontends are asked for one by one. */
export class ObservedBalancing {
  readonly #sets = new Map<string, NftElement[]>();
  readonly #counts = new Map<string, ReadonlyMap<string, number>>();
  /** Frontend → mark, of balancer `ipvs`. */
  readonly #marks = new Map<string, string | undefined>();
  readonly #servers = new Map<string, RealServer[]>();

  constructor(nft: readonly NftObject[], servers: readonly RealServer[]) {
    for (const o of nft) if (o.what === 'element') push(this.#sets, o.set, o);
    for (const of of [4, 6]) {
      for (const { key, value } of this.#sets.get(`mark${of}`) ?? []) this.#marks.set(`${of} ${key}`, value);
    }
    for (const server of servers) push(this.#servers, `${server.family} ${valueHex('mark', server.fwmark)}`, server);
  }

  backends(balancer: 'ipvs' | 'nft', of: Family, frontend: Frontend): BackendCount {
    return balancer === 'nft' ? this.#nft(of, frontend) : this.#ipvs(of, frontend);
  }

  /** The maps `live` and `drain` name each backend of a frontend once. */
  #nft(of: Family, frontend: Frontend): BackendCount {
    const key = frontendKey(of, frontend);
    return { active: this.#beginning(`live${of}`, key), draining: this.#beginning(`drain${of}`, key) };
  }

  /** Real servers of the virtual servers whose marks the bridge's map gives to the frontend's frames. */
  #ipvs(of: Family, frontend: Frontend): BackendCount {
    const keys = frontend.port
      ? [frontendKey(of, frontend)]
      : Object.values(IPPROTO).map((proto) => frontendKey(of, frontend, [['inet_proto', proto]]));
    const weights = new Map<Ip, number>();
    for (const key of keys) {
      for (const { ip, weight } of this.#servers.get(`${of} ${this.#marks.get(`${of} ${key}`)}`) ?? []) {
        weights.set(ip, Math.max(weight, weights.get(ip) ?? 0));
      }
    }
    const active = [...weights.values()].filter((weight) => weight > 0).length;
    return { active, draining: weights.size - active };
  }

  /** Elements of a map whose keys begin so. */
  #beginning(set: string, key: string): number {
    const id = `${set} ${key.length}`;
    let counts = this.#counts.get(id);
    if (!counts) {
      const fresh = new Map<string, number>();
      for (const element of this.#sets.get(set) ?? []) {
        const prefix = element.key.slice(0, key.length);
        fresh.set(prefix, (fresh.get(prefix) ?? 0) + 1);
      }
      this.#counts.set(id, fresh);
      counts = fresh;
    }
    return counts.get(key) ?? 0;
  }
}

function push<T>(lists: Map<string, T[]>, name: string, item: T): void {
  const list = lists.get(name);
  if (list) list.push(item);
  else lists.set(name, [item]);
}
