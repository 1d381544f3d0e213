import { type Family, family } from '../../base/ip.js';
import type { Flow } from '../../codec/conntrack.js';
import type { Element } from '../../codec/nft/element.js';
import { keyHex, valueHex } from '../../codec/nft/types.js';
import { words } from '../../network/bridge-table.js';
import { type Frontend, IPPROTO } from '../backends.js';
import type { Directory, Reading, Subject } from '../counts.js';
import { frontendKey } from '../frontend.js';
import { CLOSING_TIMEOUT } from './memory.js';

/** Hex digits of a mark, which is last in the keys that have one, and of an address, which is first in those of `self`. */
const MARK = 8;
const ADDRESS: Readonly<Record<Family, number>> = { 4: 8, 6: 32 };
/** Hex digits of the client's address and port in a key of `flows`, and of the protocol that follows. */
const PORT = 8;
const PROTO = 8;
const TCP = keyHex(['inet_proto', 'mark'], [IPPROTO.tcp, 0]).slice(0, PROTO);

/** Maps of table `bridge weft` whose elements count what goes to backends. */
export function countedSets(of: Family): string[] {
  return ['live', 'drain', 'stay', 'begun', 'self'].map((name) => `${name}${of}`);
}

/** The element of a counted set as a reading; undefined for one that counts for no service of the wish. */
export function readingOf(
  directory: Directory,
  ns: string,
  set: string,
  { key, counter }: Pick<Element, 'key' | 'counter'>,
): Reading | undefined {
  if (key === undefined || counter === undefined) return undefined;
  const id = `${ns} ${set} ${key}`;
  const name = set.slice(0, -1);
  if (name === 'self') {
    const own = ADDRESS[set.endsWith('6') ? 6 : 4];
    const subject = directory.ofFrontend(ns, key.slice(own));
    const backend = subject?.backends.find(
      ({ ip }) => valueHex(words[subject.family].address, ip) === key.slice(0, own),
    );
    return subject && { id, subject, backend: backend?.ip, ...counter, connections: 0 };
  }
  const subject = directory.ofFrontend(ns, key.slice(0, -MARK));
  const backend = subject?.byId.get(key.slice(-MARK));
  // What begins a flow finds its backend in `live`, too, and its bytes are counted there.
  const counts =
    name === 'begun' ? { packets: 0, bytes: 0, connections: counter.packets } : { ...counter, connections: 0 };
  return subject && { id, subject, backend, ...counts };
}

/** A flow that a balancer remembers: whose, the hex that stands for its backend, and whether it is established. */
export interface Remembered {
  subject: Subject;
  id: string;
  active: boolean;
}

/** Of a dynamic map. */
export function rememberedElement(
  directory: Directory,
  ns: string,
  of: Family,
  element: Element,
): Remembered | undefined {
  const { key = '', data, expiration = 0 } = element;
  const at = ADDRESS[of] + PORT;
  const proto = key.slice(at, at + PROTO);
  const vip = key.slice(at + PROTO, at + PROTO + ADDRESS[of]);
  const subject = directory.ofFrontend(ns, vip) ?? directory.ofFrontend(ns, vip + proto + key.slice(-PORT));
  if (!subject || typeof data !== 'string') return undefined;
  // Time left is what tells states apart: a half open or closing connection has no more than that.
  const active = proto === TCP && expiration > CLOSING_TIMEOUT;
  return { subject, id: data, active };
}

/** Of connection tracking. */
export function rememberedFlow(directory: Directory, ns: string, flow: Flow): Remembered | undefined {
  const { dst, dstPort, protocol } = flow.original;
  if (flow.mark === 0) return undefined;
  const port = dstPort === undefined ? undefined : { proto: protocol, number: dstPort };
  const find = (frontend: Frontend) => directory.ofFrontend(ns, frontendKey(family(dst), frontend));
  const subject = find({ ip: dst, label: '' }) ?? (port && find({ ip: dst, label: '', port }));
  if (!subject) return undefined;
  const active = protocol === IPPROTO.tcp && flow.tcpState === 'established';
  return { subject, id: valueHex('mark', flow.mark), active };
}
