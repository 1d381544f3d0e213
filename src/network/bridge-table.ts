import { Shared } from '../base/shared.js';
import { ip, ip6, rule, type SetParts, type Statement, setOf } from '../codec/nft/build.js';
import { chainObject, ruleText, setObject } from '../codec/nft/objects.js';
import { valueHex } from '../codec/nft/types.js';
import type { NftChain, NftElement, NftFamily, NftObject } from '../objects/nft.js';
import type { Wants } from './world.js';

/** Names of sets, which are put together anew for each element: 24 bytes less for each. */
const names = new Shared();

/** Writes nf_tables objects of our table of one family in one namespace, in few words. */
export class TableWriter {
  readonly #ref: { family: NftFamily; table: string };

  constructor(
    readonly ns: string,
    readonly wants: Wants,
    readonly because: string,
    family: NftFamily = 'bridge',
  ) {
    this.#ref = { family, table: 'weft' };
  }

  #add(object: NftObject): void {
    this.wants.add(this.ns, 'nft', this.because, object);
  }

  table(): void {
    this.#add({ what: 'table', ...this.#ref });
  }

  set(name: string, parts: SetParts): void {
    this.#add(setObject(setOf({ ...this.#ref, set: name }, parts)));
  }

  /** A chain; with `base` one that is called at that priority of a hook. */
  chain(name: string, rules: readonly (readonly Statement[])[], base?: NftChain['base']): void {
    const at = { ...this.#ref, chain: name };
    const object = chainObject(
      at,
      rules.map((statements) => ruleText(rule(at, statements))),
    );
    this.#add({ ...object, ...(base && { base }) });
  }

  element(name: string, key: string, value?: string): void {
    const { family, table } = this.#ref;
    const set = names.text(name);
    // Named, not spread: there are hundreds of thousands, and fields that come by a spread lie in a block of their own.
    const element: NftElement = { what: 'element', family, table, set, key };
    this.#add(value === undefined ? element : { what: 'element', family, table, set, key, value });
  }
}

/** Terms and types of a family. */
export const words = {
  4: { address: 'ipv4_addr', saddr: ip.saddr, daddr: ip.daddr, ethertype: 0x0800 },
  6: { address: 'ipv6_addr', saddr: ip6.saddr, daddr: ip6.daddr, ethertype: 0x86dd },
} as const;

export const hex = valueHex;
