import { WeftError } from '../../base/errors.js';
import {
  type Ack,
  ack,
  endOf,
  type Message,
  NETLINK_NETFILTER,
  NLMSG_ERROR,
  parseMessages,
  rowsIn,
} from '../../codec/netlink.js';
import { netlinkError } from '../../codec/netlink-error.js';
import { batch, refusals } from '../../codec/nft/batch.js';
import { delChain, findChains, getChains, readChain } from '../../codec/nft/chain.js';
import type { Change } from '../../codec/nft/change.js';
import { delElements, findElements, getElements, newElements, readElements } from '../../codec/nft/element.js';
import { getGeneration, readGeneration } from '../../codec/nft/generation.js';
import {
  chainMessage,
  chainObject,
  elementMessage,
  elementObject,
  ruleMessages,
  ruleText,
  setMessage,
  setObject,
} from '../../codec/nft/objects.js';
import { flushChain, getRules, readRule } from '../../codec/nft/rule.js';
import { delSet, getSets, type NftSet, newSet, readSet } from '../../codec/nft/set.js';
import { delTable, getTables, newTable, readTable } from '../../codec/nft/table.js';
import type { Ns } from '../../objects/kind.js';
import {
  type NftChainName,
  type NftElement,
  type NftFamily,
  type NftObject,
  type NftSetObject,
  nftByKey,
} from '../../objects/nft.js';
import type { Op } from '../../reconcile/plan.js';
import type { KindPort, Look } from '../port.js';
import { spaceFor } from './port.js';
import type { Space, Spaces } from './spaces.js';

/** The name of our tables, whatever their family. */
export const NFT_TABLE = 'weft';
const FAMILIES: readonly NftFamily[] = ['bridge', 'inet'];
const TIMEOUT_MS = 20_000;
/** Whole observations before a disturbed one is taken as it is; the sweep looks again. */
const TRIES = 5;
/** Elements that are looked for one by one; for more, all are read (a refusal takes 832 bytes of the receive buffer). */
const FEW = 256;
/** Chains that are looked for one by one; the rules of each are a request of their own. */
const FEW_CHAINS = 16;
/** asm-generic/errno-base.h */
const ENOENT = 2;

interface Few {
  elements: NftElement[];
  chains: NftChainName[];
}

/** nf_tables objects in tables named weft; one transaction per pass and namespace. */
export class NftPort implements KindPort<NftObject> {
  #seq = 1;
  constructor(readonly spaces: Spaces) {}

  async observe(ns: Ns, _want: readonly NftObject[], keys?: ReadonlySet<string>): Promise<NftObject[]> {
    const space = this.spaces.open(ns);
    if (!space) return [];
    const few = keys && this.#named(keys);
    if (few?.chains.length === 0) return this.#elements(space, few.elements);
    return few ? this.#untorn(space, () => this.#find(space, few)) : [...(await this.#whole(space))];
  }

  /** The generation of a namespace grows with each transaction in it, whose it may be; counters and flows are none. */
  async look(ns: Ns): Promise<Look<NftObject>> {
    const space = this.spaces.open(ns);
    if (!space) return { read: async () => [] };
    const stamp = `${space.serial} ${await this.#generation(space)}`;
    return { stamp, read: () => this.#whole(space) };
  }

  /** A transaction in between tears dumps (elements are left out, silently): look again, within reason. */
  async #untorn<T>(space: Space, look: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const before = await this.#generation(space);
      const found = await look();
      if (attempt === TRIES || before === (await this.#generation(space))) return found;
    }
  }

  /** What keys stand for; undefined where they are too many, or stand for what cannot be asked for alone. */
  #named(keys: ReadonlySet<string>): Few | undefined {
    const few: Few = { elements: [], chains: [] };
    if (keys.size > FEW) return undefined;
    for (const key of keys) {
      const one = nftByKey(key);
      if (one?.what === 'element') few.elements.push(one);
      else if (one && few.chains.length < FEW_CHAINS) few.chains.push(one);
      else return undefined;
    }
    return few;
  }

