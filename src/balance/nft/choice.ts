import type { Family } from '../../base/ip.js';
import { goto, inSet, jhash, learn, map, numgen, type Statement, set, type Term } from '../../codec/nft/build.js';
import { type TableWriter, words } from '../../network/bridge-table.js';
import type { Arena } from '../balancer.js';
import { frontendTerms, frontendTypes } from '../frontend.js';
import { memory } from './match.js';

/** Every node hashes alike: a client has the same backend through any of them. ("weft") */
const SEED = 0x77656674;

/** Clients with affinity that a network can remember, in each family; each takes about 100 bytes of kernel memory. */
const STICKY_MAX = 65_536;

/** Notes the next backend in turn. */
export function turnChoice(arena: Arena, of: Family, slots: number, tracked: boolean): Statement {
  return choice(arena, of, numgen('inc', slots), tracked);
}

/** Notes the backend that the client's address finds. */
export function hashChoice(arena: Arena, of: Family, slots: number, tracked: boolean): Statement {
  return choice(arena, of, jhash(words[of].saddr, slots, SEED), tracked);
}

function choice(arena: Arena, of: Family, slot: Term<'mark'>, tracked: boolean): Statement {
  return set(memory(tracked), map([...frontendTerms(arena, of), slot], `slot${of}`));
}

/**
 * Client and frontend → backend, filled by packets, and who may keep its clients: frontend and backend. There as long as a
 * service with affinity is. (That a backend is live is known elsewhere too, where looking it up would count the packet.)
 */
export function stickySets(w: TableWriter, arena: Arena, of: Family): void {
  const types = frontendTypes(arena, of);
  w.set(`keeps${of}`, { key: [...types, 'mark'] });
  w.set(`sticky${of}`, {
    key: [words[of].address, ...types],
    data: 'mark',
    flags: ['timeout', 'dynamic'],
    size: STICKY_MAX,
  });
}

/**
 * The rules of a service with affinity: the client's backend, while that is active; else a choice that is remembered. When
 * the set is full, who is not in it is balanced like anyone.
 * @param seconds after the last new connection
 */
export function stickyRules(
  arena: Arena,
  of: Family,
  choose: Statement,
  tracked: boolean,
  seconds: number,
): Statement[][] {
  const terms = frontendTerms(arena, of);
  const client = [words[of].saddr, ...terms];
  const mark = memory(tracked);
  const renew = learn('update', client, `sticky${of}`, { data: mark, timeout: seconds * 1000 });
  const onward = goto(`learn${of}`);
  return [
    [set(mark, map(client, `sticky${of}`)), inSet([...terms, mark], `keeps${of}`), renew, onward],
    [choose],
    // An update keeps the value of an element that exists: who lost its backend must forget it first.
    [learn('delete', client, `sticky${of}`, { data: mark })],
    [renew],
    [onward],
  ];
}
