import test from 'ava';
import { Writer } from '../../src/base/bytes.js';
import type { ErrorCode } from '../../src/base/errors.js';
import { message } from '../../src/codec/netlink.js';
import { type Address, writeAddress } from '../../src/codec/rtnl/address.js';
import { type Link, writeLink } from '../../src/codec/rtnl/link.js';
import { type Neighbour, writeNeighbour, writeNeighbourGet } from '../../src/codec/rtnl/neigh.js';
import { type Route, writeRoute, writeRouteLookup } from '../../src/codec/rtnl/route.js';
import { type Rule, writeRule } from '../../src/codec/rtnl/rule.js';

/* Values the kernel would misread or refuse without a word are refused before anything is sent. */
function refused<T>(what: string, code: ErrorCode, write: (w: Writer, value: T) => void, value: T): void {
  test(what, (t) => {
    const w = new Writer();
    t.throws(() => message(w, { type: 16, flags: 1, seq: 1 }, write, value), { code });
    t.is(w.length, 0);
  });
}

const address: Address = { family: 2, prefixLength: 24, scope: 0, index: 1, flags: 0 };
const route: Route = { family: 2, dstLength: 24, table: 254, protocol: 87, scope: 0, type: 1, flags: 0 };
const rule: Rule = { family: 2, action: 1, table: 254 };
const neighbour: Neighbour = { family: 2, ifindex: 1, state: 128, flags: 0 };

const link = (l: Link, code: ErrorCode, what: string) => refused(`link: ${what}`, code, writeLink, l);
link({ name: '' }, 'WEFT_INVALID_NAME', 'no name');
link({ name: 'sixteen-bytes-ab' }, 'WEFT_INVALID_NAME', 'a name of 16 bytes');
link({ name: 'éééééééé' }, 'WEFT_INVALID_NAME', 'a name of 8 characters but 16 bytes');
link({ name: 'a\0b' }, 'WEFT_INVALID_ARGUMENT', 'a name with NUL');
link({ mac: '02:42' }, 'WEFT_INVALID_ADDRESS', 'half a MAC');
link({ info: { kind: 'vxlan', id: 1 << 24 } }, 'WEFT_INVALID_ARGUMENT', 'a VNI of 25 bits');
link({ info: { kind: 'vxlan', port: 65536 } }, 'WEFT_INVALID_ARGUMENT', 'a port of 17 bits');
link({ info: { kind: 'veth', peer: { name: '' } } }, 'WEFT_INVALID_NAME', 'a peer without name');
link({ index: 2 ** 31 }, 'WEFT_INVALID_ARGUMENT', 'an index beyond its field');

const prefix = 'WEFT_INVALID_ADDRESS';
refused('address: prefix', prefix, writeAddress, { ...address, prefixLength: 33 });
refused('address: family of local', prefix, writeAddress, { ...address, local: 'fd00::1' });
refused('address: family of peer', prefix, writeAddress, { ...address, family: 10, address: '10.0.0.1' });
refused('address: scope', 'WEFT_INVALID_ARGUMENT', writeAddress, { ...address, scope: 256 });

refused('route: prefix', prefix, writeRoute, { ...route, family: 10, dstLength: 129 });
refused('route: destination', prefix, writeRoute, { ...route, dst: 'fd00::' });
refused('route: IPv4 gateway of an IPv6 route', prefix, writeRoute, { ...route, family: 10, gateway: '10.0.0.1' });
refused('route: text that is no address', prefix, writeRoute, { ...route, dst: '10.0.0' });
refused('route: multipath', 'WEFT_NOT_SUPPORTED', writeRoute, { ...route, multipath: [] });
refused('route: a table beyond 32 bits', 'WEFT_INVALID_ARGUMENT', writeRoute, { ...route, table: 2 ** 32 });
refused('route: source of another family in a lookup', prefix, writeRouteLookup, { dst: '10.0.0.1', src: 'fd00::1' });

refused('rule: prefix', prefix, writeRule, { ...rule, srcLength: 40 });
refused('rule: source', prefix, writeRule, { ...rule, src: 'fd00::', srcLength: 8 });
refused('rule: mark', 'WEFT_INVALID_ARGUMENT', writeRule, { ...rule, fwmark: -1 });

refused('neighbour: family', prefix, writeNeighbour, { ...neighbour, dst: 'fd00::1' });
refused('neighbour: family in a get', prefix, writeNeighbourGet, { family: 10, ifindex: 1, dst: '10.0.0.1' });
refused('neighbour: MAC', prefix, writeNeighbour, { ...neighbour, lladdr: '02-42-0a-00-00-09' });