  /** Those that exist: one more peer must not cost reading 10,000 others, nor one more backend those of all services. */
  async #find(space: Space, { elements, chains }: Few): Promise<NftObject[]> {
    const out: NftObject[] = await this.#elements(space, elements);
    for (const message of await this.#answers(space, chains, findChains)) {
      const chain = readChain(message);
      const rules = await this.#dump(space, (seq) => getRules(seq, chain));
      out.push(
        chainObject(
          chain,
          rules.map((rule) => ruleText(readRule(rule))),
        ),
      );
    }
    return out;
  }

  async #elements(space: Space, elements: readonly NftElement[]): Promise<NftElement[]> {
    const messages = await this.#answers(space, elements, findElements);
    return messages.flatMap((message) => elementsOf(readElements(message)));
  }

  /** The answers to requests for objects of which some may not exist. */
  async #answers<T>(
    space: Space,
    wanted: readonly T[],
    requests: (seq: number, wanted: readonly T[]) => Buffer,
  ): Promise<Message[]> {
    if (wanted.length === 0) return [];
    const bytes = requests(this.#next(wanted.length), wanted);
    const out: Message[] = [];
    for (const m of parseMessages(await space.socket(NETLINK_NETFILTER).transact(bytes, TIMEOUT_MS))) {
      if (m.type !== NLMSG_ERROR) out.push(m);
      else refuse(ack(m), space, ENOENT);
    }
    return out;
  }

  /** All of our tables; objects are made of what the kernel told as they are asked for. */
  async #whole(space: Space): Promise<Iterable<NftObject>> {
    const told = await this.#untorn(space, async () => {
      const out: Told[] = [];
      for (const family of FAMILIES) {
        const tables = (await this.#dump(space, (seq) => getTables(seq, family))).map(readTable);
        if (tables.some((t) => t.table === NFT_TABLE && t.family === family)) out.push(await this.#told(space, family));
      }
      return out;
    });
    return {
      *[Symbol.iterator]() {
        for (const one of told) yield* objectsIn(one);
      },
    };
  }

  async #generation(space: Space): Promise<number> {
    const [message] = await this.#dump(space, getGeneration);
    return message ? readGeneration(message).id : 0;
  }

  async apply(ns: Ns, ops: readonly Op<NftObject>[]): Promise<(WeftError | undefined)[]> {
    const space = spaceFor(this.spaces, ns);
    const rebuilt = ops.find((op) => op.verb === 'change' && isFixed(op.want as NftObject, op.have as NftObject));
    const changes = rebuilt ? [delTable(refOf(rebuilt.want as NftObject))] : transaction(ops);
    const error = await this.#commit(space, changes, ops[0] as Op);
    if (!rebuilt || error) return ops.map(() => error);
    const text = `table weft in ${ns} had another shape and was removed; it is made anew on the next pass`;
    return ops.map(() => new WeftError('WEFT_NETLINK', text));
  }

  async #told(space: Space, family: NftFamily): Promise<Told> {
    const of = { family, table: NFT_TABLE };
    const sets = (await this.#dump(space, (seq) => getSets(seq, of))).map(readSet);
    const chains = await this.#answer(space, (seq) => getChains(seq, family));
    const rules = await this.#answer(space, (seq) => getRules(seq, of));
    const elements: Buffer[] = [];
    for (const set of sets) {
      // Dynamic sets are filled by packets: their elements are flows, not wishes.
      if (!set.flags.includes('dynamic')) elements.push(await this.#answer(space, (seq) => getElements(seq, set)));
    }
    return { family, sets, chains, rules, elements };
  }

  async #dump(space: Space, request: (seq: number) => Buffer): Promise<Message[]> {
    return [...rowsIn(await this.#answer(space, request))];
  }

  /** The answer to a dump as it came, for `rowsIn`. */
  async #answer(space: Space, request: (seq: number) => Buffer): Promise<Buffer> {
    const bytes = await space.socket(NETLINK_NETFILTER).transact(request(this.#next()), TIMEOUT_MS);
    const { answer } = endOf(bytes);
    if (answer) refuse(answer, space);
    return bytes;
  }

  async #commit(space: Space, changes: readonly Change[], op: Op): Promise<WeftError | undefined> {
    const made = batch(changes, { seq: this.#next(changes.length + 1) });
    const answer = await space.socket(NETLINK_NETFILTER).transact(made.bytes, TIMEOUT_MS);
    const [first] = refusals(answer, made);
    if (!first) return undefined;
    const key = first.change?.label ?? 'the transaction';
    return netlinkError({ operation: 'apply', kind: op.kind, key, namespace: space.ns }, first.ack);
  }

  #next(count = 1): number {
    const seq = this.#seq;
    this.#seq = (this.#seq + count + 1) % 0x7fffffff;
    return seq;
  }
}

function refuse({ errno, text }: Ack, { ns }: Space, fine = 0): void {
  if (errno !== 0 && errno !== fine)
    throw new WeftError('WEFT_NETLINK', `cannot list nf_tables in ${ns}: errno ${errno} ${text ?? ''}`);
}

/** What the kernel tells of our table of one family, in bytes but for the sets. */
interface Told {
  family: NftFamily;
  sets: NftSet[];
  chains: Buffer;
  rules: Buffer;
  /** Of one set after another. */
  elements: Buffer[];
}

function* objectsIn({ family, sets, chains, rules, elements }: Told): Generator<NftObject> {
  yield { what: 'table', family, table: NFT_TABLE };
  for (const set of sets) yield setObject(set);
  const texts = new Map<string, string[]>();
  for (const message of rowsIn(rules)) {
    const rule = readRule(message);
    const of = texts.get(rule.chain);
    if (of) of.push(ruleText(rule));
    else texts.set(rule.chain, [ruleText(rule)]);
  }
  for (const message of rowsIn(chains)) {
    const chain = readChain(message);
    if (chain.table === NFT_TABLE && chain.family === family) yield chainObject(chain, texts.get(chain.chain) ?? []);
  }
  for (const dump of elements) for (const message of rowsIn(dump)) yield* elementsOf(readElements(message));
}

const elementsOf = ({ family, table, set, elements }: ReturnType<typeof readElements>): NftElement[] =>
  elements.map((element) => elementObject(family as NftFamily, table, set, element));

const refOf = (o: NftObject) => ({ family: o.family, table: o.table });

/** Hooks of chains and shapes of sets cannot be changed in place, and rules hold on to both: the table is rebuilt. */
function isFixed(want: NftObject, have: NftObject): boolean {
  if (want.what === 'set') return true;
  return want.what === 'chain' && have.what === 'chain' && JSON.stringify(want.base) !== JSON.stringify(have.base);
}

/**
 * Orders changes so that each finds what it refers to: tables, sets, chains (still empty), elements that go, rules,
 * elements that come, and last the chains, sets and tables that go.
 */
function transaction(ops: readonly Op<NftObject>[]): Change[] {
  const wanted = ops.flatMap((op) => (op.want ? [op.want] : []));
  const gone = ops.flatMap((op) => (op.verb !== 'add' && op.have ? [{ op, have: op.have }] : []));
  const removed = gone.filter(({ op }) => op.verb === 'remove').map(({ have }) => have);
  const tablesGone = new Set(removed.flatMap((o) => (o.what === 'table' ? [`${o.family} ${o.table}`] : [])));
  const survives = (o: NftObject) => !tablesGone.has(`${o.family} ${o.table}`);
  const chains = wanted.filter((o) => o.what === 'chain');
  const elementsGone = gone.map(({ have }) => have).filter((o) => o.what === 'element' && survives(o)) as NftElement[];
  return [
    ...wanted.flatMap((o) => (o.what === 'table' ? [newTable({ ...refOf(o), flags: 0 })] : [])),
    ...wanted.flatMap((o) => (o.what === 'set' ? [newSet(setMessage(o))] : [])),
    ...chains.map(chainMessage),
    ...bySet(elementsGone).flatMap(([set, elements]) => delElements(set, elements.map(elementMessage))),
    ...chains.flatMap((o) => [flushChain(o), ...ruleMessages(o)]),
    ...bySet(wanted.filter((o) => o.what === 'element')).flatMap(([set, elements]) =>
      newElements(set, elements.map(elementMessage)),
    ),
    ...removed.flatMap((o) => (o.what === 'chain' && survives(o) ? [flushChain(o)] : [])),
    ...removed.flatMap((o) => (o.what === 'chain' && survives(o) ? [delChain(o)] : [])),
    ...removed.flatMap((o) => (o.what === 'set' && survives(o) ? [delSet(o as NftSetObject)] : [])),
    ...removed.flatMap((o) => (o.what === 'table' ? [delTable(o)] : [])),
  ];
}

function bySet(elements: readonly NftElement[]): [{ family: NftFamily; table: string; set: string }, NftElement[]][] {
  const groups = new Map<string, NftElement[]>();
  for (const e of elements) {
    const id = `${e.family} ${e.table} ${e.set}`;
    const group = groups.get(id);
    if (group) group.push(e);
    else groups.set(id, [e]);
  }
  return [...groups.values()].map((group) => {
    const { family, table, set } = group[0] as NftElement;
    return [{ family, table, set }, group];
  });
}
